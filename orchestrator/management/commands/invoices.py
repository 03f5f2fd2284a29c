"""manage.py invoices: what providers say was used, and how it differs from what is recorded here."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError
from datetime import date
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from orchestrator.identity.acting import at_terminal
from orchestrator.invoices import keeping, telling
from orchestrator.invoices.account import MOST_BYTES
from orchestrator.invoices.comparison import compare
from orchestrator.invoices.forms import FORMS, read
from orchestrator.management.rows import Rows, with_json, words
from orchestrator.management.several import UNUSABLE

COLUMNS = ("number", "provider", "form", "first_day", "last_day", "lines", "name", "at", "by")
DIFFERENT = 1  # exit code
FOUND = ("day", "model", "call", "kind", "figure", "theirs", "ours", "difference", "tolerated", "calls", "lines")
FROM_STDIN = "-"


class Command(Rows):
    """An account is a file that a provider made: of costs, or of usage."""

    help = "Import, list, compare and delete providers' own accounts of what was used."

    def add_commands(self, commands: Any) -> None:
        """Four."""
        bring = with_json(commands.add_parser("import", help="read a provider's export and keep it"))
        bring.add_argument("file", metavar="FILE", help=f"as the provider made it; {FROM_STDIN} reads standard input")
        bring.add_argument("--provider", help="its name here (default: as the form's is called)")
        bring.add_argument("--form", choices=FORMS, help="(default: recognised by its header)")
        _with_days(bring, "it is an account (default: %s line)")
        bring.add_argument(
            "--replace", action="store_true", help="older accounts of the same kind give up the days it has, too"
        )
        every = with_json(commands.add_parser("list", help="list them, newest first"))
        every.add_argument("--provider", help="only those of this provider")
        differences = with_json(
            commands.add_parser("differences", help="compare one with what was charged (exit code 1: it differs)")
        )
        differences.add_argument("number", type=int)
        _with_days(differences, "is compared (default: the account's %s)")
        differences.add_argument("--csv", action="store_true", help="as a table, with all there is")
        with_json(commands.add_parser("delete", help="forget one")).add_argument("number", type=int)

    def import_(
        self, file: str, provider: str | None, form: str | None, first: date | None, last: date | None, *, replace: bool
    ) -> None:
        """And show it."""
        content = _content(file)
        account = read(content, form, first, last)
        whose = provider or FORMS[account.form].provider
        name = "" if file == FROM_STDIN else Path(file).name
        kept = keeping.keep(at_terminal(), account, content, whose, name, replaces=replace)
        self.one(telling.kept(kept))

    def list(self, provider: str | None) -> None:
        """Those that match."""
        rows = telling.accounts(list(keeping.invoices(at_terminal(), provider=provider)))
        self.table(rows, dict.fromkeys(COLUMNS, words), "There is no invoice.")

    def differences(self, number: int, first: date | None, last: date | None, *, csv: bool) -> None:
        """Exit code 1 when there are any that midnight does not explain."""
        found = compare(keeping.find(at_terminal(), number), first, last)
        if csv:
            self.stdout.write(telling.as_csv(found), ending="")
        elif self.is_json:
            self.one(telling.compared(found))
        else:
            rows = list(telling.differing(found))
            self.table(rows, dict.fromkeys(FOUND, words), telling.verdict(found))
            if rows:
                self.stderr.write(telling.verdict(found))
        if not found.is_same:
            sys.exit(DIFFERENT)

    def delete(self, number: int) -> None:
        """For good."""
        keeping.delete(at_terminal(), number)
        self.stderr.write(f"Invoice {number} is gone.")


def _with_days(parser: ArgumentParser, what: str) -> None:
    for name, word in (("first", "first"), ("last", "last")):
        parser.add_argument(
            f"--{name}", type=_day, metavar="DAY", help=f"the {word} day, as 2026-03-01, of which {what % word}"
        )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError("a day, as in 2026-03-01") from None


def _content(file: str) -> bytes:
    """No more than is read anyway. Raises CommandError."""
    try:
        if file == FROM_STDIN:
            return sys.stdin.buffer.read(MOST_BYTES + 1)
        with Path(file).open("rb") as opened:
            return opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}", returncode=UNUSABLE) from None
