"""manage.py rotate_secrets: a new master secret, with everything sealed anew."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from contextlib import ExitStack
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from orchestrator import rotation
from orchestrator.core import secrets
from orchestrator.core.secrets import NoSecret
from orchestrator.supervisor.command import ROLES
from orchestrator.supervisor.lock import role_lock

WRONG, UNUSABLE = 1, 2  # exit codes
MOST_SHOWN = 20


class Command(BaseCommand):
    """Runs while the product does not, so that no process seals anything with a secret of before."""

    help = (
        "Make a new master secret and seal everything with it, while the product does not run. The one of before is"
        " kept, to open what goes over later, until it is retired. What was interrupted is ended by another run."
    )
    requires_system_checks = []  # noqa: RUF012  # as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One of two."""
        parser.add_argument(
            "--retire", action="store_true", help="forget the secrets of before; what hangs on them is void"
        )
        parser.add_argument("--force", action="store_true", help="with --retire: also when API keys hang on them")

    def handle(self, *args: Any, retire: bool, force: bool, **options: Any) -> None:
        """Do it. Exit codes: 1 some of it stays as it was, 2 it cannot be done."""
        with ExitStack() as held:
            for role in sorted(ROLES):
                held.enter_context(role_lock(settings.RUN_DIR, role))
            try:
                self._retire(force=force) if retire else self._rotate()
            except (NoSecret, OSError) as error:
                raise CommandError(str(error), returncode=UNUSABLE) from None
            except DatabaseError as error:
                raise CommandError(
                    f"The ledger cannot be used: {error}. Nothing is lost: run this again when it can.",
                    returncode=UNUSABLE,
                ) from None

    def _rotate(self) -> None:
        is_wrong = False
        for name, done in rotation.rotate(settings.MASTER_FILE).items():
            self.stdout.write(f"{name}: {done.resealed} sealed anew.")
            for words in done.unopened:
                is_wrong = True
                self.stderr.write(f"{name}: {words}")
        self.stdout.write(
            f"The new secret is in {settings.MASTER_FILE}, before the ones it replaces. Give machines that share the"
            " Redis the same file; `registry reseal --old-master` with it seals anew what is in a ledger of theirs."
            " Retire the old ones when the longest session is over and every API key was used once; --retire says"
            " which were not."
        )
        if is_wrong:
            sys.exit(WRONG)

    def _retire(self, *, force: bool) -> None:
        masters = secrets.read(settings.MASTER_FILE)
        if masters.is_unfinished:
            raise CommandError("A rotation was interrupted; run this without --retire first.", returncode=UNUSABLE)
        hanging = rotation.hanging_on(masters)
        if hanging and not force:
            named = ", ".join(map(str, hanging[:MOST_SHOWN]))
            more = f" and {len(hanging) - MOST_SHOWN} more" if len(hanging) > MOST_SHOWN else ""
            raise CommandError(
                f"{len(hanging)} API keys were not used since: {named}{more}. Use each once, revoke them, or void them"
                " with --force.",
                returncode=WRONG,
            )
        self.stdout.write(f"{rotation.retire(settings.MASTER_FILE)} retired.")
