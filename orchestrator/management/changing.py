"""Who changes the registry from a terminal."""

from orchestrator.core.changing import By
from orchestrator.identity.acting import at_terminal


def by(reason: str = "") -> By:
    """Whoever typed the command."""
    actor = at_terminal().name
    name = actor.removeprefix("command:")
    return By("a terminal" if name == actor else f"{name} at a terminal", reason, actor)
