"""Which requests are asked for: the address of a list, read, and the conditions it comes to.

Everything that narrows a list stands in its address, so a list can be sent to somebody, and every figure of another
page can lead to the requests that prove it. What cannot be read is said beside its field and narrows nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q

from dashboard import formats
from dashboard.periods import PERIODS, Period
from dashboard.tiers import NAMES, STACK, Tier
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.numbers import whole
from orchestrator.core.redaction import redacted
from orchestrator.ledger.stats import FAILED, REFUSED
from orchestrator.ledger.wording import ending

LONGEST = 255  # characters of a value
ANY_TIME = "any"
USUAL = "24h"  # where nothing else is said, and nothing is looked for
DIALECTS = ("ollama", "openai", "anthropic")
WAYS = {"done": "done", "failed": "failed", "refused": "refused", "cancelled": "cancelled"}
PAID = {"1": "cost money", "0": "cost nothing"}
TIER_WORDS = {
    "": "not answered",
    "memory": "answered by memory",
    "semantic": "answered by meaning",
    "miss": "no tier had it",
    "bypass": "the cache was not asked",
    "collapsed": "shared a call",
}
_HEX = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True)
class Chip:
    """A condition in words, and the address without it."""

    name: str
    words: str
    without: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A list that is asked for.

    values  what was said, by the name of its field; what could not be read is in `faults` as well.
    period  None: any time, or from `since` until `until`.
    """

    values: Mapping[str, str]
    faults: Mapping[str, str] = field(default_factory=dict)
    period: Period | None = None
    since: datetime | None = None
    until: datetime | None = None
    names: Mapping[tuple[str, str], str] = field(default_factory=dict)  # of tenants and keys, for words

    @property
    def wanted(self) -> str:
        """What is looked for, word for word."""
        return "" if "q" in self.faults else self.values.get("q", "")

    @property
    def query(self) -> str:
        """As it stands in an address."""
        return urlencode(self.values)

    @property
    def refusal(self) -> str:
        """Why nothing can be filtered by this, where there is no field to say it beside."""
        return " ".join(["Nothing was exported.", *(f"{name}: {fault}" for name, fault in self.faults.items())])

    @property
    def is_any_time(self) -> bool:
        """Whether nothing is said about when."""
        return self.period is None and self.since is None and self.until is None

    @property
    def narrowing(self) -> set[str]:
        """The fields besides time that narrow it."""
        return {name for name in self.values if name not in {"period", "from", "to"} and name not in self.faults}

    def with_(self, **changes: str | None) -> str:
        """The address with other values; None takes one away."""
        return urlencode({name: value for name, value in (self.values | changes).items() if value})  # type: ignore[operator]

    def for_period(self, slug: str) -> str:
        """The same requests, of another time."""
        return self.with_(**{"period": slug, "from": None, "to": None})

    @property
    def condition(self) -> Q:
        """What rows have to be, but for their time and what is looked for."""
        found = Q()
        for name, value in self.values.items():
            if name in CONDITIONS and name not in self.faults:
                found &= CONDITIONS[name](value)
        return found

    @property
    def chips(self) -> list[Chip]:
        """Every condition, in words."""
        chips = []
        for name, value in self.values.items():
            if name in self.faults or name == "period":
                continue
            shown = self.names.get((name, value), value)
            chips.append(Chip(name, _words(name, shown), self.with_(**{name: None})))
        return chips


def asked(form: Mapping[str, str], now: datetime, names: Mapping[tuple[str, str], str] | None = None) -> Asked:
    """Read an address.

    names  of tenants and keys, by their field and number.
    """
    values = {name: redacted(form.get(name, "").strip()[:LONGEST]) for name in FIELDS}
    values = {name: value for name, value in values.items() if value}
    faults = {name: fault for name, value in values.items() if (fault := _fault(name, value))}
    since = None if "from" in faults else _moment(values.get("from", ""))
    until = None if "to" in faults else _moment(values.get("to", ""))
    if since and until and since >= until:
        faults["to"] = "The end comes after the beginning."
        until = None
    period = None
    if since is None and until is None:
        usual = ANY_TIME if "q" in values else USUAL
        slug = values.get("period", usual)
        if slug != ANY_TIME:
            period = next((one for one in PERIODS if one.slug == slug), None) or _usual()
            since = now - period.length
    return Asked(values, faults, period, since, until, names or {})


def _usual() -> Period:
    return next(one for one in PERIODS if one.slug == USUAL)


FIELDS = (
    "q",
    "period",
    "from",
    "to",
    "tier",
    "outcome",
    "model",
    "provider",
    "tenant",
    "key",
    "rule",
    "route",
    "dialect",
    "paid",
    "slower",
    "tag",
)


def _tagged(tag: str) -> Q:
    """Tags stand in one text, parted by commas."""
    return Q(tags=tag) | Q(tags__startswith=f"{tag},") | Q(tags__endswith=f",{tag}") | Q(tags__contains=f",{tag},")


def _ended(way: str) -> Q:
    ways = {"done": Q(outcome__in=("done", "cut")), "failed": FAILED, "refused": REFUSED}
    return ways.get(way, Q(outcome=way.replace(" ", "_")))


CONDITIONS: Mapping[str, Callable[[str], Q]] = {
    "tier": lambda value: Q(tier="" if value == "none" else value),
    "outcome": _ended,
    "model": lambda value: Q(model=value) | Q(asked_model=value),
    "provider": lambda value: Q(provider=value),
    "tenant": lambda value: Q(tenant_id=int(value)),
    "key": lambda value: Q(key_id=int(value)) if int(value) else Q(key_id=None),
    "rule": lambda value: Q(route__contains=f'rule "{value}"'),
    "route": lambda value: Q(route__icontains=value),
    "dialect": lambda value: Q(dialect=value),
    "paid": lambda value: Q(is_paid=value == "1"),
    "slower": lambda value: Q(total_us__gte=round(float(value) * 1000)),
    "tag": _tagged,
}


def looked_for(wanted: str) -> Q:
    """Rows that have it in what they say of an error, or whose cache key begins with it; ids have an index."""
    found = Q(error__icontains=wanted)
    return found | Q(cache_key__startswith=wanted.lower()) if _HEX.fullmatch(wanted.lower()) else found


def _fault(name: str, value: str) -> str:
    if "\0" in value:
        return "That cannot be looked for."
    if name in {"from", "to"} and _moment(value) is None:
        return "A time is written as 2026-11-21T13:05."
    if name in {"tenant", "key"} and whole(value) is None:
        return "That is a number."
    if name == "slower" and not _is_length(value):
        return "Milliseconds, as a number."
    known: Mapping[str, Any] = {"tier": {*NAMES, "none"}, "dialect": DIALECTS, "paid": PAID}
    if name in known and value not in known[name]:
        return "There is no such choice."
    if name == "period" and value != ANY_TIME and value not in {one.slug for one in PERIODS}:
        return "There is no such period."
    return ""


def _is_length(value: str) -> bool:
    try:
        return 0 <= float(value) < 1e12
    except ValueError:
        return False


def _moment(value: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(value)
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        far = timedelta(days=1)
        return found.astimezone(UTC) if datetime.min.replace(tzinfo=UTC) + far < found < _LAST else None
    except (ValueError, OverflowError):
        return None


_LAST = datetime.max.replace(tzinfo=UTC) - timedelta(days=2)


def _words(name: str, value: str) -> str:
    if name == "tier":
        tier = "" if value == "none" else value
        return TIER_WORDS.get(tier) or f"answered by {NAMES[Tier(tier)]}"
    if name == "slower":
        return f"took {formats.NARROW.join(formats.duration(float(value) * 1000))} or longer"
    if name in {"from", "to"}:
        moment = _moment(value)
        assert moment, "or it were a fault"
        return f"{'since' if name == 'from' else 'before'} {moment.day} {moment:%b %H:%M} UTC"
    if name == "key" and value == "0":
        return "without a key"
    words = {
        "q": f"has “{value}”",
        "outcome": f"ended as {WAYS.get(value, ending(value))}",
        "dialect": f"asked in {value}’s dialect",
        "paid": PAID.get(value, value),
        "rule": f"by the rule “{value}”",
        "route": f"routed with “{value}”",
        "tag": f"tagged {value}",
    }
    return words.get(name, f"{name} is {value}")


def ways() -> list[tuple[str, str]]:
    """The ways to end of the form: the four, then every kind of error."""
    return [*WAYS.items(), *((kind, ending(kind)) for kind in sorted(_kinds(OrchestratorError)))]


def _kinds(error: type[OrchestratorError]) -> set[str]:
    return {error.kind}.union(*map(_kinds, error.__subclasses__()))


def tier_choices() -> list[tuple[str, str]]:
    """The tiers of the form, and what they are called."""
    return [*((tier.value, NAMES[tier]) for tier in STACK), ("none", "Not answered")]
