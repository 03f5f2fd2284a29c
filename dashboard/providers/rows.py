"""How the providers are: what is set up, looked at, asked and paid, put together for pages.

A provider's state comes from three witnesses: the last look at it, the breakers of the workers, and its answers. A look
that failed means that it is down, unless it has answered somebody since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from django.conf import settings
from django.db import close_old_connections

from dashboard import formats
from dashboard.charts import Spark, spark
from dashboard.periods import Period
from orchestrator.core.permissions import Reach
from orchestrator.core.presets import KINDS
from orchestrator.ledger import costs
from orchestrator.ledger.provider_stats import ProviderFigures, provider_figures
from orchestrator.registry import reading
from orchestrator.registry.entries import ProviderEntry, Registry
from orchestrator.registry.health import newest_checks, open_breakers
from orchestrator.registry.models import OpenBreaker, Provider, ProviderCheck

ENOUGH_CALLS = 10  # below this, a share says little
MANY_FAILURES = 0.1
FEW_CALLS = 3  # enough where most of them failed
MOST = 0.5
LATELY = timedelta(minutes=1)  # an answer this much older than a failed look does not speak against it
MOST_SPENT = 500  # providers whose spending is read
NO_SPARK = Spark("", None)
RESTING = "resting"
STATES = ("down", "slow", "unknown", "ok", "off")  # the worst first


@dataclass(frozen=True, slots=True)
class Breakers:
    """What workers do not ask of a provider: its breakers are open, or it asked for a pause."""

    workers: int
    models: tuple[str, ...]
    since: datetime
    why: str  # as the last to open has it
    until: datetime | None = None  # the end of the pause; None: there is a breaker that is open

    @property
    def sentence(self) -> str:
        """Why, as a sentence."""
        return formats.sentence(self.why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One provider as a page shows it."""

    name: str
    title: str
    state: str  # one of STATES
    words: str  # the state in a word or two
    why: str = ""  # more, where it is not well
    since: datetime | None = None  # when that began, where it is known
    until: datetime | None = None  # when it ends, where it is known
    entry: ProviderEntry | None = None  # None: it is off
    check: ProviderCheck | None = None
    is_stale: bool = False  # the last look was long ago
    breakers: Breakers | None = None
    figures: ProviderFigures = field(default_factory=ProviderFigures)
    spent: costs.Sums = field(default_factory=costs.Sums)  # all that it charges, on the days of the period
    spark: Spark = NO_SPARK
    is_switched_off: bool = False  # by an operator, who can switch it on again

    @property
    def sentence(self) -> str:
        """Why, as a sentence."""
        return formats.sentence(self.why)

    @property
    def is_on(self) -> bool:
        """Whether it is asked at all."""
        return self.entry is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Providers:
    """Every provider there is, the worst first."""

    at: datetime
    period: Period
    rows: tuple[Row, ...]
    registry: Registry
    ids: Mapping[str, int]  # of the rows in the registry
    looked_at: datetime | None  # when the last look of all was
    is_stale: bool  # looks were made, and are made no more

    @property
    def on(self) -> list[Row]:
        """Those that are asked."""
        return [row for row in self.rows if row.is_on]

    def find(self, name: str) -> Row | None:
        """The one of that name."""
        return next((row for row in self.rows if row.name == name), None)


def read_providers(period: Period, reach: Reach, now: datetime) -> Providers:
    """Read it all. A bounded number of queries, however many providers and requests there are."""
    close_old_connections()
    found = reading.look()
    entries = found.registry.providers
    checks = newest_checks([entry.name for entry in entries])
    breakers = open_breakers(now)
    figures = provider_figures(now - period.length, now, reach)
    spent = costs.by_provider(period.days_until(now), reach, MOST_SPENT)
    written = {row.name: row for row in Provider.objects.only("name", "is_enabled")}
    rows = [
        replace(
            _row(entry, checks.get(entry.name), breakers.get(entry.name, []), figures, now),
            spent=spent.get(entry.name, costs.Sums()),
        )
        for entry in entries
    ]
    rows += [
        Row(
            name=one.name,
            title=title_of(one.name),
            state="off",
            words="off",
            why=one.why,
            is_switched_off=one.name in written and not written[one.name].is_enabled,
            figures=figures.get(one.name) or ProviderFigures(),
            spent=spent.get(one.name, costs.Sums()),
        )
        for one in found.off
    ]
    looked_at = max((check.at for check in checks.values()), default=None)
    return Providers(
        at=now,
        period=period,
        rows=tuple(sorted(rows, key=lambda row: (STATES.index(row.state), row.name))),
        registry=found.registry,
        ids={name: row.pk for name, row in written.items()},
        looked_at=looked_at,
        is_stale=looked_at is not None and is_stale(looked_at, now),
    )


def title_of(name: str) -> str:
    """A provider as people call it: by its usual name where it has one."""
    preset = KINDS.get(name)
    return preset.title if preset and preset.title[:1].isupper() else name


def slow_after_us(entry: ProviderEntry) -> float:
    """A first token later than this is a slow one."""
    patience_s = entry.first_token_timeout_s or settings.FIRST_TOKEN_TIMEOUT_S
    return (entry.slow_after_s or patience_s / 2) * 1e6


def _row(
    entry: ProviderEntry,
    check: ProviderCheck | None,
    open_now: Sequence[OpenBreaker],
    all_figures: Mapping[str, ProviderFigures],
    now: datetime,
) -> Row:
    figures = all_figures.get(entry.name) or ProviderFigures()
    breakers = _breakers([one for one in open_now if one.seen_at.timestamp() > entry.reset_at])
    is_old = check is not None and is_stale(check.at, now)
    state, words, why, since = _state(entry, None if is_old else check, breakers, figures)
    return Row(
        name=entry.name,
        title=title_of(entry.name),
        state=state,
        words=words,
        why=why,
        since=since,
        until=breakers.until if breakers and words == RESTING else None,
        entry=entry,
        check=check,
        is_stale=is_old,
        breakers=breakers,
        figures=figures,
        spark=spark(figures.first_p95_us[1:-1]),  # without the steps that are not whole
    )


def _state(
    entry: ProviderEntry, check: ProviderCheck | None, breakers: Breakers | None, figures: ProviderFigures
) -> tuple[str, str, str, datetime | None]:
    """The state, in a word, why, and since when: the worst that is known."""
    has_failed = check is not None and not check.is_ok
    has_answered = has_answered_since(check, figures.answered_at)
    if check is not None and has_failed and not has_answered:
        return "down", "down", check.words, check.since
    if breakers:
        return "slow", RESTING, _resting(breakers), None if breakers.until else breakers.since
    if _is_failing(figures):
        looked = f", and when it is looked at it {check.words}" if check is not None and has_failed else ""
        return "slow", "failing", f"{_failed(figures)}{looked}", None
    if check is not None and has_failed:
        return "slow", "doubtful", f"it answers calls, and when it is looked at it {check.words}", check.since
    if check is None and figures.calls and figures.failed == figures.calls:
        return "slow", "failing", "no call was answered", None
    p95_us = figures.first.p95_us
    if figures.calls >= ENOUGH_CALLS and p95_us is not None and p95_us > slow_after_us(entry):
        return "slow", "slow", f"the first token took {_took(p95_us)} at p95", None
    if check is None and not has_answered:
        return "unknown", "not known", "nobody has asked it yet, nor looked at it", None
    return "ok", "answering", "", None


def has_answered_since(check: ProviderCheck | None, answered_at: datetime | None) -> bool:
    """Whether an answer speaks against a failed look."""
    return answered_at is not None and (check is None or answered_at > max(check.since, check.at - LATELY))


def _is_failing(figures: ProviderFigures) -> bool:
    rate = figures.error_rate or 0
    return rate >= (MANY_FAILURES if figures.calls >= ENOUGH_CALLS else MOST) and figures.calls >= FEW_CALLS


def _failed(figures: ProviderFigures) -> str:
    calls = formats.count(figures.calls)
    if figures.failed == figures.calls:
        return f"none of {calls} calls was answered"
    if figures.calls < ENOUGH_CALLS:
        return f"{figures.failed} of {calls} calls failed"
    return f"{formats.percent(figures.error_rate or 0)}{formats.NARROW}% of {calls} calls failed"


def _resting(breakers: Breakers) -> str:
    if breakers.until:
        return f"it asked for a pause; {breakers.why}"
    where = f"{breakers.workers} {'worker does' if breakers.workers == 1 else 'workers do'} not ask"
    what = breakers.models[0] if len(breakers.models) == 1 else f"{len(breakers.models)} of its models"
    return f"{where} {what}: {breakers.why}"


def _breakers(rows: Sequence[OpenBreaker]) -> Breakers | None:
    if not rows:
        return None
    open_rows = [row for row in rows if row.until is None]
    pauses = [row.until for row in rows if row.until]
    rows = open_rows or rows
    return Breakers(
        workers=len({row.worker for row in rows}),
        models=tuple(sorted({row.model for row in rows})),
        since=rows[0].opened_at,
        why=rows[-1].why,
        until=None if open_rows else max(pauses),
    )


def is_stale(at: datetime, now: datetime) -> bool:
    """Whether a look is so old that it says nothing of now."""
    return now - at > timedelta(seconds=max(90.0, 3 * settings.PROVIDER_CHECK_S))


def _took(us: float) -> str:
    return formats.NARROW.join(formats.duration(us))
