"""manage.py registry: providers and models as a file that is shown, checked, applied and taken back."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError

from orchestrator.core import secrets
from orchestrator.management.changing import by
from orchestrator.management.documents import WRONG, DocumentCommand, value_in, with_file
from orchestrator.management.several import UNUSABLE
from orchestrator.registry import changes, reading
from orchestrator.registry.changes import Change
from orchestrator.registry.differences import differences
from orchestrator.registry.models import RegistryVersion
from orchestrator.registry.partly import Draft, read_partly
from orchestrator.registry.reseal import reseal
from orchestrator.registry.seal import Sealer
from orchestrator.registry.settled import in_environment, sealer
from orchestrator.registry.stored import Stored, read_tables, shown


class Command(DocumentCommand):
    """What providers and models there are, as a document."""

    help = "Show, check and change which providers and models there are."

    def add_commands(self, commands: Any) -> None:
        """All there are."""
        commands.add_parser("show", help="print the registry; of keys their end")
        with_file(commands.add_parser("check", help="say what is wrong with a file; ask no network"))
        apply = commands.add_parser("apply", help="replace the registry by what a file says, all of it or nothing")
        with_file(apply)
        apply.add_argument("--prune", action="store_true", help="remove providers and models that the file leaves out")
        apply.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
        apply.add_argument("--reason", default="", help="for the history")
        history = commands.add_parser("history", help="list the changes, newest first")
        history.add_argument("--most", type=int, default=20, help="how many (default: %(default)s)")
        diff = commands.add_parser("diff", help="say what is different between a version and another, or now")
        diff.add_argument("number", type=int)
        diff.add_argument("other", type=int, nargs="?", help="default: as it is now")
        restore = commands.add_parser("restore", help="make the registry be as it was in a version")
        restore.add_argument("number", type=int)
        restore.add_argument("--reason", default="", help="for the history")
        again = commands.add_parser("reseal", help="seal keys anew that were sealed with another master secret")
        again.add_argument("--old-master", type=Path, required=True, metavar="FILE", help="that secret")

    def _show(self, **_: Any) -> None:
        version, stored = reading.of_one_version(lambda _: read_tables())
        self.stdout.write(json.dumps({"version": version, **shown(stored)}, indent=2, ensure_ascii=False))
        self._say_what_is_not_known()

    def _check(self, file: str, **_: Any) -> None:
        draft = _draft(file)
        try:
            change = changes.trial(draft)
        except DatabaseError:
            changes.check(draft)
            self.stderr.write("It is right. There is no registry here to compare it with.")
            return
        self._tell(change, "It is right, and there is nothing to change.")
        self._say_what_is_not_known()

    def _apply(self, file: str, dry_run: bool, prune: bool, reason: str, **_: Any) -> None:
        draft = _draft(file)
        change = changes.trial(draft)
        if change.removed and not (prune or dry_run):
            raise CommandError(_would_remove(change), returncode=UNUSABLE)
        if not dry_run:
            change = changes.apply(draft, by(reason), expected=change.version)
        self._tell(change, "There is nothing to change.", None if dry_run else "This is version {}.")

    def _history(self, most: int, **_: Any) -> None:
        for row in RegistryVersion.objects.defer("document")[: max(most, 1)]:
            reason = f": {row.reason}" if row.reason else ""
            self.stdout.write(f"{row.number}  {row.at:%Y-%m-%d %H:%M:%S}  {row.by}{reason}")
            self.lines(f"    {line}" for line in row.summary.splitlines())

    def _diff(self, number: int, other: int | None, **_: Any) -> None:
        after = read_tables() if other is None else _stored(other)
        self.lines(differences(_stored(number), after) or ["There is no difference."])

    def _restore(self, number: int, reason: str, **_: Any) -> None:
        self._tell(changes.restore(number, by(reason)), "There is nothing to change.", "This is version {}.")

    def _reseal(self, old_master: Path, **_: Any) -> None:
        if not old_master.is_file():
            raise CommandError(f"There is no file {old_master}.", returncode=UNUSABLE)
        try:
            old = Sealer(*secrets.read(old_master).keys("provider keys"))
        except (ValueError, OSError):
            raise CommandError(
                f"{old_master} is no master secret: it holds 64 hex digits.", returncode=UNUSABLE
            ) from None
        done = reseal(old, sealer())
        for name, why in done.unopened.items():
            self.stderr.write(f"{name}: {why}")
        self.stdout.write(f"{done.keys} sealed anew, those of older versions too.")
        if done.unopened:
            sys.exit(WRONG)

    def _tell(self, change: Change, nothing: str, done: str | None = None) -> None:
        self.lines(change.lines)
        for warning in change.warnings:
            self.stderr.write(f"Warning: {warning}")
        if not change.lines:
            self.stderr.write(nothing)
        elif done:
            self.stderr.write(done.format(change.version))
        elif change.removed:
            self.stderr.write(_would_remove(change))

    def _say_what_is_not_known(self) -> None:
        if unknown := sorted(changes.from_environment().difference(in_environment())):
            self.stderr.write(
                f"The product's environment sets up {', '.join(unknown)}, this shell's does not: "
                "keys and addresses that are from there are not known here."
            )


def _draft(file: str) -> Draft:
    return read_partly(value_in(file))


def _would_remove(change: Change) -> str:
    return f"The file leaves out {', '.join(change.removed)}; `apply` removes them with --prune, and not without it."


def _stored(number: int) -> Stored:
    document: Stored = changes.version(number).document
    return document
