"""What commands share whose matter is a document: a file is read, and what is wrong with it is told."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from orchestrator.core.documents import WrongDocument, value_of
from orchestrator.core.errors import Conflict, NotThere
from orchestrator.management.rows import ledger_errors
from orchestrator.management.several import UNUSABLE, Several

WRONG, CHANGED = 1, 3  # exit codes, beside that for what cannot be done


class DocumentCommand(Several):
    """What is asked for goes to standard output, what else there is to say to standard error."""

    def handle(self, *args: Any, command: str | None, **options: Any) -> None:
        """Do it. Exit codes: 1 the document is wrong, 2 it cannot be done, 3 it was changed meanwhile."""
        if command is None:
            self.none_asked()
        with ledger_errors():
            try:
                getattr(self, f"_{command}")(**options)
            except WrongDocument as error:
                for fault in error.faults:
                    self.stderr.write(str(fault))
                sys.exit(WRONG)
            except Conflict as error:
                raise CommandError(str(error), returncode=CHANGED) from None
            except NotThere as error:
                raise CommandError(str(error), returncode=UNUSABLE) from None

    def lines(self, lines: Iterable[str]) -> None:
        """Each on a line."""
        for line in lines:
            self.stdout.write(line)


def with_file(parser: ArgumentParser, *, is_needed: bool = True) -> ArgumentParser:
    """A command that reads one."""
    nargs = {} if is_needed else {"nargs": "?"}
    parser.add_argument("file", metavar="FILE", help="JSON; `-` is standard input", **nargs)  # type: ignore[arg-type]
    return parser


def value_in(file: str) -> Any:
    """The JSON value that a file holds. Raises WrongDocument, CommandError."""
    try:
        return value_of(sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}", returncode=UNUSABLE) from None
