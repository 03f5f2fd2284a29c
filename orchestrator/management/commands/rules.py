"""manage.py rules: what becomes of requests, as a file that is shown, checked, published and taken back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError

from orchestrator.core.documents import Fault
from orchestrator.management.changing import by
from orchestrator.management.documents import DocumentCommand, value_in, with_file
from orchestrator.management.several import UNUSABLE
from orchestrator.ruling import versions
from orchestrator.ruling.documents import must_fit
from orchestrator.ruling.doubts import models_here
from orchestrator.ruling.draft import read, read_edition
from orchestrator.ruling.versions import Change
from routing.rules.checking import read_document
from routing.rules.document import plain

MOST_WARNINGS = 50  # that say something else each
MOST_PLACES = 5  # of one that is the same in many rules


class Command(DocumentCommand):
    """The rules that say what becomes of which request, as a document."""

    help = "Show, check and publish the rules that say what becomes of which request."

    def add_commands(self, commands: Any) -> None:
        """All there are."""
        show = commands.add_parser("show", help="print the rules that requests go by")
        show.add_argument("number", type=int, nargs="?", help="a version in their place")
        show.add_argument("--draft", action="store_true", help="the draft in their place")
        with_file(commands.add_parser("check", help="say what is wrong with a file, or what publishing it would do"))
        publish = commands.add_parser("publish", help="have requests go by a file, or by the draft without one")
        with_file(publish, is_needed=False)
        publish.add_argument("--reason", default="", help="for the history")
        publish.add_argument(
            "--discard-draft", action="store_true", help="also where the draft has changes that were not published"
        )
        history = commands.add_parser("versions", help="list the versions, newest first")
        history.add_argument("--most", type=int, default=20, help="how many (default: %(default)s)")
        restore = commands.add_parser("restore", help="make the rules be as they were in a version")
        restore.add_argument("number", type=int)
        restore.add_argument("--reason", default="", help="for the history")

    def _show(self, number: int | None, draft: bool, **_: Any) -> None:
        if draft:
            document = read().document
        elif number is not None:
            document = read_document(versions.version(number).document)
        else:
            newest, live = versions.live()
            document = live.model_copy(update={"version": newest})
        value = {"rules": [], **plain(document), "auto": document.auto.model_dump(mode="json")}
        self.stdout.write(json.dumps(value, indent=2, ensure_ascii=False))

    def _check(self, file: str, **_: Any) -> None:
        document = read_document(value_in(file))
        try:
            change = versions.try_document(document, models=models_here())
        except DatabaseError:
            must_fit(document)
            self.stderr.write("It is right. There are no rules here to compare it with.")
            return
        self._tell(change, "It is right, and there is nothing to change.")

    def _publish(self, file: str | None, discard_draft: bool, reason: str, **_: Any) -> None:
        if file is None:
            change = versions.publish(by(reason), models=models_here())
        else:
            document = read_document(value_in(file))
            edition = read_edition()
            if (lost := versions.lost_to(document)) and not discard_draft:
                self.lines(lost)
                raise CommandError(
                    "The draft has these changes that were not published; --discard-draft drops them.",
                    returncode=UNUSABLE,
                )
            change = versions.publish_document(document, by(reason), expected=edition, models=models_here())
        self._tell(change, "There is nothing to change.", "This is version {}.")

    def _versions(self, most: int, **_: Any) -> None:
        for row in versions.versions()[: max(most, 1)]:
            reason = f": {row.reason}" if row.reason else ""
            self.stdout.write(f"{row.number}  {row.at:%Y-%m-%d %H:%M:%S}  {row.by}{reason}")
            self.lines(f"    {line}" for line in row.changes.splitlines())

    def _restore(self, number: int, reason: str, **_: Any) -> None:
        self._tell(versions.restore(number, by(reason)), "There is nothing to change.", "This is version {}.")

    def _tell(self, change: Change, nothing: str, done: str | None = None) -> None:
        self.lines(change.lines)
        for line in islice(_together(change.warnings), MOST_WARNINGS):
            self.stderr.write(f"Warning: {line}")
        if (more := len({warning.words for warning in change.warnings}) - MOST_WARNINGS) > 0:
            self.stderr.write(f"{more:,} more kinds of warnings are not shown.")
        for line in change.lost:
            self.stderr.write(f"Gone from the draft: {line}")
        if not change.lines:
            self.stderr.write(nothing)
        elif done:
            self.stderr.write(done.format(change.version))


def _together(warnings: Sequence[Fault]) -> Iterator[str]:
    """The same warnings in one line, with where they are."""
    places: dict[str, list[str]] = {}
    for warning in warnings:
        places.setdefault(warning.words, []).append(warning.path)
    for words, paths in places.items():
        more = f" and in {len(paths) - MOST_PLACES:,} more places" if len(paths) > MOST_PLACES else ""
        yield f"{', '.join(paths[:MOST_PLACES])}{more}: {words}"
