"""A command with commands of its own."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any, NoReturn

from django.core.management.base import BaseCommand

UNUSABLE = 2  # exit code


class Several(BaseCommand):
    """Which of them is asked for is in `command`. What else there is to say goes to standard error."""

    requires_system_checks = []  # noqa: RUF012  # as Django declares it; they are for who serves

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One command of several."""
        self._print_commands = parser.print_help
        self.add_commands(parser.add_subparsers(dest="command", metavar="COMMAND"))

    def add_commands(self, commands: Any) -> None:
        """Name each; a method of its name does it, with an underscore before it, or behind a word of Python's."""
        raise NotImplementedError

    def none_asked(self) -> NoReturn:
        """Say which there are, and end."""
        self._print_commands(sys.stderr)
        sys.exit(UNUSABLE)
