"""What runs, in a small file that doctors, dashboards and tests read: `run/processes.json`."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from django.conf import settings

from orchestrator.supervisor.child import Child

log = logging.getLogger(__name__)

NAME = "processes.json"


def served_at(folder: Path) -> str | None:
    """The address of the product that runs on this data directory; None when none says that it does."""
    for name in (NAME, f"web.{NAME}"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            address = json.loads((folder / name).read_text())["address"]
            return str(address) if address else None
    return None


def site(address: str) -> str:
    """Where a browser finds the pages that are served at `address`: by way of the proxy, where one ends TLS."""
    if settings.TRUSTED_PROXY and settings.PUBLIC_HOSTS:
        return f"https://{settings.PUBLIC_HOSTS[0]}"
    return f"http://{address.replace('0.0.0.0', '127.0.0.1')}"  # noqa: S104  # a browser cannot go to "every address"


class StatusFile:
    """Written anew at every change, removed at the end."""

    def __init__(self, folder: Path, only: str | None, address: str | None) -> None:
        self._path = folder / (f"{only}.{NAME}" if only else NAME)
        self._draft = self._path.with_suffix(".draft")
        self._address = address
        self.is_ready = False
        self._is_stale = False

    def write(self, children: Iterable[Child]) -> None:
        """Replace the file in one step. Where that fails it is logged, once: the file serves onlookers only."""
        content = {
            "supervisor": os.getpid(),
            "address": self._address,
            "is_ready": self.is_ready,
            "processes": [
                {
                    "role": child.program.role,
                    "name": child.program.name,
                    "pid": child.pid,
                    "is_ready": child.is_ready.is_set(),
                    "can_wait": child.program.can_wait,
                    "restarts": child.restarts,
                }
                for child in children
            ],
        }
        try:
            self._draft.write_text(json.dumps(content, indent=1))
            self._draft.replace(self._path)
        except OSError as error:
            if not self._is_stale:
                told = "%s cannot be written (%s); the product runs on, what the file says may be out of date"
                log.warning(told, self._path, error.strerror)
            self._is_stale = True
            return
        if self._is_stale:
            log.warning("%s can be written again", self._path)
        self._is_stale = False

    def remove(self) -> None:
        """Nothing runs any more."""
        try:
            self._draft.unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s cannot be removed (%s); it names processes that are gone", self._path, error.strerror)
