"""manage.py doctor: what is unsafe or unwise about how the product is set up, and what to do about it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from orchestrator.checks.finding import as_json, as_text, exit_code, unsafe
from orchestrator.checks.looking import findings
from orchestrator.supervisor.status import NAME

WIDEST = 100


class Command(BaseCommand):
    """Changes nothing, and needs no running server; with one it says how that is."""

    help = "Say what is unsafe or unwise here, the heaviest first. Exit code 1: something is; 2: it must not serve so."
    requires_system_checks = []  # noqa: RUF012  # as Django declares it; they are what it is about

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        parser.add_argument("--json", action="store_true", help="for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        """Look, and say it."""
        running = _running()
        found = findings()
        for one in running:
            down = [child["name"] for child in one["processes"] if _is_down(child)]
            if not one["is_there"]:
                what = f"{one['file']} names process {one['supervisor']}, which is gone: it was ended by force."
                found.append(unsafe(40, what, "Start it again, which puts that right; its log says why it ended."))
            elif down:
                what = f"It runs, and {', '.join(down)} of it does not."
                found.append(unsafe(41, what, "Its log says why."))
        if options["json"]:
            self.stdout.write(as_json(found, {"running": running, "data": str(settings.DATA_DIR)}))
        else:
            self.stdout.write(as_text(found, min(shutil.get_terminal_size().columns, WIDEST)))
            for one in running:
                if one["is_there"]:
                    where = f" and serves on http://{one['address']}" if one["address"] else ""
                    self.stdout.write(f"\nIt runs as process {one['supervisor']}{where}.")
        sys.exit(exit_code(found))


def _running() -> list[dict[str, Any]]:
    """What the status files of supervisors on this data directory say, and whether those are there."""
    found = []
    for path in sorted(settings.RUN_DIR.glob(f"*{NAME}")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            status = json.loads(path.read_text())
            found.append({"file": str(path), "is_there": _is_there(int(status["supervisor"])), **status})
    return found


def _is_down(child: Mapping[str, Any]) -> bool:
    """Whether it should be there and is not; what is started after the others is still to come."""
    return not child["is_ready"] and not (child.get("can_wait") and not child["restarts"])


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
