"""manage.py audit: who changed what, and whether that is told as it was written."""

from __future__ import annotations

import sys
from typing import Any

from orchestrator import audit
from orchestrator.core.permissions import EVERYBODY
from orchestrator.identity import audited, shown
from orchestrator.identity.acting import at_terminal
from orchestrator.management.rows import Rows, with_json, words
from orchestrator.models import AuditEvent

COLUMNS = ("number", "at", "actor", "action", "subject", "tenant", "details")
BROKEN = 1  # exit code
NOTHING: tuple[object, ...] = (None, "", False, [], {})


class Command(Rows):
    """Nothing here changes anything."""

    help = "List who changed what, and verify that nobody has changed, dropped or moved an event since."

    def add_commands(self, commands: Any) -> None:
        """Two."""
        every = with_json(commands.add_parser("list", help="list events, newest first"))
        every.add_argument("--tenant", help="only those of this tenant")
        every.add_argument("--action", help="key.issued, or key for all of keys")
        every.add_argument("--most", type=int, default=50, help="how many (default: %(default)s)")
        commands.add_parser("verify", help="name the first event that is not as it was written (exit code 1)")

    def list(self, most: int, **asked: Any) -> None:
        """Those that match."""
        rows = list(map(shown.event, audited.events(at_terminal(), **asked)[: max(most, 1)]))
        if not self.is_json:
            for row in rows:
                row["details"] = _as_changes(row) if row["action"].endswith(".changed") else row["details"]
        self.table(rows, dict.fromkeys(COLUMNS, _words), "There is no event.")

    def verify(self) -> None:
        """From the first to the newest."""
        broken = audit.verify()
        if broken is not None:
            self.stderr.write(f"Event {broken.number}: {broken.words}.")
            sys.exit(BROKEN)
        self.stdout.write(f"All {AuditEvent.objects.of(EVERYBODY).count()} events are as they were written.")


def _as_changes(row: dict[str, Any]) -> dict[str, str]:
    return {field: _as_change(value) for field, value in row["details"].items()}


def _as_change(value: Any) -> str:
    """What was and what is; why and from where stand beside, and were nothing before."""
    if isinstance(value, list) and len(value) == len(("before", "after")):
        return f"{words(value[0])} → {words(value[1])}"
    return words(value)


def _words(value: Any) -> str:
    """Of details what they say; all there is of them is in the JSON."""
    if isinstance(value, dict):
        return ", ".join(f"{field}: {words(one)}" for field, one in value.items() if one not in NOTHING) or "-"
    return words(value)
