"""Everything that is looked at, at once."""

from __future__ import annotations

from django.core import checks

from orchestrator.checks import DOCTOR, START
from orchestrator.checks.finding import by_weight


def findings() -> list[checks.CheckMessage]:
    """What is unsafe or unwise in this environment, heaviest first. Takes seconds where machines are silent."""
    return by_weight(checks.run_checks(tags=[START, DOCTOR], include_deployment_checks=True))
