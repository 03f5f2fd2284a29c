"""manage.py keys: who may ask. `manage.py issue_key` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.identity import issuing, shown
from orchestrator.identity.acting import at_terminal
from orchestrator.identity.asked import KeyChange, Rotation, read
from orchestrator.identity.issuing import STATES
from orchestrator.management.rows import Rows, duration_s, given, with_json, with_scopes, words

COLUMNS = ("prefix", "name", "tenant", "team", "role", "state", "expires_at", "last_used_at")


class Command(Rows):
    """Rotating prints the new key on standard output, and nothing else there."""

    help = "List, show, change, rotate and revoke API keys. `manage.py issue_key` makes one."

    def add_commands(self, commands: Any) -> None:
        """Each names its key by its prefix: the part that may be shown."""
        every = with_json(commands.add_parser("list", help="list them, newest first"))
        every.add_argument("--tenant", help="only those of this tenant")
        every.add_argument("--team", help="only those of teams of this name")
        every.add_argument("--state", choices=STATES, help="only those that are so")
        with_json(commands.add_parser("show", help="print all there is of one")).add_argument("prefix")
        change = with_json(commands.add_parser("change", help="change what is given; `none` takes it away"))
        change.add_argument("prefix")
        change.add_argument("--name")
        with_scopes(change)
        all_tenants = change.add_mutually_exclusive_group()
        all_tenants.add_argument(
            "--all-tenants",
            action="store_true",
            dest="reaches_all",
            default=None,
            help="its role holds for every one",
        )
        all_tenants.add_argument(
            "--own-tenant", action="store_false", dest="reaches_all", help="its role holds for its own"
        )
        rotate = with_json(commands.add_parser("rotate", help="make one that may do the same, and print it"))
        rotate.add_argument("prefix")
        rotate.add_argument(
            "--overlap",
            type=duration_s,
            dest="overlap_s",
            metavar="TIME",
            default=86_400,
            help="how long the old one works on (default: 24h)",
        )
        revoke = with_json(commands.add_parser("revoke", help="make them stop working, at once and for good"))
        revoke.add_argument("prefix", nargs="+")

    def list(self, **asked: Any) -> None:
        """Those that match."""
        rows = map(shown.key, issuing.keys(at_terminal(), **asked).iterator())
        self.table(rows, dict.fromkeys(COLUMNS, words), "There is no such key.")

    def show(self, prefix: str) -> None:
        """One."""
        self.one(shown.key(issuing.find(at_terminal(), prefix)))

    def change(self, prefix: str, **asked: Any) -> None:
        """And show it as it is then."""
        self.one(shown.key(issuing.change(at_terminal(), prefix, read(KeyChange, given(asked)))))

    def rotate(self, prefix: str, **asked: Any) -> None:
        """And tell until when the old one works."""
        row, key = issuing.rotate(at_terminal(), prefix, read(Rotation, asked))
        if self.is_json:
            self.one({"key": key, **shown.key(row)})
            return
        self.stdout.write(key)
        old = row.replaces
        until = f"works until {words(old.expires_at)} UTC" if old and not old.revoked_at else "is revoked"
        self.stderr.write(f"Keep it: it cannot be shown again. The old one, {prefix}, {until}.")

    def revoke(self, prefix: Sequence[str]) -> None:
        """All or, where one is not known, those before it."""
        rows = [shown.key(issuing.revoke(at_terminal(), one)) for one in prefix]
        self.table(rows, dict.fromkeys(COLUMNS, words), "")
