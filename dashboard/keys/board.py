"""What the page of keys and tenants is made of: read for somebody, in seven queries, however much was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import close_old_connections
from django.db.models import (
    BigIntegerField,
    Count,
    Exists,
    Expression,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
)
from django.db.models.expressions import Window
from django.db.models.functions import Coalesce
from django.db.models.lookups import GreaterThanOrEqual

from dashboard.keys import words
from orchestrator.core.permissions import EVERYBODY, NOBODY, Reach
from orchestrator.identity.issuing import is_state
from orchestrator.ledger.pace import Use, uses
from orchestrator.models import ApiKey, Limit, RequestRecord, Tenant

MOST_KEYS = 50  # on a page
MOST_TENANTS = 1_000  # that are read
FEW_TENANTS = 12  # that are shown at first
NEWEST = 20_000  # requests that are looked at
LATELY = timedelta(hours=1)
HELD_BACK = ("limited", "budget", "stream_limit")  # outcomes: a limit or a budget did not allow it

STATES = {
    "working": "that work",
    "expiring": "that end within 7 days",
    "unused": "never used",
    "rotated": "that were rotated",
    "expired": "expired",
    "revoked": "revoked",
    "suspended": "whose tenant is suspended",
    "all": "all of them",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """Which keys are asked for."""

    state: str = "working"
    tenant: int | None = None
    text: str = ""  # in a name or prefix
    before: int | None = None  # the number of the last key of the page before
    shows_all: bool = False  # tenants

    @property
    def is_narrowed(self) -> bool:
        """Whether it is less than what the page shows by itself."""
        return bool(self.text or self.tenant or self.state != "working")


@dataclass(frozen=True, slots=True)
class Lately:
    """What was asked lately, and how much of it a limit or a budget held back."""

    requests: int = 0
    held_back: int = 0


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key."""

    key: ApiKey
    state: words.State
    scopes: list[str]
    lately: Lately


@dataclass(frozen=True, slots=True)
class TenantRow:
    """A tenant."""

    tenant: Tenant
    keys: int  # that work
    limits: int
    lately: Lately
    use: Use | None  # the budget that is used most


@dataclass(frozen=True, slots=True)
class Board:
    """Keys and tenants."""

    asked: Asked
    at: datetime
    in_use: int
    first_to_end: ApiKey | None
    keys: Sequence[KeyRow]
    next_before: int | None
    tenants: Sequence[TenantRow]
    names: Sequence[Tenant]  # to choose from
    is_cut: bool  # there are more tenants than are read
    has_more_tenants: bool
    worst: Use | None
    uses: Sequence[Use] = field(default=())


def read_board(asked: Asked, reach: Reach, budgets: Reach, now: datetime) -> Board:
    """Read it. `budgets`: whose budgets may be seen."""
    close_old_connections()
    everybodys = _tenants(reach, now)
    is_cut = len(everybodys) > MOST_TENANTS
    del everybodys[MOST_TENANTS:]
    found = uses(budgets, now).rows if budgets != NOBODY else []
    by_key, by_tenant = _lately(reach, now)
    of_tenant: dict[int, Use] = {}
    for use in found:  # the worst first
        number = use.budget.tenant_id or (int(use.under) if use.budget.each == "tenant" and use.under else 0)
        of_tenant.setdefault(number, use)
    rows = [
        TenantRow(
            tenant=tenant,
            keys=tenant.works,  # type: ignore[attr-defined]  # annotated
            limits=tenant.limited,  # type: ignore[attr-defined]
            lately=by_tenant.get(tenant.pk, Lately()),
            use=of_tenant.get(tenant.pk),
        )
        for tenant in everybodys
    ]
    rows.sort(key=_worst_first)
    page = list(_keys(asked, reach, now)[: MOST_KEYS + 1])
    keys = page[:MOST_KEYS]
    first = _working(reach, now)
    return Board(
        asked=asked,
        at=now,
        in_use=first.all if first else 0,  # type: ignore[attr-defined]  # annotated
        first_to_end=first if first and first.expires_at and first.expires_at - now <= words.SOON else None,
        keys=[key_row(key, now, by_key.get(key.pk, Lately())) for key in keys],
        next_before=keys[-1].pk if len(page) > MOST_KEYS else None,
        tenants=rows if asked.shows_all else rows[:FEW_TENANTS],
        names=everybodys,
        is_cut=is_cut,
        has_more_tenants=len(rows) > FEW_TENANTS and not asked.shows_all,
        worst=found[0] if found else None,
        uses=found,
    )


def key_row(key: Any, now: datetime, lately: Lately) -> KeyRow:
    """One of those that `with_rotated` has read."""
    return KeyRow(key, words.state(key, now, is_rotated=key.is_rotated), words.scopes(key), lately)


def with_rotated(rows: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
    """The same, each with whether another has taken its place."""
    later = ApiKey.objects.of(EVERYBODY).filter(replaces=OuterRef("pk"), revoked_at=None)
    return rows.annotate(is_rotated=Exists(later))


def _keys(asked: Asked, reach: Reach, now: datetime) -> QuerySet[ApiKey]:
    rows = with_rotated(ApiKey.objects.of(reach)).select_related("tenant", "team", "replaces").order_by("-pk")
    if asked.state in ("expired", "revoked"):
        rows = rows.filter(is_state(asked.state, now))  # type: ignore[arg-type]  # one of them
    elif asked.state == "suspended":
        rows = rows.filter(is_state("working", now), tenant__suspended_at__isnull=False)
    elif asked.state != "all":
        rows = rows.filter(_works(now))
        narrower = {
            "working": Q(),
            "expiring": Q(expires_at__lte=now + words.SOON),
            "unused": Q(last_used_at=None),
            "rotated": Q(is_rotated=True),
        }
        rows = rows.filter(narrower[asked.state])
    if asked.tenant is not None:
        rows = rows.filter(tenant=asked.tenant)
    if asked.text:
        rows = rows.filter(Q(name__icontains=asked.text) | Q(prefix__startswith=asked.text.removeprefix("orch_")))
    return rows if asked.before is None else rows.filter(pk__lt=asked.before)


def _works(now: datetime) -> Q:
    """Keys that open something: none does of a tenant that is suspended."""
    return is_state("working", now) & Q(tenant__suspended_at=None)


def _working(reach: Reach, now: datetime) -> ApiKey | None:
    """Of the keys that work the one that ends first, with how many there are."""
    rows = ApiKey.objects.of(reach).filter(_works(now))
    counted = rows.annotate(all=Window(Count("pk"))).select_related("tenant")
    return counted.order_by(F("expires_at").asc(nulls_last=True), "pk").first()


def _tenants(reach: Reach, now: datetime) -> list[Tenant]:
    now_working = Q(suspended_at=None, keys__revoked_at=None) & (Q(keys__expires_at=None) | Q(keys__expires_at__gt=now))
    rows = Tenant.objects.order_by("name")
    if reach.tenants is not None:
        rows = rows.filter(pk__in=reach.tenants)
    limits = Limit.objects.filter(tenant=OuterRef("pk"), is_off=False).order_by().values("tenant")
    counted = Subquery(limits.annotate(n=Count("pk")).values("n"))
    told = rows.annotate(works=Count("keys", filter=now_working), limited=Coalesce(counted, 0))
    return list(told[: MOST_TENANTS + 1])


def _lately(reach: Reach, now: datetime) -> tuple[Mapping[int, Lately], Mapping[int, Lately]]:
    """By key and by tenant: of the newest requests, those of the last hour. So it costs the same at any age."""
    newest = RequestRecord.objects.of(EVERYBODY).order_by("-pk").values("pk")[:1]
    since = ExpressionWrapper(Subquery(newest) - NEWEST, output_field=BigIntegerField())
    began = Coalesce(F("at"), F("at"))  # as an expression, so that numbers lead and not the index on time
    rows = RequestRecord.objects.of(reach, by_tenant=False).filter(pk__gt=since)
    rows = rows.filter(GreaterThanOrEqual(began, now - LATELY)).order_by()
    by_key: dict[int, Lately] = {}
    by_tenant: dict[int, Lately] = {}
    counted = (
        rows.annotate(of_tenant=_unindexed("tenant_id"), of_key=_unindexed("key_id"))
        .values("of_tenant", "of_key")
        .annotate(n=Count("pk"), held_back=Count("pk", filter=Q(outcome__in=HELD_BACK)))
    )
    for row in counted:
        for which, number in ((by_key, row["of_key"]), (by_tenant, row["of_tenant"])):
            known = which.get(number, Lately())
            which[number] = Lately(known.requests + row["n"], known.held_back + row["held_back"])
    return by_key, by_tenant


def _unindexed(column: str) -> Expression:
    """A column to group by. By the index on it the database would read every record there is, in that order."""
    return ExpressionWrapper(F(column) + Value(0), output_field=BigIntegerField())


def _worst_first(row: TenantRow) -> tuple[int, float, int, str]:
    if row.use is None:
        return 3, 0.0, -row.lately.requests, row.tenant.name
    share = row.use.spent / row.use.amount if row.use.amount else 1.0
    return ("down", "slow", "ok").index(row.use.state), -share, -row.lately.requests, row.tenant.name
