"""An account that was read in, beside what was charged here in its days."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from orchestrator.core.errors import BadRequest
from orchestrator.invoices import charged
from orchestrator.invoices.calls import CallDifference, Here, There, call_differences
from orchestrator.invoices.compared import ONLY_THERE, Difference, Place, differences
from orchestrator.invoices.forms import FORMS
from orchestrator.invoices.names import Names
from orchestrator.invoices.sums import COST, COUNTS, FIGURES, Figure, Sums, comparable, figures
from orchestrator.models import ImportedUsage, UsageImport

DAY = timedelta(days=1)
MOST_CALLS = 100_000  # that are looked at one by one

_Lines = list[tuple[str, There]]  # each with what the provider calls its call


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of it.

    told       the figures that the account tells of these days, which alone are compared
    is_by_day  it names no models, so whole days are compared
    totals     of all days together: the figures that are compared in all of them
    calls      None: it does not name calls
    kept_from  charges of days before are gone, so that these cannot be compared; None: of no day
    learned    names that calls show to be of one model: there, and here
    """

    account: UsageImport
    first_day: date
    last_day: date
    told: tuple[str, ...]
    is_by_day: bool
    totals: tuple[Figure, ...]
    theirs: Sums
    ours: Sums
    differences: list[Difference]
    calls: list[CallDifference] | None
    kept_from: date | None
    learned: tuple[tuple[str, str], ...]

    @property
    def real(self) -> list[Difference]:
        """Without those that only went over midnight."""
        return [one for one in self.differences if not one.is_midnight]

    @property
    def is_same(self) -> bool:
        """Whether nothing differs that midnight does not explain."""
        return not self.real and not self.calls


def compare(account: UsageImport, first: date | None = None, last: date | None = None) -> Comparison:
    """Compare it, or some of its days. Raises BadRequest where that are none, or more calls than can be looked at."""
    begin, end = max(first or account.first_day, account.first_day), min(last or account.last_day, account.last_day)
    if begin > end:
        raise BadRequest(f"It is about {account.first_day} to {account.last_day}; none of these days is among them.")
    lines = _lines(account)
    told = _told(lines, begin, end)
    rounded = FORMS[account.form].rounded
    is_by_day = all(not there.model for _, there in lines)
    named: dict[str, list[There]] = defaultdict(list)
    for ref, there in lines:
        if ref:
            named[ref].append(there)
    side = (_by_call if named else _by_day)(account.provider, begin, end, lines, named)
    name = _whole_day if is_by_day else side.names.of
    theirs = _sorted((Entry(there.day, there.model, there.sums) for _, there in lines), name, begin, end)
    ours = _sorted(side.ours, name, begin, end)
    all_theirs, all_ours = _total(theirs.values()), _total(ours.values())
    everywhere = [name for name in told if all(name in comparable(sums, told) for sums in theirs.values())]
    calls = None
    if named:
        found = call_differences(*_in_days(named, side.calls, begin, end), told, rounded, name)
        calls = _without_nameless(found, side.nameless, name)
    return Comparison(
        account=account,
        first_day=begin,
        last_day=end,
        told=told,
        is_by_day=is_by_day,
        totals=figures(all_theirs, all_ours, everywhere, rounded),
        theirs=all_theirs,
        ours=all_ours,
        differences=differences(theirs, ours, told, rounded, _sorted(side.late, name, begin, end)),
        calls=calls,
        kept_from=charged.kept_from(account.provider, begin, end),
        learned=() if is_by_day else tuple(sorted(side.names.learned.items())),
    )


class Entry(NamedTuple):
    """Something of a day, under a name of its model."""

    day: date
    model: str
    sums: Sums


class _Side(NamedTuple):
    """What was charged here."""

    names: Names
    ours: list[Entry]
    late: list[Entry]
    calls: dict[str, list[Here]]
    nameless: list[Here]


def _by_day(provider: str, begin: date, end: date, lines: _Lines, _: Mapping[str, Sequence[There]]) -> _Side:
    whole, late = charged.by_day(provider, begin, end)
    names = Names(provider, (there.model for _, there in lines), (model for _, model in whole))
    return _Side(
        names,
        [Entry(*place, sums) for place, sums in whole.items()],
        [Entry(*place, sums) for place, sums in late.items()],
        {},
        [],
    )


def _by_call(provider: str, begin: date, end: date, lines: _Lines, named: Mapping[str, Sequence[There]]) -> _Side:
    """A call that went over midnight is counted on the day that it is counted on there."""
    ours, nameless = [], []
    calls: dict[str, list[Here]] = defaultdict(list)
    models = set()
    for count, one in enumerate(charged.calls(provider, begin, end), 1):
        if count > MOST_CALLS:
            raise BadRequest(f"There are more than {MOST_CALLS:,} calls in these days; compare fewer days at a time.")
        ours.append(Entry(one.day_there(named.get(one.ref, ())), one.model, one.sums))
        models.add(one.model)
        if one.ref:
            calls[one.ref].append(one)
        else:
            nameless.append(one)
    names = Names(provider, (there.model for _, there in lines), models)
    names.learn((named[ref][0].model, one.model) for ref, found in calls.items() if ref in named for one in found)
    late = [Entry(one.day, one.model, one.sums) for one in nameless if one.is_late]
    return _Side(names, ours, late, calls, nameless)


def _without_nameless(
    calls: Sequence[CallDifference], nameless: Iterable[Here], name: Callable[[str], str]
) -> list[CallDifference]:
    """Without calls that are only there by name, where as many here have none: their day and model tell of them."""
    room = Counter[Place]()
    for one in nameless:
        room.update((day, name(one.model)) for day in ((one.day, one.day + DAY) if one.is_late else (one.day,)))
    there = Counter((one.day, name(one.model_there)) for one in calls if one.kind == ONLY_THERE)
    return [
        one
        for one in calls
        if one.kind != ONLY_THERE or there[one.day, name(one.model_there)] > room[one.day, name(one.model_there)]
    ]


def _in_days(
    named: Mapping[str, Sequence[There]], calls: Mapping[str, Sequence[Here]], begin: date, end: date
) -> tuple[dict[str, Sequence[There]], dict[str, Sequence[Here]]]:
    """The calls that are of these days on either side."""
    days: dict[str, set[date]] = defaultdict(set)
    for ref, theirs in named.items():
        days[ref] |= {there.day for there in theirs}
    for ref, ours in calls.items():
        days[ref] |= {one.day_there(named.get(ref, ())) for one in ours}
    refs = {ref for ref, found in days.items() if any(begin <= day <= end for day in found)}
    return (
        {ref: theirs for ref, theirs in named.items() if ref in refs},
        {ref: ours for ref, ours in calls.items() if ref in refs},
    )


def _lines(account: UsageImport) -> _Lines:
    rows = ImportedUsage.objects.filter(of=account).order_by("line", "pk")
    found = []
    for number, day, model, ref, cost, *counts in rows.values_list("line", "day", "model", "ref", "cost_usd", *COUNTS):
        told = {name for name, value in zip(FIGURES, (cost or None, *counts), strict=True) if value is not None}
        sums = Sums(
            cost_usd=Decimal(cost or 0),
            **{name: count or 0 for name, count in zip(COUNTS, counts, strict=True)},
            entries=1,
            names={model} if model else set(),
            told=told,
            untold=set(FIGURES) - told,
        )
        found.append((ref, There(number, day, model, sums)))
    return found


def _told(lines: _Lines, begin: date, end: date) -> tuple[str, ...]:
    """What lines of these days tell; where there are none, what others do."""
    within = {name for _, there in lines if begin <= there.day <= end for name in there.sums.told}
    told = within or {name for _, there in lines for name in there.sums.told}
    return tuple(name for name in FIGURES if name in told) or (COST,)


def _sorted(entries: Iterable[Entry], name: Callable[[str], str], begin: date, end: date) -> dict[Place, Sums]:
    found: dict[Place, Sums] = defaultdict(Sums)
    for entry in entries:
        if begin <= entry.day <= end:
            found[entry.day, name(entry.model)].add(entry.sums)
    return dict(found)


def _whole_day(_: str) -> str:
    return ""


def _total(all_sums: Iterable[Sums]) -> Sums:
    total = Sums()
    for sums in all_sums:
        total.add(sums)
    return total
