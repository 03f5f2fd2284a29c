"""manage.py admin_link: print a link that signs in once."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.urls import reverse

from orchestrator.identity.links import make_link
from orchestrator.processes import site


def admin_link(username: str = "operator") -> str:
    """A fresh one-time link for `username`, on the address where it is served, or would be."""
    shown = site()
    return f"{shown}{reverse('dashboard:sign-in-link', args=[make_link(username)])}"


class Command(BaseCommand):
    """Prints the link on standard output, and nothing else there."""

    help = "Print a link that signs an operator in once, within the hour."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whom it signs in."""
        parser.add_argument(
            "--user", default="operator", help="made if there is none of that name (default: %(default)s)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it."""
        self.stdout.write(admin_link(options["user"]))
