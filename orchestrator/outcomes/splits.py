"""How the sides of a split compare, and a shadow with whoever answered: with 95 % intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import fsum
from typing import Any

import msgspec
from django.db.models import Avg, Func, QuerySet, TextField

from orchestrator.core.permissions import Reach
from orchestrator.models import AnswerOutcome, RequestRecord, RouteDecision, ShadowRun
from routing.intervals import Interval, differ, mean, median, rate, share
from routing.models import RuleVersion
from routing.rules.draws import word_of
from routing.rules.facts import Facts

MOST_READ = 5_000  # of the newest decisions by a split, or of the newest runs of shadows
FEW = 500
MICRO = 1e6
WELL = {"done", "cut"}
# How runs of a shadow end that was not asked, or was asked no longer, for what is no fault of its own.
NOT_ASKED = frozenset(
    (
        *("busy", "none_available", "limited", "stream_limit", "budget", "price_unknown", "ledger_unavailable"),
        *("forbidden", "forbidden_by_rule", "key_ended", "cloud_disabled", "model_not_found"),
    )
)
# Of a decision's document, what the rules were told.
_FACTS = Func(
    "document",
    template="CASE WHEN json_valid(%(expressions)s) THEN json_extract(%(expressions)s, '$.facts') END",
    output_field=TextField(),
)

Asked = tuple[int, str]  # tenant, and a request's id, which is the caller's
Ids = Sequence[str] | QuerySet[Any]
Ended = tuple[str, int | None, int]  # outcome, millionths of a dollar, microseconds
Unit = tuple[int, str]  # tenant, and what was drawn whole: a request, a conversation, a key; empty: all of the tenant
By = Mapping[tuple[int, str], Any]  # what stays on one side of a split, by version of the rules and rule


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a split. Where it parts conversations, keys or tenants, each of these counts once, by its mean.

    requests  that went this way and called a model.    answered  share of them that ended well.
    good      mean of what was said of the answers, 0 to 1.    cost_usd  mean, of those whose cost is known.
    took_s    median, of whole answers.    differs  in what from the first side, where that can be told.
    """

    arm: str
    requests: int
    answered: Interval | None
    good: Interval | None
    cost_usd: Interval | None
    took_s: Interval | None
    differs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Beside:
    """A shadow beside whoever answered: of the same questions, so differences are of pairs.

    runs       in which the shadow was asked, and of which it `failed` in a share.
    not_asked  in how many more there was no time or budget for it, it was not well, or who asked may not ask it.
    cost_usd, took_s, good  what the shadow has more, as a mean of differences.
    """

    rule: str
    model: str
    shadow: str
    runs: int
    not_asked: int
    failed: Interval | None
    likeness: Interval | None
    cost_usd: Interval | None
    took_s: Interval | None
    good: Interval | None


def sides(reach: Reach, since: datetime) -> dict[str, list[Side]]:
    """The sides of every split and canary, by their rules and by name; of the newest requests that went through any."""
    decided = RouteDecision.objects.of(reach).filter(at__gte=since).exclude(split="").order_by("-at")
    asked: dict[str, dict[str, dict[Asked, Unit]]] = defaultdict(lambda: defaultdict(dict))
    columns = ("split", "arm", "tenant_id", "request_id", "rules", "facts")
    rows = list(decided.annotate(facts=_FACTS).values_list(*columns)[:MOST_READ])
    by = _parted_by({row[4] for row in rows})
    for rule, arm, tenant, request_id, version, facts in rows:
        asked[rule][arm].setdefault((tenant, request_id), _unit(tenant, facts, by.get((version, rule))))
    # Many are found again by the database sooner than it reads a list of them.
    ids = [row[3] for row in rows] if len(rows) <= FEW else decided.values("request_id")[:MOST_READ]
    ended, said = _ended(reach, ids), _said(reach, ids)
    found: dict[str, list[Side]] = {}
    for rule in sorted(asked):
        of_rule = [_side(arm, some, ended, said) for arm, some in sorted(asked[rule].items())]
        found[rule] = [*of_rule[:1], *(_compared(side, of_rule[0]) for side in of_rule[1:])]
    return found


def shadows(reach: Reach, since: datetime) -> list[Beside]:
    """Every shadow of late, by rule and models."""
    rows = ShadowRun.objects.of(reach).filter(at__gte=since).order_by("-id")[:MOST_READ]
    pairs: dict[tuple[str, str, str], list[ShadowRun]] = defaultdict(list)
    for row in rows:
        pairs[row.rule, row.model, row.shadow].append(row)
    return [_beside(*names, runs) for names, runs in sorted(pairs.items())]


def _ended(reach: Reach, ids: Ids) -> Mapping[Asked, Sequence[Ended]]:
    """How those ended that called a model."""
    found: dict[Asked, list[Ended]] = defaultdict(list)
    rows = RequestRecord.objects.of(reach).filter(tier__in=("miss", "bypass"))
    columns = ("tenant_id", "request_id", "outcome", "cost_microusd", "total_us")
    for tenant, request_id, *ended in rows.filter(request_id__in=ids).values_list(*columns):
        found[tenant, request_id].append((ended[0], ended[1], ended[2]))
    return found


def _said(reach: Reach, ids: Ids) -> Mapping[Asked, float]:
    """What was said of the answers that were given, in the mean; one that made way for another is not of them."""
    rows = AnswerOutcome.objects.of(reach).filter(request_id__in=ids).order_by()
    rows = rows.exclude(kind=AnswerOutcome.Kind.ESCALATION)
    means = rows.values("tenant_id", "request_id").annotate(mean=Avg("good"))
    return {(one["tenant_id"], one["request_id"]): one["mean"] for one in means}


def _parted_by(versions: set[int]) -> By:
    """What every split and canary of these versions of the rules parts, of those versions that are kept."""
    found: dict[tuple[int, str], Any] = {}
    for number, document in RuleVersion.objects.filter(number__in=versions).values_list("number", "document"):
        for rule in document.get("rules", ()):
            then = rule.get("then", {})
            part = then.get("split") or then.get("canary") or {}
            found[number, rule.get("name", "")] = part.get("by", "conversation")
    return found


def _unit(tenant: int, facts: str | None, by: Any) -> Unit:
    """What of the tenant's was drawn with a request. Where that is not known any more, all: it may have been."""
    if facts is None or by is None:
        return tenant, ""
    return tenant, word_of(Facts.from_json(msgspec.json.decode(facts)), by)


def _side(
    arm: str, asked: Mapping[Asked, Unit], ended: Mapping[Asked, Sequence[Ended]], said: Mapping[Asked, float]
) -> Side:
    called = [(unit, *one) for each, unit in asked.items() for one in ended.get(each, ())]
    well = _means((unit, float(outcome in WELL)) for unit, outcome, _, _ in called)
    costs = _means((unit, cost / MICRO) for unit, _, cost, _ in called if cost is not None)
    goods = _means((unit, said[each]) for each, unit in asked.items() if each in said)
    times = _means((unit, took / MICRO) for unit, outcome, _, took in called if outcome in WELL)
    return Side(arm, len(called), rate(well), rate(goods), mean(costs), median(times))


def _means(values: Iterable[tuple[Unit, float]]) -> list[float]:
    """The mean of each unit: what was drawn together may be alike, so it tells no more than one does."""
    of: dict[Unit, list[float]] = defaultdict(list)
    for unit, value in values:
        of[unit].append(value)
    return [fsum(some) / len(some) for some in of.values()]


def _compared(side: Side, first: Side) -> Side:
    names = ("answered", "good", "cost_usd")
    found = tuple(name for name in names if differ(getattr(first, name), getattr(side, name)))
    return Side(side.arm, side.requests, side.answered, side.good, side.cost_usd, side.took_s, found)


def _beside(rule: str, model: str, shadow: str, runs: list[ShadowRun]) -> Beside:
    costs = [
        (one.shadow_cost_microusd - one.cost_microusd) / MICRO
        for one in runs
        if one.shadow_cost_microusd is not None and one.cost_microusd is not None
    ]
    times = [(one.shadow_took_us - one.took_us) / MICRO for one in runs if one.shadow_took_us is not None]
    goods = [one.shadow_good - one.good for one in runs if one.shadow_good is not None and one.good is not None]
    alike = [one.likeness for one in runs if one.likeness is not None]
    ended = [one.failed for one in runs if one.failed not in NOT_ASKED]
    failed = share(sum(map(bool, ended)), len(ended))
    counts = len(ended), len(runs) - len(ended)
    return Beside(rule, model, shadow, *counts, failed, mean(alike), mean(costs), mean(times), mean(goods))
