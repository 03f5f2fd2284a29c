"""What belongs to a tenant is read by saying whose, or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.db.models import Count, Exists, Model, OuterRef

from cache.models import CacheEntry
from cache.tiers import sqlite
from orchestrator.core.permissions import EVERYBODY, NOBODY, Reach
from orchestrator.ledger import rows
from orchestrator.models import (
    AnswerOutcome,
    ApiKey,
    Attempt,
    AuditEvent,
    Charge,
    RequestRecord,
    Rollup,
    RouteDecision,
    ShadowRun,
    SpendDay,
    Team,
    Tenant,
    UnreadGrades,
    Unscoped,
)
from orchestrator.models.scoped import ScopedQuerySet

SCOPED = (
    *(AnswerOutcome, ApiKey, Attempt, AuditEvent, CacheEntry, Charge),
    *(RequestRecord, Rollup, RouteDecision, ShadowRun, SpendDay, Team, UnreadGrades),
)
# They say who may do what, and are read where that is decided: a limit or a role without a tenant is about every one.
POLICY = {"Budget", "Limit", "Membership"}
# Purges by tenant, which only the cache itself reads.
OF_THE_CACHE = {"Purge", "TenantHolding"}

READS: dict[str, Callable[[Any], object]] = {
    "iteration": list,
    "length": len,
    "truth": bool,
    "representation": repr,
    "count": lambda rows: rows.count(),
    "exists": lambda rows: rows.exists(),
    "contains": lambda rows: rows.contains(rows.model(pk=1)),
    "aggregate": lambda rows: rows.aggregate(n=Count("pk")),
    "values": lambda rows: list(rows.values("pk")),
    "values_list": lambda rows: list(rows.values_list("pk", flat=True)),
    "first": lambda rows: rows.first(),
    "last": lambda rows: rows.order_by("pk").last(),
    "get": lambda rows: rows.get(pk=1),
    "get_or_create": lambda rows: rows.get_or_create(pk=1),
    "in_bulk": lambda rows: rows.in_bulk(["1"]),
    "iterator": lambda rows: list(rows.iterator()),
    "update": lambda rows: rows.update(pk=1),
    "delete": lambda rows: rows.delete(),
    "explain": lambda rows: rows.explain(),
    "union": lambda rows: list(rows.union(rows.model.objects.of(EVERYBODY))),
    "or": lambda rows: rows.model.objects.of(EVERYBODY) | rows,
    "and": lambda rows: rows & rows.model.objects.of(EVERYBODY),
    "slice": lambda rows: list(rows[:1]),
    "raw": lambda rows: list(rows.raw("SELECT 1")),
    "sql": lambda rows: str(rows.query),
    "subquery": lambda rows: list(rows.model.objects.of(EVERYBODY).filter(pk__in=rows.values("pk"))),
    "exists within": lambda rows: list(rows.model.objects.of(EVERYBODY).filter(Exists(rows.filter(pk=OuterRef("pk"))))),
}


@pytest.mark.django_db(databases=["default", "cache"])
@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("model", SCOPED, ids=lambda model: model.__name__)
def test_nothing_is_read_before_it_is_said_whose(model: type[Model], read: Callable[[Any], object]) -> None:
    unscoped = model.objects.filter(pk="1").exclude(pk="2")  # type: ignore[attr-defined]
    with pytest.raises(Unscoped, match=rf"Say whose: {model.__name__}\.objects\.of\(reach\)"):
        read(unscoped)


def test_every_model_with_a_tenant_is_read_so() -> None:
    found = set()
    for model in apps.get_models():
        names = {field.name for field in model._meta.get_fields() if getattr(field, "concrete", False)}
        if names & {"tenant", "tenant_id"} and model.__name__ not in POLICY | OF_THE_CACHE:
            assert isinstance(model.objects.all(), ScopedQuerySet), model  # type: ignore[attr-defined]
            found.add(model)
    assert found == set(SCOPED)


def test_our_code_goes_no_other_way() -> None:
    """Neither by the managers that are Django's own way in, nor by a queryset or SQL of its own."""
    names = "|".join(model.__name__ for model in SCOPED)
    tables = "|".join(model._meta.db_table for model in SCOPED)
    other_way = re.compile(
        rf"_default_manager|_base_manager|\.rows\.|\b(?:{names})\.rows\b|get_(?:object|list)_or_404"
        rf"|QuerySet\((?:{names})|(?:FROM|UPDATE|INTO|JOIN)\s+[\"'`]?(?:{tables})"
    )
    allowed = {
        "cache/tiers/sqlite.py",  # what it says is looked at below
        "cache/migrations/0004_isolation.py",  # counts what each tenant keeps
        "orchestrator/ledger/rows.py",  # the key that was shown, so that nobody is told of a change of policy
        "orchestrator/identity/digests.py",  # the same
        "cache/maintenance.py",  # what is expired is expired, whosever it is
        "orchestrator/proof/savings.py",  # reads all, for who may read the file; whose a charge is it asks itself
        "orchestrator/supervisor/prepare.py",  # whether there is such a table
    }
    found = []
    for package in ("orchestrator", "cache", "dashboard", "routing"):
        for path in sorted((settings.BASE_DIR / package).rglob("*.py")):
            name = str(path.relative_to(settings.BASE_DIR))
            if name not in allowed and other_way.search(path.read_text()):
                found.append(name)
    assert found == []


def test_the_sql_of_the_hot_path_names_the_tenant() -> None:
    statements = {
        name: text for name, text in vars(sqlite).items() if re.match("_[A-Z]", name) and isinstance(text, str)
    }
    about_answers = {name for name, text in statements.items() if "cache_cacheentry" in text}
    assert about_answers >= {"_SELECT", "_DELETE", "_UPSERT", "_EVICT"}
    assert [name for name in about_answers if "tenant_id" not in statements[name]] == []
    assert "tenant_id" in rows._COLUMNS
    assert "tenant_id" in rows.Attempted._fields


@pytest.fixture
def tenants(db: None) -> tuple[Tenant, Tenant]:
    acme, globex = (Tenant.objects.create(name=name) for name in ("acme", "globex"))
    for tenant in (acme, globex):
        Team.objects.create(tenant=tenant, name="search")
        for provider in ("groq", "openai"):
            Attempt.objects.create(
                request_id="same",
                tenant=tenant,
                at=datetime.now(UTC),
                provider=provider,
                outcome="engine_error",
                took_us=1,
            )
    AuditEvent.objects.create(at=datetime.now(UTC), actor="command", action="started", subject="", digest="")
    return acme, globex


def test_a_reach_holds_what_is_its_tenants_and_nothing_else(tenants: tuple[Tenant, Tenant]) -> None:
    acme, globex = tenants
    own = Reach(frozenset({acme.pk}))
    assert {team.tenant for team in Team.objects.of(own)} == {acme}
    assert {one.tenant_id for one in Attempt.objects.of(own).filter(request_id="same")} == {acme.pk}
    assert Attempt.objects.filter(request_id="same").of(own).count() == 2
    assert Attempt.objects.of(Reach(frozenset({acme.pk, globex.pk}))).count() == 4
    assert list(Attempt.objects.of(NOBODY)) == []
    assert AuditEvent.objects.of(EVERYBODY).count() == 1
    assert not AuditEvent.objects.of(own).exists(), "what is no tenant's is for those who see every one's"


def test_one_reach_within_another_is_what_both_hold(tenants: tuple[Tenant, Tenant]) -> None:
    acme, globex = (Reach(frozenset({tenant.pk})) for tenant in tenants)
    assert not Attempt.objects.of(acme).of(globex).exists()
    assert (Attempt.objects.of(acme) | Attempt.objects.of(globex)).count() == 4


def test_rows_are_changed_within_a_reach(tenants: tuple[Tenant, Tenant]) -> None:
    acme, globex = tenants
    own = Reach(frozenset({acme.pk}))
    assert Attempt.objects.of(own).update(error="mine") == 2
    assert Attempt.objects.of(own).delete()[0] == 2
    assert {one.tenant for one in Attempt.objects.of(EVERYBODY)} == {globex}


def test_django_itself_goes_on(tenants: tuple[Tenant, Tenant]) -> None:
    """Relations from a row at hand, validation, deletion with what depends on it."""
    acme, _ = tenants
    team = acme.teams.get()
    assert team.name == "search"
    again = Team(tenant=acme, name="search")
    with pytest.raises(Exception, match="already exists"):
        again.full_clean()
    team.delete()
    assert not acme.teams.exists()


@pytest.mark.parametrize("tenants", [{1}, {1, 2}], ids=str)
def test_what_is_of_a_time_is_found_by_time_and_what_is_newest_by_tenant(db: None, tenants: set[int]) -> None:
    """Without statistics SQLite would take the index on tenants for both, and read all that a tenant ever asked."""
    reach, since = Reach(frozenset(tenants)), datetime(2026, 1, 1, tzinfo=UTC)
    lately = RequestRecord.objects.of(reach, by_tenant=False).filter(at__gte=since).order_by()
    assert "requestrecord_at_" in lately.explain()
    assert list(lately) == []
    if len(tenants) == 1:
        newest = RequestRecord.objects.of(reach).filter(id__gt=7).order_by("-id").explain()
        assert "(tenant_id=? AND rowid>?)" in newest
        assert "TEMP B-TREE" not in newest
