"""What commands that manage rows share: who acts, how rows and refusals look."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError, _SubParsersAction
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from keyword import iskeyword
from typing import Any

import orjson
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from orchestrator.core.durations import parse_duration
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.permissions import DIALECTS, FAMILIES, Role
from orchestrator.management.several import UNUSABLE, Several

OF_DJANGO = frozenset(
    ["verbosity", "settings", "pythonpath", "traceback", "no_color", "force_color", "skip_checks", "stdout", "stderr"]
)  # options that every command has
NONE = "none"  # as an option: take it away
FIELD = re.compile(r"(?:^|(?<=; ))(\w+)(?:\.\d+)*: ")  # what is wrong with which


class Rows(Several):
    """A command with commands. What is asked for goes to standard output, what else there is to say beside it."""

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        """As any command's; it is kept, since it knows what options are called."""
        self._parser = super().create_parser(prog_name, subcommand, **options)
        return self._parser

    def handle(self, *args: Any, command: str | None, **options: Any) -> None:
        """Do it. Exit code 2: it cannot be done, and why is told."""
        if command is None:
            self.none_asked()
        self.is_json = options.pop("json", False)
        asked = {option: value for option, value in options.items() if option not in OF_DJANGO}
        with ledger_errors():
            try:
                getattr(self, _method(command))(**asked)
            except OrchestratorError as error:
                raise CommandError(in_options(str(error), self._parser, command), returncode=UNUSABLE) from None

    def table(
        self, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, Callable[[Any], str]], nothing: str
    ) -> None:
        """Rows under the names of their columns, or as JSON with all there is of them."""
        rows = list(rows)
        if self.is_json:
            self.stdout.write(as_json(rows))
            return
        if not rows:
            self.stderr.write(nothing)
            return
        lines = [[column.replace("_", " ").upper() for column in columns]]
        lines += [[words(row[column]) for column, words in columns.items()] for row in rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            self.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

    def one(self, row: Mapping[str, Any]) -> None:
        """All there is of one, a line for each field."""
        if self.is_json:
            self.stdout.write(as_json(row))
            return
        width = max(map(len, row)) + 2
        for field, value in row.items():
            self.stdout.write(f"{field.replace('_', ' ') + ':':{width}}{words(value)}".rstrip())


@contextmanager
def ledger_errors() -> Iterator[None]:
    """What is wrong with the database is told with its remedy. Exit code 2."""
    try:
        yield
    except DatabaseError as error:
        raise CommandError(
            f"The ledger cannot be used: {error}. `manage.py migrate` makes its tables, as `serve` does.",
            returncode=UNUSABLE,
        ) from None


def as_json(value: Any) -> str:
    """For programs."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def words(value: Any) -> str:
    """For people: a dash for nothing, moments to the minute in UTC."""
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def in_options(wrong: str, parser: ArgumentParser, command: str) -> str:
    """What is wrong, said of the options that were typed in place of the fields that they give."""
    options = _options(parser, command)
    return FIELD.sub(lambda match: f"{options.get(match[1], match[0].removesuffix(': '))}: ", wrong)


def _method(command: str) -> str:
    return f"{command}_" if iskeyword(command) else command.replace("-", "_")


def _options(parser: ArgumentParser, command: str) -> dict[str, str]:
    """What options are called, by field."""
    found: dict[str, str] = {}
    for action in parser._actions:  # argparse has no other way to ask
        if isinstance(action, _SubParsersAction):
            found |= _options(action.choices[command], command)
        elif action.option_strings:
            found.setdefault(action.dest, action.option_strings[-1])
    return found


def with_json(parser: ArgumentParser) -> ArgumentParser:
    """Every command that shows something has it."""
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def with_scopes(parser: ArgumentParser) -> None:
    """What a key may be for, when it is made and when it is changed."""
    for option, field, what in (
        ("--model", "model_patterns", "which models it may ask, as a pattern: 'openai/*'"),
        ("--dialect", "dialects", f"of {', '.join(DIALECTS)}"),
        ("--family", "families", f"which endpoints: of {', '.join(FAMILIES)}"),
        ("--network", "networks", "where it may come from: 10.0.0.0/8"),
        ("--tag", "tags", "a word that every record of its requests has"),
    ):
        word = option.removeprefix("--").upper()
        parser.add_argument(
            option, dest=field, metavar=word, action="append", help=f"{what}; may be given more than once"
        )
    parser.add_argument("--team", help="one of its tenant's")
    parser.add_argument("--owner", help="the user who answers for it")
    parser.add_argument("--role", help=f"what it may manage under /api/admin/v1/: {', '.join(Role)}")
    parser.add_argument("--days", type=days, dest="expires_at", metavar="DAYS", help="expires after so many days")


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for. `none` takes away what there was."""
    asked: dict[str, Any] = {}
    for field, value in options.items():
        if value is None:
            continue
        is_none = value == NONE or value == [NONE]
        asked[field] = ([] if isinstance(value, list) else None) if is_none else value
    return asked


def days(text: str) -> datetime | str:
    """A moment, so many days from now; or `none`."""
    if text == NONE:
        return text
    if not text.isdecimal() or not 1 <= int(text) <= 36_500:
        raise ArgumentTypeError("a number of days from 1 to 36500")
    return datetime.now(UTC) + timedelta(days=int(text))


def duration_s(text: str) -> int:
    """Whole seconds, of seconds or of a length with units, as in 24h."""
    try:
        return int(text) if text.isdecimal() else round(parse_duration(text))
    except ValueError:
        raise ArgumentTypeError("a length of time, as in 24h or 90m, or 0") from None
