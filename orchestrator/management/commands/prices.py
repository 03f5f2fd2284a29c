"""manage.py prices: what models charge, who says so, and from when until when; and how an operator says it."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.utils import timezone

from orchestrator.core.errors import BadRequest
from orchestrator.core.prices import Price, plain
from orchestrator.management.changing import by
from orchestrator.management.rows import Rows, with_json, words
from orchestrator.price_list import Line, places_of, price_list, prices_of
from orchestrator.registry.models import StatedPrice
from orchestrator.registry.reading import read_without_keys
from orchestrator.registry.stating import RATES, history, said, state

COLUMNS = ("model", "input", "output", "source", "since", "until", "registered_as")
HOW = "US dollars for a million tokens"


class Command(Rows):
    """Prices are of a model at a provider, `openai/gpt-4o`, whatever else it is called here."""

    help = "Show what models charge, and say what they do."

    def add_commands(self, commands: Any) -> None:
        """Each names a model, but the list."""
        every = with_json(commands.add_parser("list", help="list them, by model"))
        every.add_argument("--unknown", action="store_true", help="only those of which no price is known")
        for command, what in (
            ("show", "all there is to say of one"),
            ("set", "say what one charges"),
            ("unset", "say it no longer"),
        ):
            with_json(commands.add_parser(command, help=what)).add_argument(
                "model", metavar="MODEL", help="openai/gpt-4o, or a name of the registry"
            )
        for rate in RATES:
            commands.choices["set"].add_argument(
                f"--{rate.replace('_', '-')}", type=_dollars, required=rate in {"input", "output"}, help=_about(rate)
            )
        for command in ("set", "unset"):
            commands.choices[command].add_argument(
                "--from", type=_moment, dest="holds_from", metavar="TIME", help="2027-01-01, in UTC; default: now"
            )
            commands.choices[command].add_argument("--reason", default="", help="for the history")

    def list(self, unknown: bool) -> None:
        """Those that are registered, said or used."""
        lines = [line for line in price_list(timezone.now()) if line.is_unknown or not unknown]
        self.table(map(_row, lines), dict.fromkeys(COLUMNS, words), "There is none.")
        if not self.is_json and any(line.is_unknown for line in lines):
            self.stderr.write("Of those without a price nobody knows what calls cost. Say it with `prices set`.")

    def show(self, model: str) -> None:
        """In every place where it runs."""
        lines = prices_of(model, timezone.now())
        if not lines:
            self.stderr.write("It runs at no provider, so it charges nothing.")
        rows = [_row(line) | _more(line) for line in lines]
        if self.is_json:
            self.table(rows, {}, "")
            return
        for index, row in enumerate(rows):
            self.stdout.write("\n" if index else "", ending="")
            told = row.pop("history")
            self.one(row)
            for one in told:
                self.stdout.write(f"  {one['from']:%Y-%m-%d %H:%M}  {one['price']}, by {one['by']}")

    def set(self, model: str, holds_from: datetime | None, reason: str, **rates: Decimal | None) -> None:
        """And show it."""
        self._state(model, {rate: rates[rate] for rate in RATES}, holds_from, reason)

    def unset(self, model: str, holds_from: datetime | None, reason: str) -> None:
        """From then on it is as its provider lists it, or as the table has it."""
        self._state(model, {}, holds_from, reason)

    def _state(self, model: str, rates: Mapping[str, Decimal | None], holds_from: datetime | None, reason: str) -> None:
        places = places_of(model, read_without_keys())
        if len({place[:2] for place in places}) != 1:
            names = ", ".join(f"{provider}/{name}" for provider, name, _ in places) or "no provider"
            raise BadRequest(f"{model} runs at {names}: name one place, as PROVIDER/MODEL.")
        provider, name, _ = places[0]
        given = {rate: price for rate, price in rates.items() if price is not None}
        row = state(provider, name, given, holds_from, by(reason))
        self.one({"model": f"{provider}/{name}"} | _stated(row))


def _row(line: Line) -> dict[str, Any]:
    price = line.found.price
    return {
        "model": line.name,
        "input": plain(price.input) if price else None,
        "output": plain(price.output) if price else None,
        "source": price.source if price else "unknown" if line.place.is_paid else "free",
        "since": line.since,
        "until": line.until,
        "registered_as": [*line.names],
    }


def _more(line: Line) -> dict[str, Any]:
    """What a table has no room for."""
    price = line.found.price or Price(input=Decimal(0), output=Decimal(0))
    rates = {rate: plain(one) for rate in RATES[2:] if (one := getattr(price, rate)) is not None}
    longer = [f"above {one.above} tokens: {said({rate: getattr(one, rate) for rate in RATES})}" for one in price.longer]
    told = [_stated(row) for row in history(line.place.provider, line.place.model)]
    return {**rates, "long_questions": longer, "row": line.row.pk if line.row else None, "history": told}


def _stated(row: StatedPrice) -> dict[str, Any]:
    return {"price": said({rate: getattr(row, rate) for rate in RATES}), "from": row.holds_from, "by": row.by}


def _about(rate: str) -> str:
    what = {
        "input": "the question",
        "output": "the answer",
        "cache_read": "what its cache had of the question (default: as the question)",
        "cache_write": "what it wrote to its cache (default: as the question)",
        "cache_write_1h": "the same, kept for an hour (default: as what is written)",
    }
    return f"{what[rate]}: {HOW}"


def _dollars(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ArgumentTypeError(f"a number of {HOW}, as in 2.50") from None


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError("a day or a moment, as in 2027-01-01 or 2027-01-01T12:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
