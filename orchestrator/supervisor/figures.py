"""The files in which web workers count (`orchestrator.metrics`): cleared at the start, tidied when one ends."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable

from django.conf import settings

from orchestrator.supervisor.child import Child

NUMBER = "ORCHESTRATOR_WEB_NUMBER"  # how a worker is told the one in its files' names


def clear() -> None:
    """What was counted before this start does not count."""
    shutil.rmtree(settings.METRICS_DIR, ignore_errors=True)


def forget_held(children: Iterable[Child]) -> None:
    """What an ended worker had counted stays; what it held at that moment is gone with it."""
    for child in children:
        number = child.program.env.get(NUMBER)
        if number and child.pid is None:
            for file in settings.METRICS_DIR.glob(f"gauge_live*_{number}.db"):
                with contextlib.suppress(OSError):  # then a figure is wrong until the worker is back
                    file.unlink()
