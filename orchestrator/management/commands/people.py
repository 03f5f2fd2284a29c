"""manage.py people: who is let in, from the machine itself."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse

from orchestrator.core.errors import OrchestratorError
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.identity import acting, staffing
from orchestrator.models import Tenant
from orchestrator.processes import site

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class Command(BaseCommand):
    """Links go to standard output, and nothing else there."""

    help = "List the people who may see the pages, invite and remove them, give and take roles."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What to do, and with whom."""
        acts = parser.add_subparsers(dest="act", required=True)
        acts.add_parser("list", help="everybody, with their roles")
        for act, words in (
            ("invite", "let somebody in, and print a link that signs them in once"),
            ("role", "give somebody a role in a tenant, or another one there"),
        ):
            one = acts.add_parser(act, help=words)
            one.add_argument("name")
            one.add_argument("--role", choices=[*map(str, Role)], required=act == "role", default="viewer")
            one.add_argument("--tenant", help="of which it holds (default: every one)")
        one = acts.add_parser("take-role", help="take the role in a tenant away")
        one.add_argument("name")
        one.add_argument("--tenant", help="of which it holds (default: every one)")
        for act, words in (
            ("link", "print another link that signs somebody in once"),
            ("two-factor-off", "for somebody who lost their authenticator"),
            ("remove", "somebody goes, and is signed out everywhere"),
        ):
            acts.add_parser(act, help=words).add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it."""
        try:
            self._do(options)
        except OrchestratorError as error:
            raise CommandError(str(error)) from None

    def _do(self, options: dict[str, Any]) -> None:
        actor = acting.at_terminal()
        act, name = options["act"], options.get("name", "")
        tenant_id = _tenant_id(options.get("tenant"))
        if act == "list":
            self._list()
        elif act == "invite":
            self._show(staffing.invite(actor, name, Role(options["role"]), tenant_id)[1])
        elif act == "role":
            user = _user(name)
            reaches_further = staffing.give_role(actor, user, Role(options["role"]), tenant_id)
            self._tell(name)
            if reaches_further:
                self.stderr.write(staffing.signed_out(user))
        elif act == "take-role":
            staffing.take_role(actor, _user(name), tenant_id)
            self._tell(name)
        elif act == "link":
            self._show(staffing.fresh_link(actor, _user(name)))
        elif act == "two-factor-off":
            staffing.forget_second_factor(actor, _user(name))
            self.stderr.write(f"{name} signs in without a code. Sessions opened with one have ended.")
        elif act == "remove":
            staffing.remove(actor, _user(name))
            self.stderr.write(f"{name} is removed, and signed out everywhere.")

    def _list(self) -> None:
        for user in staffing.people(EVERYBODY):
            self.stdout.write(_standing(user))

    def _tell(self, name: str) -> None:
        self.stderr.write(_standing(staffing.people(EVERYBODY).get(username=name)))

    def _show(self, token: str) -> None:
        shown = site()
        self.stdout.write(f"{shown}{reverse('dashboard:sign-in-link', args=[token])}")
        self.stderr.write("It works once, within three days, and is not shown again.")


def _standing(user: User) -> str:
    rows = [f"{row.role} of {row.tenant or 'every tenant'}" for row in user.roles_here]  # type: ignore[attr-defined]
    roles = ["admin of every tenant, as superuser"] * user.is_superuser + rows
    return f"{user.get_username()}: {', '.join(roles) or 'no role'}"


def _user(name: str) -> User:
    user = get_user_model().objects.filter(username=name, is_active=True).first()
    if user is None:
        raise CommandError(f"There is nobody called {name}.")
    return user


def _tenant_id(name: str | None) -> int | None:
    if name is None:
        return None
    tenant = Tenant.objects.filter(name=name).first()
    if tenant is None:
        raise CommandError(f"There is no tenant called {name}.")
    return tenant.pk
