"""manage.py limits: how much may be asked."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from orchestrator.core.limits import EACH, KINDS
from orchestrator.identity import limiting, shown
from orchestrator.identity.acting import at_terminal
from orchestrator.identity.asked import LimitAsked, LimitChange, read
from orchestrator.management.rows import Rows, duration_s, given, with_json, words

COLUMNS = ("name", "kind", "amount", "per_s", "burst", "each", "tenant", "team", "key", "model", "network", "is_off")


class Command(Rows):
    """A limit is about requests that match every field that is set."""

    help = "List, make, change, switch off and delete limits."

    def add_commands(self, commands: Any) -> None:
        """Each names its limit, but the list."""
        every = with_json(commands.add_parser("list", help="list them, by name"))
        every.add_argument("--tenant", help="only those of this tenant")
        make = with_json(commands.add_parser("make", help="make one"))
        make.add_argument("name", help="as `RateLimit-Policy` names it")
        make.add_argument("kind", choices=KINDS)
        make.add_argument("amount", type=int)
        self._with_fields(make, is_new=True)
        make.add_argument("--tenant", help="only requests of this tenant")
        make.add_argument("--team", help="of the tenant: only requests of its keys")
        make.add_argument("--key", metavar="PREFIX", help="only requests with this key")
        change = with_json(commands.add_parser("change", help="change what is given; `none` takes it away"))
        change.add_argument("name")
        change.add_argument("--amount", type=int)
        self._with_fields(change, is_new=False)
        for command, what in (("off", "switch it off"), ("on", "switch it on"), ("delete", "delete it")):
            with_json(commands.add_parser(command, help=what)).add_argument("name")

    def _with_fields(self, parser: ArgumentParser, *, is_new: bool) -> None:
        parser.add_argument("--each", choices=EACH, default="key" if is_new else None, help="what is counted apart")
        parser.add_argument(
            "--per", type=_length, dest="per_s", metavar="TIME", help="of requests and tokens: in 60s, 1h, 24h"
        )
        parser.add_argument("--burst", type=_number, help="of requests and tokens: so many at once")
        parser.add_argument("--model", help="only requests to these models, as a pattern: 'openai/*'")
        parser.add_argument("--network", help="only requests from there: 10.0.0.0/8")

    def list(self, tenant: str | None) -> None:
        """Those that match."""
        rows = map(shown.limit, limiting.limits(at_terminal(), tenant=tenant).iterator())
        self.table(rows, dict.fromkeys(COLUMNS, words), "There is no limit.")

    def make(self, **asked: Any) -> None:
        """And show it."""
        self.one(shown.limit(limiting.make(at_terminal(), read(LimitAsked, given(asked)))))

    def change(self, name: str, **asked: Any) -> None:
        """And show it as it is then."""
        change = {field: "" if value is None and field in {"model", "network"} else value
                  for field, value in given(asked).items()}  # fmt: skip
        self.one(shown.limit(limiting.change(at_terminal(), name, read(LimitChange, change))))

    def off(self, name: str) -> None:
        """It stays in the list."""
        self.change(name, is_off=True)

    def on(self, name: str) -> None:
        """As it was before."""
        self.change(name, is_off=False)

    def delete(self, name: str) -> None:
        """For good."""
        limiting.delete(at_terminal(), name)
        self.stderr.write(f"The limit {name} is gone.")


def _length(text: str) -> int | str:
    return text if text == "none" else duration_s(text)


def _number(text: str) -> int | str:
    return text if text == "none" else int(text)
