"""How far budgets are used, at what pace, and where that leads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import (
    BigIntegerField,
    Case,
    CharField,
    Count,
    F,
    FloatField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.expressions import Window
from django.db.models.functions import Cast, Coalesce

from orchestrator.core.budgets import PERIODS, begins, ends
from orchestrator.core.limits import is_named
from orchestrator.core.permissions import EVERYBODY, Reach
from orchestrator.models import ApiKey, Budget, BudgetPeriod, ShareElsewhere, SpendDay, Team, Tenant

MOST_BUDGETS = 200  # of which nothing is counted
MOST_PERIODS = 500
MOST_SUMS = 20_000  # of days and models, under one budget
NONE = "0"  # who has no key, or none of a team, is counted under it
EARLY = 0.02  # of a period, before which a pace says little
LATELY = timedelta(days=28)  # what the pace of a budget without an end goes by
_NOBODYS = Q(tenant=None, team=None, key=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A budget in the period that is now, for one of what it counts apart."""

    budget: Budget
    under: str  # which one; empty: all together
    name: str  # of that one, for people
    begins: date
    at: datetime
    spent: int  # by all machines, as far as was heard
    reserved: int  # as above
    elsewhere: int = 0  # of what is spent: by other machines

    @property
    def here(self) -> int:
        """What was spent on this machine."""
        return self.spent - self.elsewhere

    @property
    def amount(self) -> int:
        """Up to what."""
        return self.budget.amount_microusd

    @property
    def left(self) -> int:
        """What may still be spent; less than nothing where a call cost more than was reserved for it."""
        return self.amount - self.spent - self.reserved

    @property
    def ends(self) -> date | None:
        """The first day after the period."""
        return ends(self.budget.period, self.begins)  # type: ignore[arg-type]  # one of the choices

    @property
    def gone(self) -> float | None:
        """How much of the period is over, 0 to 1; None where it has no end."""
        return _gone(self.budget.period, self.begins, self.at)

    @property
    def projected(self) -> int | None:
        """What will be spent by the end at this pace; None where that is too early to say, or there is no end."""
        if self.ends is None or self.gone is None or self.gone < EARLY:
            return None
        passed = _seconds(self.at - _moment(self.begins))
        return self.spent * _seconds(_moment(self.ends) - _moment(self.begins)) // max(passed, 1)

    @property
    def used_up_at(self) -> datetime | None:
        """When nothing will be left at this pace, where that is before the end."""
        if self.projected is None or self.projected <= self.amount or self.is_used_up:
            return None
        passed = _seconds(self.at - _moment(self.begins))
        return _moment(self.begins) + timedelta(seconds=passed * self.amount // self.spent)

    @property
    def is_used_up(self) -> bool:
        """Whether nothing is left."""
        return self.left <= 0

    @property
    def state(self) -> str:
        """As marks of states have it: ok, slow (on course beyond it), down (used up)."""
        if self.is_used_up:
            return "down"
        return "slow" if self.projected is not None and self.projected > self.amount else "ok"


class About(NamedTuple):
    """Of which budgets the uses are asked for: of those that `whose` says, and of one that several count apart."""

    whose: Q = Q()
    each: str = ""  # of budgets that count these apart
    under: str = ""  # the use of this one


EVERY = About()


class Uses(NamedTuple):
    """Uses, the worst first, and how many there are beside them, which are none of the worst `MOST_PERIODS`."""

    rows: list[Use]
    more: int


def uses(reach: Reach, now: datetime, about: About = EVERY) -> Uses:
    """The budgets that somebody may see who sees the things of `reach`, the worst first. Two queries.

    Those of their tenants, and of general ones what is counted apart for their tenants, teams and keys. All machines
    that spend them are counted. A budget of which nothing was counted yet is one use, without a name.
    """
    current = _current(reach, now, about)
    kept = list(_worst(_named(current), now).annotate(all=Window(Count("pk")))[:MOST_PERIODS])
    used = {row.budget_id for row in kept}
    unused = Q(about.whose, ~Q(pk__in=current.order_by().values("budget_id")))  # a set: asked once, not of each budget
    visible = _visible(reach).annotate(is_unused=Case(When(unused, then=True), default=False))
    shown = visible.filter(Q(pk__in=used) | Q(is_unused=True)).annotate(all=Window(Count("pk")))
    budgets = {row.pk: row for row in shown.order_by("is_unused", "name")[: len(used) + MOST_BUDGETS]}
    found = [_use(budgets[row.budget_id], row, now) for row in kept if row.budget_id in budgets]
    found += [_unused(row, now) for row in budgets.values() if row.is_unused and row.pk not in used]
    more = sum(rows[0].all - len(rows) for rows in (kept, list(budgets.values())) if rows)
    return Uses(sorted(found, key=_worst_first), more)


def _current(reach: Reach, now: datetime, about: About) -> QuerySet[BudgetPeriod]:
    """What is counted in the periods that are now, with what others have spent and reserved."""
    visible = _visible(reach).order_by()
    first = {period: begins(period, now) for period in PERIODS}
    within = Q(pk=None)
    for period in PERIODS:
        of_period = visible.filter(period=period)
        wanted = Q(budget_id__in=of_period.filter(about.whose).values("pk"))
        if about.each:
            wanted |= Q(budget_id__in=of_period.filter(each=about.each).values("pk"), under=about.under)
        within |= wanted & Q(begins=first[period])
    # All the days at once, too: else every period that ever was is looked at.
    rows = BudgetPeriod.objects.filter(within, begins__in=list(first.values()))
    if reach.tenants is not None:
        rows = rows.filter(_own(reach))
    return rows.annotate(others_spent=of_others("spent"), others_reserved=of_others("reserved"))


def _worst(rows: QuerySet[Any], now: datetime) -> QuerySet[Any]:
    """In the order of `_worst_first`, in which the most are cut."""
    budget = Budget.objects.filter(pk=OuterRef("budget_id"))
    rows = rows.annotate(amount=Subquery(budget.values("amount_microusd")), period=Subquery(budget.values("period")))
    spent = Cast(F("spent_microusd") + F("others_spent"), FloatField())
    used = F("spent_microusd") + F("others_spent") + F("reserved_microusd") + F("others_reserved")
    gone = {period: _gone(period, begins(period, now), now) for period in PERIODS}
    over = [When(period=period, then=Value(part)) for period, part in gone.items() if part and part >= EARLY]
    rows = rows.annotate(used=used, course=spent / Case(*over, default=None, output_field=FloatField()))
    state = Case(When(used__gte=F("amount"), then=0), When(course__gt=F("amount"), then=1), default=2)
    return rows.order_by(state, (spent / F("amount")).desc(), "budget_id", "under")


def _use(budget: Budget, row: Any, now: datetime) -> Use:
    return Use(
        budget=budget,
        under=row.under,
        name=_name_of(budget.each, row),
        begins=row.begins,
        at=now,
        spent=row.spent_microusd + row.others_spent,
        reserved=row.reserved_microusd + row.others_reserved,
        elsewhere=row.others_spent,
    )


def _unused(budget: Budget, now: datetime) -> Use:
    first = begins(budget.period, now)  # type: ignore[arg-type]  # one of the choices
    return Use(budget=budget, under="", name="", begins=first, at=now, spent=0, reserved=0)


def of_others(what: str) -> Coalesce | Value:
    """What other machines have spent or reserved of a period's row, where they spend the same budgets."""
    return heard_of_others(what) if settings.REDIS_URL else Value(0)


def heard_of_others(what: str) -> Coalesce:
    """The same, whether or not this process is told who they are: a command may not be."""
    same = {name: OuterRef(name) for name in ("budget_id", "under", "begins")}
    heard = ShareElsewhere.objects.filter(**same).order_by().values("budget_id")
    return Coalesce(Subquery(heard.annotate(all=Sum(f"{what}_microusd")).values("all")), 0)


def spent_by_day(use: Use, reach: Reach) -> Mapping[date, int]:
    """What was spent of a budget here on each day of its period; of one without an end, lately. One query."""
    first = use.begins if use.ends is not None else (use.at - LATELY).date()
    within = SpendDay.objects.of(reach).filter(day__gte=first, day__lte=use.at.date())
    rows = _counted(use, _about(use, within))
    by = ("day", "model") if use.budget.model else ("day",)
    days: dict[date, int] = {}
    for row in rows.order_by("day").values(*by).annotate(cost=Sum("cost_microusd"))[:MOST_SUMS]:
        if not use.budget.model or is_named(row["model"], use.budget.model):
            days[row["day"]] = days.get(row["day"], 0) + row["cost"]
    return days


def _about(use: Use, rows: QuerySet[SpendDay]) -> QuerySet[SpendDay]:
    """Those of the days' sums that the budget is about, whomever it counts apart."""
    budget = use.budget
    if budget.tenant_id:
        rows = rows.filter(tenant_id=budget.tenant_id)
    if budget.team_id:
        rows = rows.filter(key_id__in=_keys_of(budget.team_id))
    if budget.key:
        rows = rows.filter(key_id__in=_and_after(budget.key.first_id or budget.key.pk))
    if budget.provider:
        rows = rows.filter(provider=budget.provider)
    return rows


def _counted(use: Use, rows: QuerySet[SpendDay]) -> QuerySet[SpendDay]:
    """Of those, what is counted under the one that is looked at."""
    each, under = use.budget.each, use.under
    if each in ("model", "provider") and under:
        return rows.filter(**{each: under})
    if not under.isdecimal():
        return rows
    number = int(under)
    if each == "tenant":
        return rows.filter(tenant_id=number)
    if each == "key":
        return rows.filter(key_id__in=_and_after(number)) if number else rows.filter(key_id=0)
    if each == "team" and not number:
        return rows.exclude(key_id__in=ApiKey.objects.of(EVERYBODY).exclude(team=None).values("pk"))
    return rows.filter(key_id__in=_keys_of(number)) if each == "team" else rows


def _and_after(key: int) -> QuerySet[ApiKey, int]:
    """A key and those that it was rotated to: they are counted as one."""
    return ApiKey.objects.of(EVERYBODY).filter(Q(pk=key) | Q(first_id=key)).values_list("pk", flat=True)


def _keys_of(team: int) -> QuerySet[ApiKey, int]:
    return ApiKey.objects.of(EVERYBODY).filter(team_id=team).values_list("pk", flat=True)


def _name_of(each: str, row: BudgetPeriod) -> str:
    """What the counted one is called; as it is counted where that is a name, or its row is gone."""
    if each not in ("tenant", "team", "key") or not row.under:
        return row.under
    if row.under == NONE:
        return f"those without a {each}"
    return getattr(row, f"{each}_name") or f"{each} {row.under}, gone"


def _visible(reach: Reach) -> QuerySet[Budget]:
    rows = Budget.objects.filter(is_off=False).select_related("tenant", "team", "key").order_by("name")
    if reach.tenants is None:
        return rows
    return rows.filter(_owned(reach) | _NOBODYS & Q(each__in=("tenant", "team", "key")))


def _owned(reach: Reach) -> Q:
    mine = sorted(reach.tenants or ())
    return Q(tenant__in=mine) | Q(team__tenant__in=mine) | Q(key__tenant__in=mine)


def _named(rows: QuerySet[BudgetPeriod]) -> QuerySet[Any]:
    """With the names of the tenants, teams and keys that are counted by number: a page asks once."""
    number = Cast(OuterRef("under"), BigIntegerField())
    return rows.annotate(
        tenant_name=Subquery(Tenant.objects.filter(pk=number).values("name")[:1]),
        team_name=Subquery(Team.objects.of(EVERYBODY).filter(pk=number).values("name")[:1]),
        key_name=Subquery(ApiKey.objects.of(EVERYBODY).filter(pk=number).values("name")[:1]),
    )


def _own(reach: Reach) -> Q:
    """Of the budgets that are nobody's, only what is counted for one's own."""
    rest = {
        each: Budget.objects.filter(_NOBODYS, each=each).order_by().values("pk") for each in ("tenant", "team", "key")
    }
    tenants = [str(number) for number in reach.tenants or ()]
    keys = ApiKey.objects.of(reach)
    return (
        Q(budget_id__in=Budget.objects.filter(_owned(reach)).order_by().values("pk"))
        | Q(budget_id__in=rest["tenant"], under__in=tenants)
        | Q(budget_id__in=rest["team"], under__in=keys.annotate(text=Cast("team_id", CharField())).values("text"))
        | Q(budget_id__in=rest["key"], under__in=keys.annotate(text=Cast("pk", CharField())).values("text"))
    )


def _worst_first(use: Use) -> tuple[int, float, str, str]:
    share = use.spent / use.amount if use.amount else 1.0
    return ("down", "slow", "ok").index(use.state), -share, use.budget.name, use.under


def _gone(period: str, first: date, at: datetime) -> float | None:
    end = ends(period, first)  # type: ignore[arg-type]  # one of the choices
    if end is None:
        return None
    return min(1.0, max(0.0, (at - _moment(first)) / (_moment(end) - _moment(first))))


def _moment(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _seconds(length: timedelta) -> int:
    return int(length.total_seconds())
