"""manage.py issue_key NAME: make an API key and print it."""

from argparse import ArgumentParser
from typing import Any

from django.db import transaction

from orchestrator.core.permissions import Role
from orchestrator.identity import issuing, tenancy
from orchestrator.identity.acting import at_terminal
from orchestrator.identity.asked import KeyAsked, TenantAsked, read
from orchestrator.identity.keys import DEFAULT_TENANT, ensure_default_tenant
from orchestrator.management.rows import Rows, given, with_scopes
from orchestrator.models import Tenant


class Command(Rows):
    """Prints the key on standard output, and nothing else there."""

    help = "Make an API key. It is shown once; only a keyed hash of it is kept."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Who the key is for, and what it may do."""
        parser.set_defaults(command="issue")
        parser.add_argument("name", help="what the key is for, as people will read it")
        parser.add_argument(
            "--tenant", default=DEFAULT_TENANT, help="whose key it is, made if new (default: %(default)s)"
        )
        parser.add_argument("--admin", action="store_true", help="the same as --role admin --all-tenants")
        parser.add_argument(
            "--all-tenants", action="store_true", dest="reaches_all", help="its role holds for every tenant"
        )
        with_scopes(parser)

    def issue(self, admin: bool, **asked: Any) -> None:
        """Make it, and its tenant where there is none of that name."""
        if admin:
            asked |= {"role": Role.ADMIN, "reaches_all": True}
        key = read(KeyAsked, given(asked))
        is_new = False
        with transaction.atomic():
            if key.tenant == DEFAULT_TENANT:
                ensure_default_tenant()
            elif not Tenant.objects.filter(name=key.tenant).exists():
                tenancy.make_tenant(at_terminal(), read(TenantAsked, {"name": key.tenant}))
                is_new = True
            _, credential = issuing.issue(at_terminal(), key)
        self.stdout.write(credential)
        if is_new:
            self.stderr.write(f"The tenant {key.tenant} was made: there was none of that name.")
        self.stderr.write("Keep it: it cannot be shown again.")
