"""manage.py tenants: who is served, their teams, and what one may read of another."""

from __future__ import annotations

from typing import Any

from orchestrator.identity import shown, tenancy
from orchestrator.identity.acting import at_terminal
from orchestrator.identity.asked import GrantAsked, TeamAsked, TenantAsked, TenantChange, read
from orchestrator.management.rows import Rows, with_json, words

TENANT = ("name", "priority", "suspended_at", "created_at")


class Command(Rows):
    """Teams and grants are of tenants, so they are here."""

    help = "List, make, change, suspend and resume tenants; their teams, and grants between them."

    def add_commands(self, commands: Any) -> None:
        """Tenants by name, teams and grants beside."""
        with_json(commands.add_parser("list", help="list them, by name"))
        make = with_json(commands.add_parser("make", help="make one"))
        change = with_json(commands.add_parser("change", help="give it another share"))
        suspend = with_json(commands.add_parser("suspend", help="none of its keys works, until it is resumed"))
        resume = with_json(commands.add_parser("resume", help="its keys work again"))
        for one in (make, change, suspend, resume):
            one.add_argument("name")
        for one, is_needed in ((make, False), (change, True)):
            one.add_argument("--priority", type=int, required=is_needed, help="1 to 10 (default: 5)")
        teams = with_json(commands.add_parser("teams", help="list teams"))
        teams.add_argument("--tenant", help="only those of this tenant")
        for command, what in (("make-team", "make a team"), ("delete-team", "delete a team that has no keys")):
            team = with_json(commands.add_parser(command, help=what))
            team.add_argument("tenant")
            team.add_argument("name")
        with_json(commands.add_parser("grants", help="list which tenant may be answered from which other's cache"))
        for command, what in (("grant", "let a tenant be answered from another's cache"), ("end-grant", "end that")):
            grant = with_json(commands.add_parser(command, help=what))
            grant.add_argument("owner", help="whose answers")
            grant.add_argument("reader", help="who is given them")

    def list(self) -> None:
        """All of them."""
        rows = map(shown.tenant, tenancy.tenants(at_terminal()).iterator())
        self.table(rows, dict.fromkeys(TENANT, words), "There is no tenant yet.")

    def make(self, name: str, priority: int | None) -> None:
        """And show it."""
        asked = {"name": name} | ({} if priority is None else {"priority": priority})
        self.one(shown.tenant(tenancy.make_tenant(at_terminal(), read(TenantAsked, asked))))

    def change(self, name: str, **asked: Any) -> None:
        """And show it as it is then."""
        self.one(shown.tenant(tenancy.change_tenant(at_terminal(), name, read(TenantChange, asked))))

    def suspend(self, name: str) -> None:
        """Its open streams end too."""
        self.change(name, suspended=True)

    def resume(self, name: str) -> None:
        """As it was before."""
        self.change(name, suspended=False)

    def teams(self, tenant: str | None) -> None:
        """Those that match."""
        rows = map(shown.team, tenancy.teams(at_terminal(), tenant=tenant).iterator())
        self.table(rows, dict.fromkeys(("tenant", "name", "created_at"), words), "There is no team.")

    def make_team(self, **asked: Any) -> None:
        """And show it."""
        self.one(shown.team(tenancy.make_team(at_terminal(), read(TeamAsked, asked))))

    def delete_team(self, tenant: str, name: str) -> None:
        """With its limits."""
        tenancy.delete_team(at_terminal(), tenant, name)
        self.stderr.write(f"The team {tenant}/{name} is gone.")

    def grants(self) -> None:
        """All of them."""
        rows = map(shown.grant, tenancy.grants(at_terminal()).iterator())
        self.table(rows, dict.fromkeys(("owner", "reader", "created_at"), words), "There is no grant.")

    def grant(self, **asked: Any) -> None:
        """And show it."""
        self.one(shown.grant(tenancy.make_grant(at_terminal(), read(GrantAsked, asked))))

    def end_grant(self, owner: str, reader: str) -> None:
        """From the next request on."""
        tenancy.delete_grant(at_terminal(), owner, reader)
        self.stderr.write(f"{reader} may not read {owner}'s answers any more.")
