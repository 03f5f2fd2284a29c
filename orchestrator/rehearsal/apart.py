"""Has a day go through a product of its own: in another process, with the settings as they come, in an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from tempfile import TemporaryDirectory
from typing import Any

from django.conf import settings

from orchestrator.env import secret_names
from orchestrator.rehearsal.day import DayDiffers, Rehearsal

_OURS = ("ORCHESTRATOR_", "OLLAMA_", "REDIS_")


def rehearsed(one: Rehearsal) -> dict[str, Any]:
    """What came of it. Raises DayDiffers with what the other process says where it did not end well."""
    with TemporaryDirectory(prefix="day-", ignore_cleanup_errors=True) as folder:
        environment = dict(_without_settings()) | {
            "ORCHESTRATOR_DATA_DIR": folder,
            "ORCHESTRATOR_LOG_LEVEL": "warning",
            "OPENBLAS_NUM_THREADS": "1",  # small products: more threads would wait for each other
        }
        done = subprocess.run(  # noqa: S603  # our own program
            [sys.executable, "-m", "orchestrator.rehearsal", json.dumps(asdict(one))],
            cwd=settings.BASE_DIR,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise DayDiffers(done.stderr.strip()[-2000:])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _without_settings() -> Iterator[tuple[str, str]]:
    for name, value in os.environ.items():
        if not name.startswith(_OURS) and not name.endswith("_BASE_URL") and name not in secret_names():
            yield name, value
