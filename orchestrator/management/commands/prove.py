"""`manage.py prove`: drills that break the product on purpose and check every answer meanwhile."""

import json
import random
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    """Prints one JSON line a drill on standard output; progress goes to standard error."""

    help = "Run fault drills against a product started for them: all of them, or one."
    requires_system_checks = []  # noqa: RUF012  # as Django declares it; nothing of this process is under test

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        parser.add_argument("drill", nargs="?", help="which one (default: all)")
        parser.add_argument("--long", action="store_true", help="the long form: more of everything, minutes each")
        parser.add_argument("--seed", type=int, help="repeats the choices of an earlier run (default: a fresh one)")

    def handle(self, *args: Any, drill: str | None, long: bool, seed: int | None, **options: Any) -> None:
        """Run them one after the other; exit code 1 when one is broken."""
        try:
            from tests.drills import base, table
        except ModuleNotFoundError as error:
            raise CommandError(f"The drills are not here ({error}); run them in a clone, after `make lint`.") from None
        if drill and drill not in table.NAMES:
            raise CommandError(f"There is no drill {drill!r}; there are {', '.join(table.NAMES)}.")
        is_broken = False
        for name in [drill] if drill else table.NAMES:
            chosen = random.randrange(2**32) if seed is None else seed  # noqa: S311  # no secret
            run = base.carry_out(table.drill(name), seed=chosen, is_long=long)
            self.stdout.write(json.dumps(run.verdict()))
            self.stdout.flush()
            is_broken = is_broken or bool(run.reasons)
        if is_broken:
            sys.exit(1)
