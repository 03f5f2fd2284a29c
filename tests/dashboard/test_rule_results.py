"""The page that tells how splits and shadows did."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from dashboard.rules.results import _dollars, _points, _seconds, results
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.models import AnswerOutcome, RouterState, ShadowRun, Tenant, UnreadGrades
from orchestrator.outcomes.learning import learned
from routing.intervals import Interval
from routing.predictor.snapshot import to_bytes
from routing.predictor.types import State
from tests.dashboard.site import somebody
from tests.dashboard.test_rules_page import signed_in
from tests.outcomes.test_splits import NOW, went

pytestmark = [pytest.mark.django_db(databases=["default", "cache"])]
PAGE = "/dashboard/routing/results/"


def text(client: Client, query: str = "") -> str:
    response = client.get(PAGE + query)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_before_there_is_anything_it_says_what_will_be_there() -> None:
    words = text(signed_in(somebody("vera", Role.VIEWER)))
    assert "No split and no shadow had requests." in words
    assert "A rule with a split or a canary parts requests" in words


def test_sides_and_shadows_are_told_with_their_intervals() -> None:
    tenant = Tenant.objects.create(name="one")
    for number in range(30):
        went(tenant, number, "new", cost=100 + number % 2, good=0.9)
        went(tenant, 100 + number, "old", cost=2000 + number % 2)
    ShadowRun.rows.create(
        request_id="s", tenant=tenant, at=NOW, rule="beside", model="m", shadow="n",
        cost_microusd=1000, shadow_cost_microusd=250, took_us=2_000_000, shadow_took_us=500_000,
    )  # fmt: skip
    ShadowRun.rows.create(
        request_id="t", tenant=tenant, at=NOW, rule="beside", model="m", shadow="n", took_us=1, failed="busy"
    )
    client = signed_in(somebody("vera", Role.VIEWER))
    words = text(client)
    for said in (
        "One side differs.",
        "1 not asked",
        "in what it costs",
        "100 %",
        "0.90",
        "0.002000",
        "−0.000750",
        "not to be told",
    ):
        assert said in words, said
    assert "None had requests" not in words
    assert 'aria-current="true">7' in text(client, "?days=7")
    assert 'aria-current="true">30' in text(client, "?days=12345")
    other = Tenant.objects.create(name="two")
    acme = signed_in(somebody("bob", Role.VIEWER, other.name))
    assert "No split and no shadow had requests." in text(acme)


def test_what_was_learned_of_every_tenants_answers_is_for_who_may_see_the_rules_of_all() -> None:
    Tenant.objects.create(name="one")
    title = 'id="learned-title"'
    assert title in text(signed_in(somebody("vera", Role.VIEWER)))
    assert title not in text(signed_in(somebody("bob", Role.OPERATOR, "one")))


def test_what_waits_to_be_learned_is_told() -> None:
    vera = signed_in(somebody("vera", Role.VIEWER))
    assert "<p>0 outcomes</p>" in text(vera)
    tenant = Tenant.objects.create(name="one")
    for number, said in ((1, "1 more waits"), (2, "2 more wait")):
        said_of = {"request_id": f"r{number}", "tenant": tenant, "at": NOW, "model": "m", "kind": "feedback"}
        AnswerOutcome.rows.create(**said_of, good=1.0)
        assert f"<p>0 outcomes, {said} to be learned</p>" in text(vera)
    AnswerOutcome.rows.update(learned_in=1)
    assert "to be learned" not in text(vera)


def test_what_waits_is_counted_by_its_index() -> None:
    with CaptureQueriesContext(connection) as asked:
        assert learned()["waiting"] == 0
    (query,) = asked
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
        assert "INDEX outcome_unlearned" in str(cursor.fetchall())


def test_the_page_takes_fewer_than_ten_queries_of_the_ledger() -> None:
    tenant = Tenant.objects.create(name="one")
    for number in range(3):
        went(tenant, number, "new", cost=100, good=0.9)
        went(tenant, 100 + number, "old", cost=200)
    RouterState.objects.create(version=1, at=NOW, outcomes=1, state=to_bytes(State(1)))
    client = signed_in(somebody("vera", Role.VIEWER))
    text(client)  # the first visit writes into its session
    with CaptureQueriesContext(connection) as asked:
        text(client, "?days=30")
    assert len(asked) <= 9, "\n".join(one["sql"][:120] for one in asked)


def test_grades_that_could_not_be_read_are_told_to_whose_they_are() -> None:
    one, two = (Tenant.objects.create(name=name) for name in ("one", "two"))
    for tenant, judge, count in ((one, "openai/big", 9), (one, "openai/small", 1), (two, "openai/other", 5)):
        UnreadGrades.rows.create(day=NOW.date(), tenant=tenant, judge=judge, count=count)
    words = text(signed_in(somebody("bob", Role.VIEWER, "one")))
    assert "10 grades could not be read." in words
    assert "<code>openai/big</code> gave 9 answers that are no whole number" in words
    assert "<code>openai/small</code> gave 1 answer that is no whole number" in words
    assert "openai/other" not in words


def test_where_only_shadows_ran_no_side_is_spoken_of() -> None:
    ShadowRun.rows.create(
        request_id="s", tenant=Tenant.objects.create(name="one"), at=NOW, rule="beside", model="m", shadow="n",
        cost_microusd=1000, took_us=2_000_000,
    )  # fmt: skip
    words = text(signed_in(somebody("vera", Role.VIEWER)))
    assert "<h1>One shadow ran.</h1>" in words
    assert "No side differs" not in words


def test_it_takes_few_queries(django_assert_max_num_queries) -> None:  # type: ignore[no-untyped-def]
    tenant = Tenant.objects.create(name="one")
    for number in range(10):
        went(tenant, number, f"arm {number % 3}", cost=1)
    with django_assert_max_num_queries(20):
        results(EVERYBODY, 30, NOW, with_learned=True)


def test_figures_are_written_with_their_sign() -> None:
    one = Interval(-0.5, -0.75, -0.25, 3)
    for written, value in ((_points, "−0.50"), (_dollars, "−0.500000"), (_seconds, "−0.50\u202fs")):
        shown = written(one, sign=True)
        assert shown is not None
        assert shown.value == value
    zero = _points(Interval(-0.001, -0.001, 0.001, 2), sign=True)
    assert zero is not None
    assert (zero.value, zero.between) == ("0.00", "0.00 to 0.00")
