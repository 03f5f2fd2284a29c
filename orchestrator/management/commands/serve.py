"""`manage.py serve`: the whole product, or one role of it."""

from argparse import ArgumentParser
from typing import Any

from django.core import checks
from django.core.management.base import BaseCommand

from orchestrator.checks import START
from orchestrator.checks.finding import by_weight, line
from orchestrator.env import BadSetting
from orchestrator.supervisor.command import ROLES, serve

WIDTH = 120


class Command(BaseCommand):
    """Starts and supervises the processes until told to stop."""

    help = "Serve: creates and migrates what is missing in the data directory, then runs every process."
    requires_system_checks = []  # noqa: RUF012  # as Django declares it; it makes them itself, and says more

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        parser.add_argument("--only", choices=sorted(ROLES), help="Run only this role, as a container does.")

    def handle(self, *args: Any, only: str | None = None, **options: Any) -> None:
        """Run until SIGTERM or Ctrl-C."""

        def say(words: str) -> None:
            self.stdout.write(words)
            self.stdout.flush()

        self._see_that_it_may()
        serve(only, say)

    def _see_that_it_may(self) -> None:
        """Say what is unsafe. Raises BadSetting for what must not be."""
        found = by_weight(checks.run_checks(tags=[START]))
        for one in found:
            if one.level == checks.WARNING:
                self.stderr.write(line(one, WIDTH))
        fatal = [f"{one.msg} {one.hint}" for one in found if one.level >= checks.ERROR]
        if fatal:
            raise BadSetting(" ".join(fatal))
