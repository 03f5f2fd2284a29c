"""manage.py budgets: how much may be spent, and how it stands."""

from __future__ import annotations

from argparse import ArgumentParser
from functools import partial
from typing import Any

from orchestrator.budgeting import alerts, machines, rows, standing
from orchestrator.core.budgets import EACH_OF, PERIODS
from orchestrator.identity.acting import at_terminal
from orchestrator.identity.asked import BudgetAsked, BudgetChange, read
from orchestrator.management.rows import Rows, given, with_json, words

COLUMNS = ("name", "amount_usd", "period", "each", "about", "is_hard", "used", "free_usd", "renewed_at", "is_off")
OF_STANDING = ("counted", "spent_usd", "reserved_usd", "free_usd", "share", "pace_usd")
OF_SHARED = (
    "counted",
    "spent_usd",
    "spent_here_usd",
    "reserved_usd",
    "free_usd",
    "granted_here_usd",
    "share",
    "pace_usd",
)
OF_MACHINE = ("machine", "label", "is_this", "gone", "seen_at")
OF_ALERT = ("at", "budget", "counted", "share", "spent_usd", "amount_usd", "told_at")
MOST_ALERTS = 100
MOST_NAMED = 5  # machines in a warning


class Command(Rows):
    """A budget is about calls that match every field that is set."""

    help = "List, show, make, change, switch off and delete budgets, and list their alerts."

    def add_commands(self, commands: Any) -> None:
        """Each names its budget, but the lists."""
        every = with_json(commands.add_parser("list", help="list them, by name, each where it is used most"))
        every.add_argument("--tenant", help="only those of this tenant")
        make = with_json(commands.add_parser("make", help="make one"))
        make.add_argument("name")
        make.add_argument("amount_usd", metavar="DOLLARS", help="as in 12.50")
        make.add_argument("period", choices=PERIODS, help="when it is renewed, at midnight in UTC")
        make.add_argument("--each", choices=EACH_OF, default="key", help="what is counted apart")
        make.add_argument("--tenant", help="only calls of this tenant")
        make.add_argument("--team", help="of the tenant: only calls of its keys")
        make.add_argument("--key", metavar="PREFIX", help="only calls with this key")
        make.add_argument("--model", help="only calls of these models, as a pattern: 'openai/*'")
        make.add_argument("--provider", help="only calls at this provider")
        self._with_fields(make)
        change = with_json(commands.add_parser("change", help="change what is given"))
        change.add_argument("name")
        change.add_argument("--amount", dest="amount_usd", metavar="DOLLARS")
        self._with_fields(change)
        for command, what in (
            ("show", "show one, and how it stands"),
            ("off", "switch it off: nothing is counted meanwhile"),
            ("on", "switch it on, with what was spent meanwhile"),
            ("delete", "delete it"),
        ):
            with_json(commands.add_parser(command, help=what)).add_argument("name")
        reached = with_json(commands.add_parser("alerts", help="list shares that were reached, newest first"))
        reached.add_argument("--budget", help="only those of this one")
        with_json(commands.add_parser("machines", help="list the machines that spend the same budgets"))
        release = with_json(commands.add_parser("release", help="say that a machine does not come back"))
        release.add_argument("machine", help="its name in the list of machines")
        release.add_argument("--moved", action="store_true", help="its ledger is kept, here or on another machine")

    def _with_fields(self, parser: ArgumentParser) -> None:
        how = parser.add_mutually_exclusive_group()
        how.add_argument(
            "--hard", dest="is_hard", action="store_const", const=True, help="what would go beyond is refused"
        )
        how.add_argument("--soft", dest="is_hard", action="store_const", const=False, help="it is only told")
        parser.add_argument(
            "--at", dest="shares", type=int, action="append", metavar="PERCENT",
            help="tell when so much of it is reached; may be given more than once",
        )  # fmt: skip

    def list(self, tenant: str | None) -> None:
        """Those that match."""
        self._tell_who_is_not_counted()
        found = map(partial(standing.shown, most=1), rows.budgets(at_terminal(), tenant=tenant).iterator())
        shown = found if self.is_json else map(_in_a_line, found)
        self.table(shown, dict.fromkeys(COLUMNS, words), "There is no budget.")

    def show(self, name: str) -> None:
        """All there is of it, then a line for each that it counts apart."""
        row = rows.find(at_terminal(), name)
        self._tell_who_is_not_counted()
        self._show(standing.shown(row))

    def make(self, **asked: Any) -> None:
        """And show it."""
        by, budget = at_terminal(), read(BudgetAsked, given(asked))
        self._show(standing.shown(rows.make(by, budget, rows.sum_before_made(by, budget))))

    def change(self, name: str, **asked: Any) -> None:
        """And show it as it is then."""
        by, budget = at_terminal(), read(BudgetChange, given(asked))
        self._show(standing.shown(rows.change(by, name, budget, rows.sum_before_changed(by, name, budget))))

    def off(self, name: str) -> None:
        """It stays in the list."""
        self.change(name, is_off=True)

    def on(self, name: str) -> None:
        """As it was before."""
        self.change(name, is_off=False)

    def delete(self, name: str) -> None:
        """For good."""
        rows.delete(at_terminal(), name)
        self.stderr.write(f"The budget {name} is gone.")

    def alerts(self, budget: str | None) -> None:
        """The newest."""
        found = alerts.shown(alerts.alerts(at_terminal(), budget=budget)[:MOST_ALERTS])
        self.table(found, dict.fromkeys(OF_ALERT, words), "There is no alert.")

    def machines(self) -> None:
        """This one, and those it has heard of."""
        found = machines.machines(at_terminal())
        self._tell_who_is_not_counted()
        self.table(found, dict.fromkeys(OF_MACHINE, words), "Budgets are spent by this machine alone.")

    def release(self, machine: str, moved: bool) -> None:
        """It counts no more but for what it spent."""
        row = machines.release(at_terminal(), machine, moved=moved)
        self.stderr.write(f"The machine {row} is gone.")

    def _tell_who_is_not_counted(self) -> None:
        others = machines.uncounted()
        if others:
            more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
            self.stderr.write(
                f"Other machines spend these budgets too ({', '.join(others[:MOST_NAMED])}{more}), but this shell has"
                " no REDIS_URL: only what this machine spent and reserved is counted here. Run the command with the"
                " product's environment, or at least its REDIS_URL."
            )

    def _show(self, shown: dict[str, Any]) -> None:
        if self.is_json:
            self.one(shown)
            return
        standings = shown.pop("standings")
        stated = ", ".join(f"{one['amount_usd']} on {one['machine']}" for one in shown.pop("stated_elsewhere"))
        if stated:
            self.stderr.write(f"Machines have different amounts for it, and the smallest holds: {stated}.")
        is_shared = any(one["granted_here_usd"] is not None for one in standings)
        if shown["period"] == "total":
            shown["begins"] = None  # it always was; the day it is kept under says nothing to people
        self.one(shown)
        self.stdout.write("")
        self.table(
            standings, dict.fromkeys(OF_SHARED if is_shared else OF_STANDING, words), "Nothing is spent in this period."
        )


def _in_a_line(shown: dict[str, Any]) -> dict[str, Any]:
    """What a budget is about in one word, and how it stands where it is used most."""
    whose = shown["key"] or "/".join(filter(None, (shown["tenant"], shown["team"])))
    about = " ".join(filter(None, (whose, shown["model"], shown["provider"])))
    most = shown["standings"][0] if shown["standings"] else {"share": 0, "free_usd": shown["amount_usd"]}
    return shown | {"about": about or "everything", "used": f"{most['share']} %", "free_usd": most["free_usd"]}
