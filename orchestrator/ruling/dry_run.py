"""What rules would have done with the requests that came last: nobody is asked, and nothing is changed.

It goes by what was written down of each decision: the facts, what was heard in a text that was not kept, what the
rules said then, and the order of the router's choice. What cannot be told of that is counted, not guessed.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec

from orchestrator.catalogue import all_names, named_at, others_at, placed
from orchestrator.core.permissions import Reach
from orchestrator.core.presets import KINDS
from orchestrator.engines.wires import wire_at
from orchestrator.ledger.estimate import at_most_again
from orchestrator.modelhost.names import as_compared, as_listed
from orchestrator.models import RequestRecord
from orchestrator.models.decisions import RouteDecision
from orchestrator.registry.entries import DeploymentEntry, Registry
from orchestrator.registry.reading import read_without_keys
from orchestrator.ruling import versions
from orchestrator.ruling.charges import Charges, Tokens
from orchestrator.ruling.doubts import AUTO, had
from routing.rules.compiled import compile_rules
from routing.rules.document import Document
from routing.rules.facts import Facts
from routing.rules.verdict import Verdict

MOST_REQUESTS = 1000
LONGEST_S = 5.0
AT_ONCE = 100  # rows that are read
MOST_MOVES = 50  # from one model to another that are told
MOST_SAMPLES = 50
REFUSED = ""  # in place of a model
CALLS = frozenset({RequestRecord.Tier.MISS, RequestRecord.Tier.BYPASS})


@dataclass(frozen=True, slots=True)
class Move:
    """Requests that another model would have had. Costs are in millionths of a dollar, where both are known."""

    instead_of: str  # who was asked; empty: nobody
    to: str  # empty: nobody, they would have been refused
    requests: int
    cost_before: int
    cost_after: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One of these requests."""

    request_id: str
    at: datetime
    tenant: str
    model: str  # that the caller asked for
    instead_of: str
    to: str
    rules: tuple[str, ...]  # that would have caught it
    cost_before: int | None
    cost_after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What came of it. Costs are in millionths of a dollar, of those requests of which both are known.

    decisions   that were looked at; `unread` more could not be.
    requests    that these stand for: of those that no rule caught, and that the router did not choose for, a sample is
                written down. All below counts requests.
    since       when the oldest of them came.
    is_cut      whether the time was over before all of them were looked at.
    caught      how many each rule catches, by its name; `did`: and has a say in.
    failed      how often a rule's expression could not be answered.
    unheard     how often a rule is about a text that was not kept, and nobody had asked that of it then, or about what
                nobody had looked up.
    caught_any  how many some rule catches.
    moved       how many another model would have had, or nobody; `refused`: of those, nobody.
    uncertain   how many the router would have chosen for by another aim than it did, so that nobody can tell whom.
    unpriced    how many cost nobody knows what, before or after.
    """

    decisions: int = 0
    requests: int = 0
    unread: int = 0
    since: datetime | None = None
    is_cut: bool = False
    caught: Mapping[str, int] = field(default_factory=dict)
    did: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    unheard: Mapping[str, int] = field(default_factory=dict)
    caught_any: int = 0
    moved: int = 0
    refused: int = 0
    uncertain: int = 0
    moves: tuple[Move, ...] = ()
    samples: tuple[Sample, ...] = ()
    cost_before: int = 0
    cost_after: int = 0
    unpriced: int = 0

    @property
    def uncaught(self) -> int:
        """How many no rule catches."""
        return self.requests - self.caught_any

    @property
    def saved_micros(self) -> int:
        """What would have been spent less; below 0: more."""
        return self.cost_before - self.cost_after


def dry_run(
    document: Document,
    last: int,
    reach: Reach,
    *,
    models: Collection[str] | None = None,
    within_s: float = LONGEST_S,
) -> DryRun:
    """What the rules of a document would have done with the `last` requests of those in `reach`.

    models    those that can be had: others are passed over, as they are for requests. None: nobody knows.
    within_s  how long it may take. The newest requests come first; what is left then is left out.
    """
    until = time.monotonic() + within_s
    rules = compile_rules(document)
    registry = read_without_keys()
    names = _Names(registry)
    trial = _Trial(document, Charges(registry, time.time()), names, had(models))
    rows = RouteDecision.objects.of(reach).select_related("tenant").order_by("-id")
    for some in _in_parts(rows[: min(last, MOST_REQUESTS)].iterator(chunk_size=AT_ONCE)):
        costs = _costs(some, reach)
        for row in some:
            if time.monotonic() > until:
                return trial.done(is_cut=True)
            seen = _seen(row, names)
            if seen is None:
                trial.unread += 1
            else:
                verdict = rules.decide(seen.facts, heard=seen.verdict.heard)
                trial.add(row, seen, verdict, costs.get((row.tenant_id, row.request_id)))
    return trial.done()


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was written down of a decision."""

    facts: Facts
    verdict: Verdict
    order: tuple[str, ...]  # of the router's choice; empty: it did not choose
    stands_for: int  # requests


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a request cost, in millionths of a dollar, and for how much."""

    micros: int | None
    tokens: Tokens
    is_call: bool  # it did not come from the cache


class _Trial:
    """Everything that is counted on the way."""

    def __init__(
        self,
        document: Document,
        charges: Charges,
        names: _Names,
        is_there: Callable[[str], bool],
    ) -> None:
        self._document = document
        self._never = document.auto.never
        self._names = names
        self._is_there = is_there
        self._written: dict[str, str] = {}  # how a model is called, by its plain name
        self._charges = charges
        self._other_aims: dict[int, bool] = {}
        self._decisions = self._requests = self._moved = self._refused = 0
        self._any = self._uncertain = self._unpriced = 0
        self._before = self._after = 0
        self.unread = 0
        self._since: datetime | None = None
        self._by_rule: dict[str, Counter[str]] = defaultdict(Counter)
        self._moves: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        self._samples: list[Sample] = []

    def add(self, row: RouteDecision, seen: _Seen, verdict: Verdict, cost: _Cost | None) -> None:
        """One request, and what the rules say of it now."""
        many = seen.stands_for
        self._decisions += 1
        self._requests += many
        self._since = row.at
        self._any += many * bool(verdict.matched)
        for one in verdict.matched:
            self._by_rule["caught"][one.rule] += many
            self._by_rule["did"][one.rule] += many * bool(one.did)
        for name, rules in (("failed", verdict.failed), ("unheard", verdict.unheard)):
            self._by_rule[name].update(dict.fromkeys(rules, many))
        was, now = self._then_and_now(seen, verdict, was_asked=cost is not None and cost.is_call)
        if AUTO in _asked(verdict, seen.facts) and (
            self._has_another_aim(row.rules) or _is_other_choice(seen.verdict, verdict)
        ):
            self._uncertain += many
        before = 0 if was == REFUSED else cost.micros if cost else None
        after = self._cost(was, now, before, cost)
        move = self._moves[was, now]
        move[0] += many
        if before is None or after is None:
            self._unpriced += many
        else:
            self._before += many * before
            self._after += many * after
            move[1] += many * before
            move[2] += many * after
        if now == was:
            return
        self._moved += many
        self._refused += many * (now == REFUSED)
        if len(self._samples) < MOST_SAMPLES:
            names = tuple(one.rule for one in verdict.matched)
            shown = (self._written.get(was, was), self._written.get(now, now))
            self._samples.append(
                Sample(row.request_id, row.at, row.tenant.name, seen.facts.model, *shown, names, before, after)
            )

    def done(self, *, is_cut: bool = False) -> DryRun:
        """All of it."""
        names = self._written | {REFUSED: REFUSED}
        moved = (one for one in self._moves.items() if one[0][0] != one[0][1])
        most = sorted(moved, key=lambda one: (-one[1][0], one[0]))
        return DryRun(
            decisions=self._decisions,
            requests=self._requests,
            unread=self.unread,
            since=self._since,
            is_cut=is_cut,
            caught=dict(self._by_rule["caught"]),
            did=dict(+self._by_rule["did"]),
            failed=dict(self._by_rule["failed"]),
            unheard=dict(self._by_rule["unheard"]),
            caught_any=self._any,
            moved=self._moved,
            refused=self._refused,
            uncertain=self._uncertain,
            moves=tuple(Move(names[was], names[now], *counted) for (was, now), counted in islice(most, MOST_MOVES)),
            samples=tuple(self._samples),
            cost_before=self._before,
            cost_after=self._after,
            unpriced=self._unpriced,
        )

    def _then_and_now(self, seen: _Seen, verdict: Verdict, *, was_asked: bool) -> tuple[str, str]:
        """Who is asked first by what the rules said then, and by what they say now.

        was_asked  somebody was: what it may cost at most, as it is reckoned here, kept nobody from it.
        """
        then = seen.verdict
        was, now = self._first(then, seen, ()), self._first(verdict, seen, self._never)
        if was == REFUSED and was_asked:
            was = self._first(replace(then, most_micros=None), seen, ())
            if now == REFUSED and (then.most_micros, then.most_tokens) == (verdict.most_micros, verdict.most_tokens):
                now = self._first(replace(verdict, most_micros=None), seen, self._never)
        return was, now

    def _first(self, verdict: Verdict, seen: _Seen, never: Sequence[str]) -> str:
        """Who is asked first by a verdict, by their plain name; nobody where all are refused, `auto` where the router
        did not choose.

        Where a rule names nobody who may be asked and can be had, it is whom the caller asked for.
        """
        if verdict.forbid is not None:
            return REFUSED
        own = Verdict(never=tuple(never))
        for name in (*_asked(verdict, seen.facts), seen.facts.model):
            if name == AUTO and not seen.order:
                return self._plain(AUTO)
            if name != seen.facts.model and not self._is_there(name):
                continue
            order = seen.order if name == AUTO else (name, *filter(self._is_there, self._names.fallbacks(name)))
            for one in order:
                if name == AUTO and any(map(own.excludes, (one, *self._names.places_of(one)))):
                    continue
                is_kept_here = verdict.is_local_only and not self._charges.is_local(one)
                if self._may_ask(one, verdict) and not is_kept_here and self._may_cost(one, verdict, seen.facts):
                    return self._plain(one)
        return REFUSED

    def _has_another_aim(self, number: int) -> bool:
        """Whether the router chose by something else in that version of the rules, or may have, where it is gone."""
        if number not in self._other_aims:
            then, now = versions.document_if_read(number), self._document.auto
            self._other_aims[number] = (
                then is None
                or now.model_copy(update={"never": then.auto.never}) != then.auto
                or not set(then.auto.never) <= set(now.never)
            )
        return self._other_aims[number]

    def _may_ask(self, name: str, verdict: Verdict) -> bool:
        places = self._names.places(name)
        has_place = not places or not all(map(verdict.excludes, places))
        return verdict.may_ask(name) and has_place and not any(map(verdict.excludes, self._names.places_of(name)))

    def _may_cost(self, name: str, verdict: Verdict, facts: Facts) -> bool:
        """Whether a call of it stays within `most_cost`, at one of its places at least; not where nobody knows."""
        if verdict.most_micros is None:
            return True
        caps = [cap for cap in (facts.cap, verdict.most_tokens) if cap]
        most = at_most_again(
            facts.tokens, facts.turns, min(caps, default=0), has_tools=facts.tools, has_images=facts.images
        )
        if facts.embedding:
            most = most._replace(completion=0)
        cost = self._charges.most(name, most)
        return cost is not None and cost <= verdict.most_micros

    def _plain(self, name: str) -> str:
        """A name as names are compared; it is shown as it was written first."""
        plain = as_compared(name)
        self._written.setdefault(plain, name.removesuffix(":latest"))
        return plain

    def _cost(self, was: str, now: str, before: int | None, cost: _Cost | None) -> int | None:
        """What would have been paid. What came from the cache would have the next time, too."""
        if now == was or (cost is not None and not cost.is_call and was != REFUSED):
            return before
        if now == REFUSED:
            return 0
        is_counted = (
            cost is not None and was != REFUSED
        )  # of what was refused nobody knows how long the answer had been
        return self._charges.of(now, cost.tokens) if cost is not None and is_counted and now != AUTO else None


def _asked(verdict: Verdict, facts: Facts) -> tuple[str, ...]:
    return (facts.model,) if verdict.use is None else verdict.use


def _is_other_choice(before: Verdict, now: Verdict) -> bool:
    """Whether the router is told something else, or may choose whom it might not: those it did not look at then."""
    fields = ("aim", "cascade", "most_micros")
    is_lifted = before.is_local_only and not now.is_local_only
    is_lifted = is_lifted or not set(before.never) <= set(now.never) or not set(before.only) <= set(now.only)
    return is_lifted or any(getattr(before, name) != getattr(now, name) for name in fields)


def _in_parts(rows: Iterator[RouteDecision]) -> Iterator[list[RouteDecision]]:
    while some := list(islice(rows, AT_ONCE)):
        yield some


class _Names:
    """What models are called in a registry."""

    def __init__(self, registry: Registry) -> None:
        self._known = {as_listed(name).lower(): one for one in registry.models for name in all_names(one)}
        self._providers = {one.name: one for one in registry.providers}
        self._placed = placed(registry, self._own_name)

    def called(self, facts: Facts) -> Facts:
        """Facts with the names of their model that the registry has: where no rule named one, nobody looked."""
        own = as_listed(facts.model)
        entry = self._known.get(own.lower())
        aliases: tuple[str, ...] = ()
        if entry is not None:
            own = as_listed(entry.name)
            aliases = tuple(one for one in entry.aliases if one.lower() != own.lower())
        others = others_at(own, self._placed, entry)
        places_of = tuple(name for one in others for name in all_names(one))
        return replace(facts, model=own, aliases=aliases, places_of=places_of)

    def fallbacks(self, name: str) -> tuple[str, ...]:
        """Who is asked where nobody of a registered model is."""
        entry = self._known.get(as_listed(name).lower())
        return entry.fallbacks if entry is not None else ()

    def places(self, name: str) -> tuple[str, ...]:
        """Where a registered model can be had, by the own names there; none where its name says so itself."""
        entry = self._known.get(as_listed(name).lower())
        return tuple(map(self._own_name, entry.deployments)) if entry is not None else ()

    def places_of(self, name: str) -> tuple[str, ...]:
        """The registered models, by their own names, that a model with this own name is a place of."""
        entry = self._known.get(as_listed(name).lower())
        return tuple(one.name for one in others_at(name, self._placed, entry))

    def _own_name(self, place: DeploymentEntry) -> str:
        provider = self._providers.get(place.provider)
        if provider is None:
            return named_at(place)
        wire = wire_at(KINDS[provider.kind].wire, provider.address)
        return f"{provider.name}/{wire.canonical(place.remote_name)}"


def _seen(row: RouteDecision, names: _Names) -> _Seen | None:
    """What a row says, where it can be read: another release may have written it."""
    try:
        said = json.loads(row.document)
        verdict = Verdict.from_json(said.get("verdict", {}))
        order = _order(said.get("decision") or {})
        facts = names.called(Facts.from_json(said["facts"]))
        return _Seen(facts, verdict, order, max(int(said.get("stands_for", 1)), 1))
    except (ValueError, TypeError, KeyError, AttributeError, msgspec.MsgspecError):
        return None


def _order(decision: Mapping[str, Any]) -> tuple[str, ...]:
    """The models that the router chose, in the order they are asked."""
    chosen = [one for one in decision.get("choices", ()) if one.get("place") is not None]
    return tuple(one["name"] for one in sorted(chosen, key=lambda one: one["place"]))


def _costs(rows: Sequence[RouteDecision], reach: Reach) -> dict[tuple[int, str], _Cost]:
    """What the requests cost, by tenant and id; the newest of each, for an id is the caller's own word."""
    found = RequestRecord.objects.of(reach).filter(request_id__in=[row.request_id for row in rows]).order_by("id")
    fields = ("tenant_id", "request_id", "cost_microusd", "prompt_tokens", "completion_tokens", "tier")
    return {
        (tenant, request): _Cost(micros, Tokens(prompt, completion), tier in CALLS)
        for tenant, request, micros, prompt, completion, tier in found.values_list(*fields)
    }
