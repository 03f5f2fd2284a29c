"""manage.py issue_key NAME: make an API key and print it."""

from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from orchestrator.core.permissions import Role
from orchestrator.identity.keys import DEFAULT_TENANT, issue_key


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= 36500:
        raise ArgumentTypeError("a number of days from 1 to 36500")
    return days


class Command(BaseCommand):
    """Prints the key on standard output, and nothing else there."""

    help = "Make an API key. It is shown once; only a keyed hash of it is kept."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Who the key is for, and what it may do."""
        parser.add_argument("name", help="what the key is for, as people will read it")
        parser.add_argument("--tenant", default=DEFAULT_TENANT, help="whose key it is (default: %(default)s)")
        parser.add_argument("--role", type=Role, choices=list(Role), help="what it may manage under /api/admin/v1/")
        parser.add_argument("--admin", action="store_true", help="the same as --role admin --all-tenants")
        parser.add_argument("--all-tenants", action="store_true", help="its role holds for every tenant")
        parser.add_argument("--days", type=_days, help="expires after so many days")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it."""
        expires_at = timezone.now() + timedelta(days=options["days"]) if options["days"] else None
        key = issue_key(
            options["name"],
            options["tenant"],
            role=Role.ADMIN if options["admin"] else options["role"],
            reaches_all=options["admin"] or options["all_tenants"],
            expires_at=expires_at,
        )
        self.stdout.write(key)
        self.stderr.write("Keep it: it cannot be shown again.")
