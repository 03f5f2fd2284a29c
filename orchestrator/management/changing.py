"""Who changes the registry from a terminal."""

from orchestrator.identity.acting import at_terminal
from orchestrator.registry.changes import By


def by(reason: str = "") -> By:
    """Whoever typed the command."""
    actor = at_terminal().name
    name = actor.removeprefix("command:")
    return By("a terminal" if name == actor else f"{name} at a terminal", reason, actor)
