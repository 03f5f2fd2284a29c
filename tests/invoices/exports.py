"""Calls as they might have been, the charges they left here, and every export that a provider might make of them."""

from __future__ import annotations

import csv
import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from io import StringIO
from random import Random
from typing import Any

from django.db import connection

from orchestrator.core.ids import hex_id
from orchestrator.core.permissions import EVERYBODY
from orchestrator.ledger import spending
from orchestrator.models import Charge, SpendDay

FIRST = date(2026, 3, 1)
DAYS = 5
MICRO = Decimal("0.000001")
CENT = Decimal("0.01")
# Dollars for a token: of the question, from the cache, into the cache, of the answer.
RATES = tuple(map(Decimal, ("0.00000315", "0.000000315", "0.0000039375", "0.00001575")))


@dataclass(frozen=True)
class Call:
    """A call, as the provider knows it. `day` is the one it is counted on there."""

    ref: str
    at: datetime
    day: date
    model: str
    fresh: int
    cached: int
    written: int
    answer: int
    more: Decimal = Decimal(0)  # dollars, beyond what the tokens cost

    @property
    def costs(self) -> tuple[Decimal, Decimal, Decimal, Decimal]:
        """To the last digit."""
        counts = (self.fresh, self.cached, self.written, self.answer)
        fresh, *rest = (rate * count for rate, count in zip(RATES, counts, strict=True))
        return (fresh + self.more, *rest)  # type: ignore[return-value]  # four

    @property
    def cost(self) -> Decimal:
        return sum(self.costs, Decimal(0))

    @property
    def prompt(self) -> int:
        return self.fresh + self.cached + self.written


def some_calls(
    random: Random, models: Iterable[str], *, tokens: int = 3000, has_cache_writes: bool = True
) -> list[Call]:
    """Some of each model, on some of the days; none within an hour of midnight."""
    calls = []
    for model in models:
        for _ in range(random.randint(3, 6)):
            begin = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(days=random.randrange(DAYS))
            at = begin + timedelta(seconds=random.randint(3600, 82_800))
            calls.append(
                Call(
                    ref=f"gen-{hex_id(12)}",
                    at=at,
                    day=at.date(),
                    model=model,
                    fresh=random.randint(tokens // 3, tokens),
                    cached=random.choice((0, random.randint(1, tokens))),
                    written=random.choice((0, random.randint(1, tokens))) if has_cache_writes else 0,
                    answer=random.randint(tokens // 3, tokens),
                )
            )
    return calls


def charge(calls: Iterable[Call], provider: str, named: Callable[[str], str] = str) -> None:
    """What was charged for them here. `named` says what their models are called here."""
    Charge.rows.bulk_create(
        Charge(
            hold=hex_id(32),
            request_id=hex_id(32),
            at=call.at,
            tenant_id=1,
            provider=provider,
            model=f"{provider}/{named(call.model)}",
            purpose="answer",
            outcome="done",
            prompt_tokens=call.prompt,
            completion_tokens=call.answer,
            cached_tokens=call.cached,
            cache_write_tokens=call.written,
            cache_write_1h_tokens=0,
            reasoning_tokens=0,
            is_estimated=False,
            cost_microusd=int((call.cost / MICRO).to_integral_value(ROUND_CEILING)),
            source="price",
            provider_ref=call.ref,
        )
        for call in calls
    )
    sum_days()


def sum_days() -> None:
    """Add up all charges by day, as the ledger does when it writes them."""
    SpendDay.objects.of(EVERYBODY).delete()
    with connection.cursor() as cursor:
        spending.add_charges(cursor, Charge.objects.of(EVERYBODY).values())


def by_day_and_model(calls: Iterable[Call]) -> dict[tuple[date, str], list[Call]]:
    found = defaultdict(list)
    for call in calls:
        found[call.day, call.model].append(call)
    return dict(sorted(found.items()))


def every_day() -> list[date]:
    return [FIRST + timedelta(days=number) for number in range(DAYS + 1)]


def table(header: str, rows: Iterable[Iterable[object]], *, mark: str = "", end: str = "\n") -> bytes:
    text = StringIO()
    out = csv.writer(text, lineterminator=end)
    out.writerow(header.split(","))
    out.writerows(rows)
    return (mark + text.getvalue()).encode()


def paged(buckets: list[dict[str, Any]], size: int = 2) -> bytes:
    """Pages, one after the other."""
    starts = range(0, len(buckets), size)
    pages = [
        {"object": "page", "data": buckets[start : start + size], "has_more": start != starts[-1], "next_page": None}
        for start in starts
    ]
    return "\n".join(map(json.dumps, pages)).encode()


def seconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def openai_costs_csv(calls: list[Call]) -> bytes:
    rows: list[list[object]] = []
    found = by_day_and_model(calls)
    for day in every_day():
        here = [(model, group) for (on, model), group in found.items() if on == day]
        start, end = seconds(day), seconds(day + timedelta(days=1))
        iso = (f"{day}T00:00:00+00:00", f"{day + timedelta(days=1)}T00:00:00+00:00")
        if not here:
            rows.append([start, end, *iso, "", "", "", "", "org-1"])
        for model, group in here:
            for kind, place in (("input", 0), ("cached input", 1), ("output", 3)):
                cost = sum((call.costs[place] for call in group), Decimal(0))
                rows.append(
                    [start, end, *iso, f"{cost:.22f}", "usd", f"{model}, {kind}", "proj\r\nwith a line", "org-1"]
                )
    header = (
        "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id,"
        "organization_id"
    )
    return table(header, rows, mark="\ufeff", end="\r\n")


def openai_costs_json(calls: list[Call]) -> bytes:
    found = by_day_and_model(calls)
    as_text = itertools.cycle((True, False))
    buckets = []
    for day in every_day():
        results = []
        for (on, model), group in found.items():
            for kind, place in (("input", 0), ("cached input", 1), ("output", 3)):
                cost = sum((call.costs[place] for call in group), Decimal(0))
                if on == day:
                    value = f"{cost:f}" if next(as_text) else float(cost)
                    results.append({"amount": {"value": value, "currency": "usd"}, "line_item": f"{model}, {kind}"})
        buckets.append({"start_time": seconds(day), "end_time": seconds(day + timedelta(days=1)), "results": results})
    return paged(buckets)


def openai_usage_csv(calls: list[Call]) -> bytes:
    rows: list[list[object]] = []
    found = by_day_and_model(calls)
    for day in every_day():
        here = [(model, group) for (on, model), group in found.items() if on == day]
        span = [seconds(day), seconds(day + timedelta(days=1))]
        rows += [[*span, model, *usage(group)] for model, group in here] or [[*span, "", "", "", "", ""]]
    header = "start_time,end_time,model,num_model_requests,input_tokens,input_cached_tokens,output_tokens"
    return table(header, rows)


def openai_usage_json(calls: list[Call]) -> bytes:
    names = ("num_model_requests", "input_tokens", "input_cached_tokens", "output_tokens")
    buckets = [
        {
            "start_time": seconds(day),
            "end_time": seconds(day + timedelta(days=1)),
            "results": [
                {"object": "organization.usage.completions.result", "model": model}
                | dict(zip(names, usage(group), strict=True))
                for (on, model), group in by_day_and_model(calls).items()
                if on == day
            ],
        }
        for day in every_day()
    ]
    return paged(buckets, 3)


def usage(group: list[Call]) -> list[int]:
    return [
        len(group),
        sum(call.prompt for call in group),
        sum(call.cached for call in group),
        sum(call.answer for call in group),
    ]


KINDS = ("input_no_cache", "input_cache_read", "input_cache_write_5m", "output")
SHOWN = {
    "claude-haiku-4-5": "Claude Haiku 4.5",
    "claude-3-5-sonnet-20241022": "Claude 3.5 Sonnet 2024-10-22",
    "claude-opus-4-20250514": "Claude Opus 4",
}


def anthropic_cost_csv(calls: list[Call]) -> bytes:
    """A row that comes to no cent is there with 0.00 or, one in two, not at all."""
    rows = []
    is_left_out = itertools.cycle((True, False))
    for (day, model), group in by_day_and_model(calls).items():
        for place, kind in enumerate(KINDS):
            cost = sum((call.costs[place] for call in group), Decimal(0)).quantize(CENT, ROUND_HALF_UP)
            if cost or not next(is_left_out):
                rows.append([day, SHOWN.get(model, model), "Default", "key, of all", "standard", kind, cost])
    return table("usage_date_utc,model,workspace,api_key,usage_type,token_type,cost_usd", rows, end="\r\n")


def anthropic_cost_json(calls: list[Call]) -> bytes:
    buckets = []
    for day in every_day():
        results = [
            {
                "currency": "USD",
                "amount": f"{sum((call.costs[place] for call in group), Decimal(0)) * 100:f}",
                "model": model,
                "cost_type": "tokens",
                "token_type": kind,
            }
            for (on, model), group in by_day_and_model(calls).items()
            for place, kind in enumerate(
                (
                    "uncached_input_tokens",
                    "cache_read_input_tokens",
                    "cache_creation.ephemeral_5m_input_tokens",
                    "output_tokens",
                )
            )
            if on == day
        ]
        ends = f"{day + timedelta(days=1)}T00:00:00Z"
        buckets.append({"starting_at": f"{day}T00:00:00Z", "ending_at": ends, "results": results})
    return paged(buckets)


def anthropic_usage_csv(calls: list[Call]) -> bytes:
    rows = []
    for (day, model), group in by_day_and_model(calls).items():
        for half in filter(None, (group[::2], group[1::2])):  # a row for each of two keys
            counts = [sum(getattr(call, name) for call in half) for name in ("fresh", "written", "cached", "answer")]
            rows.append([day, model, "key", counts[0], counts[1], "", counts[2], counts[3], 0])
    header = (
        "usage_date_utc,model_version,api_key,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,"
        "usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count"
    )
    return table(header, rows)


def openrouter_csv(calls: list[Call]) -> bytes:
    """The names there are not those that are asked for."""
    rows = []
    for call in calls:
        at = call.at if call.day == call.at.date() else datetime.combine(call.day, time(0, 0, 7))
        shown = f"{at:%Y-%m-%d %H:%M:%S}.713"
        slug = PERMASLUGS.get(call.model, call.model)
        rows.append(
            [call.ref, shown, f"{call.cost:f}", "", call.prompt, call.answer, call.cached, slug, "standard", "true"]
        )
    header = (
        "generation_id,created_at,cost_total,byok_usage_inference,tokens_prompt,tokens_completion,tokens_cached,"
        "model_permaslug,variant,cancelled"
    )
    return table(header, rows)


PERMASLUGS = {"anthropic/claude-sonnet-4.5": "anthropic/claude-4.5-sonnet-20250929"}


def openrouter_json(calls: list[Call]) -> bytes:
    data = []
    for (day, model), group in by_day_and_model(calls).items():
        requests, prompt, _, answer = usage(group)
        half = sum((call.cost for call in group), Decimal(0)) / 2
        data.append(
            {
                "date": f"{day} 00:00:00",
                "model": model,
                "usage": f"{half:f}",
                "byok_usage_inference": f"{half:f}",
                "requests": requests,
                "prompt_tokens": prompt,
                "completion_tokens": answer,
            }
        )
    return json.dumps({"data": data}).encode()


def generic_csv(calls: list[Call]) -> bytes:
    rows = []
    for (day, model), group in by_day_and_model(calls).items():
        requests, prompt, cached, answer = usage(group)
        written = sum(call.written for call in group)
        cost = sum((call.cost for call in group), Decimal(0))
        rows.append([day, model, f"{cost:E}", f"{requests}.0", prompt, cached, written, answer])
    return table("day,model,cost_usd,requests,input_tokens,cached_tokens,cache_write_tokens,output_tokens", rows)
