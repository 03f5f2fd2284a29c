"""`manage.py serve`: the whole product, or one role of it."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from orchestrator.checks import TAG
from orchestrator.supervisor.command import ROLES, serve


class Command(BaseCommand):
    """Starts and supervises the processes until told to stop."""

    help = "Serve: creates and migrates what is missing in the data directory, then runs every process."
    requires_system_checks = [TAG]  # noqa: RUF012  # as Django declares it

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command line."""
        parser.add_argument("--only", choices=sorted(ROLES), help="Run only this role, as a container does.")

    def handle(self, *args: Any, only: str | None = None, **options: Any) -> None:
        """Run until SIGTERM or Ctrl-C."""

        def say(line: str) -> None:
            self.stdout.write(line)
            self.stdout.flush()

        serve(only, say)
