"""Sums of money, the pace of budgets, and what the same tokens cost at other prices."""

from __future__ import annotations

import csv
import io
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import Q
from django.test.utils import CaptureQueriesContext

from dashboard.keys.budgets import read_budget, read_budgets
from dashboard.keys.one import read_key, read_tenant
from orchestrator.budgeting.standing import standings
from orchestrator.core.budgets import PERIODS
from orchestrator.core.errors import BadRequest
from orchestrator.core.permissions import EVERYBODY, NOBODY, Reach
from orchestrator.core.prices import Price, Rates
from orchestrator.ledger import costs, pace, spreadsheet
from orchestrator.ledger.costs import BYS, Group, Groups, Span, Sums
from orchestrator.ledger.pace import About, spent_by_day, uses
from orchestrator.ledger.price_rows import note_used, rows_of
from orchestrator.ledger.repricing import Known, elsewhere, repriced
from orchestrator.models import ApiKey, BudgetPeriod, PriceRow, ShareElsewhere, SpendDay, Team, Tenant
from orchestrator.pricing.rows import price_in
from tests.dashboard.spending import budget, charge, company, day, key_of, price, tenant_of

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 16, tzinfo=UTC)  # half of the month is over
TODAY = NOW.date()
MONTH = Span(date(2026, 11, 1), date(2026, 12, 1))


def of(tenant: str) -> Reach:
    return Reach(frozenset({tenant_of(tenant).pk}))


def only(found: Any) -> Any:
    (one,) = found
    return one


# Sums


def test_every_grouping_adds_up_to_the_days() -> None:
    company(NOW, days=20)
    total = costs.whole(costs.by_day(MONTH, EVERYBODY).values())
    stored = SpendDay.objects.of(EVERYBODY).filter(day__gte=MONTH.first, day__lt=MONTH.until)
    assert total.cost_microusd == sum(stored.values_list("cost_microusd", flat=True)) > 0
    for by in BYS:
        if by not in costs.OF_CHARGES:
            groups = costs.grouped(by, MONTH, EVERYBODY, 100)
            assert costs.whole(group.sums for group in groups.rows) == total, by
            assert not groups.has_more


def test_a_grouping_names_the_dearest_first_and_says_when_there_are_more() -> None:
    for number in range(4):
        day(TODAY, model=f"openai/m{number}", cost_microusd=number)
    groups = costs.grouped("model", MONTH, EVERYBODY, 3)
    assert [group.name for group in groups.rows] == ["openai/m3", "openai/m2", "openai/m1"]
    assert groups.has_more


def test_keys_and_tenants_have_the_names_they_have_now_or_none() -> None:
    day(TODAY, key=key_of("acme", "web"), cost_microusd=3)
    day(TODAY, cost_microusd=2)
    SpendDay.objects.create(day=TODAY, tenant_id=99_999, key_id=77_777, provider="p", model="m", cost_microusd=1)
    assert [one.name for one in costs.grouped("key", MONTH, EVERYBODY, 9).rows] == [
        "web (acmeweb)",
        "without a key",
        "key 77777, gone",
    ]
    assert [one.name for one in costs.grouped("tenant", MONTH, EVERYBODY, 9).rows] == ["acme", "tenant 99999, gone"]


def test_a_tenant_sees_its_own_and_nobody_sees_nothing() -> None:
    for tenant, cost in (("acme", 5), ("globex", 70)):
        day(TODAY, tenant, cost_microusd=cost)
        charge(NOW, tenant, cost_microusd=cost, tags="search")
    for reach, cost in ((of("acme"), 5), (of("globex"), 70), (EVERYBODY, 75)):
        assert costs.by_day(MONTH, reach)[TODAY].cost_microusd == cost
        for by in BYS:
            assert costs.whole(one.sums for one in costs.grouped(by, MONTH, reach, 9).rows).cost_microusd == cost, by
        assert sum(one.booked_microusd for one in repriced(MONTH, reach, {})) == cost
        lines, _ = spreadsheet.page_of(MONTH, reach, None)
        assert sum(Decimal(line[15]) for line in lines) == Decimal(cost) / 1_000_000
    assert all(not costs.grouped(by, MONTH, NOBODY, 9).rows for by in BYS)
    assert not uses(NOBODY, NOW).rows


def test_a_call_counts_under_each_of_its_tags_once() -> None:
    charge(NOW, tags="search,beta,search", cost_microusd=10)
    charge(NOW, tags="search", cost_microusd=None, source="unknown")
    charge(NOW, tags="", cost_microusd=1)
    found = {one.name: one.sums for one in costs.grouped("tag", MONTH, EVERYBODY, 9).rows}
    assert {name: (sums.calls, sums.unpriced, sums.cost_microusd) for name, sums in found.items()} == {
        "search": (2, 1, 10),
        "beta": (1, 0, 10),
        "no tag": (1, 0, 1),
    }


def test_what_judges_and_shadows_cost_is_told_by_purpose(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for purpose, cost in (("answer", 50), ("judge", 7), ("judge", None), ("shadow", 9)):
        charge(NOW, purpose=purpose, cost_microusd=cost)
    charge(NOW - timedelta(days=3), purpose="embedding", cost_microusd=1)
    groups = costs.grouped("purpose", MONTH, EVERYBODY, 9)
    assert [(one.name, one.sums.calls, one.sums.unpriced, one.sums.cost_microusd) for one in groups.rows] == [
        ("answer", 1, 0, 50),
        ("shadow", 1, 0, 9),
        ("judge", 2, 1, 7),
        ("embedding", 1, 0, 1),
    ]
    assert not groups.has_more
    assert costs.grouped("purpose", MONTH, EVERYBODY, 2).has_more
    assert costs.grouped("day", MONTH, EVERYBODY, 9).since is None
    monkeypatch.setattr(costs, "MOST_CHARGES", 4)
    cut = costs.grouped("purpose", MONTH, EVERYBODY, 9)
    assert (len(cut.rows), cut.since) == (3, NOW), "only the newest are read, and it says since when"


def test_single_charges_are_told_since_they_are_kept(settings: Any) -> None:
    settings.CHARGE_DAYS = 10
    today = datetime.now(UTC).date()
    for by in costs.OF_CHARGES:
        old = costs.grouped(by, Span(today - timedelta(days=60), today + timedelta(days=1)), EVERYBODY, 9)
        assert old.since is not None
        assert today - old.since.date() in {timedelta(days=10), timedelta(days=9)}  # midnight may have passed
        new = Span(today - timedelta(days=2), today + timedelta(days=1))
        assert costs.grouped(by, new, EVERYBODY, 9).since == new.moments[0]


def test_a_day_begins_at_midnight_in_utc() -> None:
    for at in (datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)):
        charge(at)
    charge(datetime(2026, 12, 1, tzinfo=UTC))
    assert only(costs.charges(MONTH, EVERYBODY)).at == datetime(2026, 11, 1, tzinfo=UTC)


# Budgets


def test_a_pace_leads_to_the_end_of_the_period() -> None:
    budget("month", 100_000_000, 40_000_000, now=NOW)
    use = only(uses(EVERYBODY, NOW).rows)
    assert (use.projected, use.used_up_at, use.state) == (80_000_000, None, "ok")
    assert use.left == 60_000_000


def test_a_pace_that_is_too_fast_says_when_nothing_is_left() -> None:
    budget("month", 100_000_000, 75_000_000, now=NOW)
    use = only(uses(EVERYBODY, NOW).rows)
    assert (use.projected, use.state) == (150_000_000, "slow")
    assert use.used_up_at == datetime(2026, 11, 21, tzinfo=UTC)  # 75 in 15 days: the last 25 in five


def test_what_is_reserved_is_not_left() -> None:
    budget("month", 100, 60, now=NOW, reserved=40)
    use = only(uses(EVERYBODY, NOW).rows)
    assert use.is_used_up
    assert use.state == "down"


def test_what_other_machines_spend_counts(settings: Any) -> None:
    row = budget("month", 100, 30, now=NOW, reserved=10)
    of = {"budget_id": row.pk, "under": "", "begins": date(2026, 11, 1), "granted_microusd": 50}
    for machine, spent, reserved in (("a", 25, 5), ("b", 5, 0)):
        ShareElsewhere.objects.create(**of, machine=machine, spent_microusd=spent, reserved_microusd=reserved)
    assert only(uses(EVERYBODY, NOW).rows).spent == 30, "it is alone"
    settings.REDIS_URL = "redis://elsewhere"
    use = only(uses(EVERYBODY, NOW).rows)
    assert (use.spent, use.reserved, use.left, use.here, use.elsewhere) == (60, 15, 25, 30, 30)
    assert use.projected == 120
    assert use.left == standings(row, now=NOW)[0].free, "as the API and the command tell it"


def test_nothing_is_forecast_while_a_period_has_only_begun_or_has_no_end() -> None:
    early = datetime(2026, 11, 1, 1, tzinfo=UTC)
    budget("month", 100, 60, now=early)
    budget("ever", 100, 60, now=early, period="total")
    assert [use.projected for use in uses(EVERYBODY, early).rows] == [None, None]


def test_a_budget_of_which_nothing_was_spent_is_there_and_one_that_is_off_is_not() -> None:
    budget("new", 100, now=NOW)
    budget("off", 100, 100, now=NOW, is_off=True)
    assert only(uses(EVERYBODY, NOW).rows).spent == 0


def test_the_last_periods_count_is_not_this_ones() -> None:
    budget("month", 100, 60, now=NOW - timedelta(days=31))
    assert only(uses(EVERYBODY, NOW).rows).spent == 0


def test_the_worst_comes_first() -> None:
    budget("fine", 1000, 10, now=NOW)
    budget("fast", 1000, 700, now=NOW)
    budget("gone", 1000, 1000, now=NOW)
    assert [use.budget.name for use in uses(EVERYBODY, NOW).rows] == ["gone", "fast", "fine"]


def test_what_is_used_up_comes_first_however_little_it_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MOST_PERIODS", 2)
    for number in range(3):
        budget("each", 1_000, 100, now=NOW, each="key", under=str(number))
    budget("little", 10, 10, now=NOW)
    found = uses(EVERYBODY, NOW)
    assert [(use.budget.name, use.spent, use.is_used_up) for use in found.rows] == [
        ("little", 10, True),
        ("each", 100, False),
    ]
    assert found.more == 2


def test_what_is_not_shown_is_none_of_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(7)
    for period in PERIODS:
        for number in range(6):
            budget(f"{period}-{number}", 100, chance.randint(0, 120), now=NOW, period=period, reserved=5 * number)
    whole = uses(EVERYBODY, NOW).rows
    assert {use.state for use in whole} == {"down", "slow", "ok"}
    shares = [(use.state, use.spent) for use in whole]
    for most in (1, 5, 12, 20):
        monkeypatch.setattr(pace, "MOST_PERIODS", most)
        found = uses(EVERYBODY, NOW)
        assert [(use.state, use.spent) for use in found.rows] == shares[:most]
        assert found.more == len(whole) - most


@pytest.mark.django_db(transaction=True)
def test_a_budget_is_found_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MOST_BUDGETS", 1)
    monkeypatch.setattr(pace, "MOST_PERIODS", 1)
    acme, key = tenant_of("acme"), key_of("acme", "web")
    budget("a", 100, 90, now=NOW)
    rows = [budget("b", 100, 60, now=NOW, tenant=acme), budget("c", 100, 70, now=NOW, key=key)]
    for name in ("d", "e"):
        budget(name, 100, now=NOW)
    for row, spent in zip(rows, (60, 70), strict=True):
        found = read_budget(row.pk, EVERYBODY, NOBODY, "", NOW, "")
        assert found is not None
        assert only(found.uses).spent == spent
    assert only(read_key(key.pk, EVERYBODY, EVERYBODY, NOBODY, NOW).uses).budget.name == "c"  # type: ignore[union-attr]
    assert only(read_tenant(acme.pk, EVERYBODY, EVERYBODY, NOBODY, NOW).uses).budget.name == "b"  # type: ignore[union-attr]
    board = read_budgets(EVERYBODY, NOW)
    assert [(use.budget.name, use.spent) for use in board.uses] == [("a", 90), ("d", 0)]
    assert board.more == 3


def test_a_tenant_sees_its_budgets_and_of_general_ones_its_own_share() -> None:
    acme, globex = tenant_of("acme"), tenant_of("globex")
    key, other = key_of("acme", "web"), key_of("globex", "web")
    budget("of-acme", 100, 10, now=NOW, tenant=acme)
    budget("of-globex", 100, 10, now=NOW, tenant=globex)
    budget("of-all", 100, 10, now=NOW)
    budget("of-models", 100, 10, now=NOW, each="model", under="openai/x")
    for under, spent in ((acme.pk, 1), (globex.pk, 2)):
        budget("each-tenant", 100, spent, now=NOW, each="tenant", under=str(under))
    for under, spent in ((key.pk, 3), (other.pk, 4)):
        budget("each-key", 100, spent, now=NOW, each="key", under=str(under))
    seen = {(use.budget.name, use.name, use.spent) for use in uses(of("acme"), NOW).rows}
    assert seen == {("of-acme", "", 10), ("each-tenant", "acme", 1), ("each-key", "web", 3)}
    assert len(uses(EVERYBODY, NOW).rows) == 8


def test_the_days_of_a_budget_are_those_it_counts() -> None:
    web, batch = key_of("acme", "web"), key_of("acme", "batch")
    team = Team.objects.create(tenant=web.tenant, name="search")
    ApiKey.objects.of(EVERYBODY).filter(pk__in=[web.pk, batch.pk]).update(team=team)
    after = key_of("acme", "batch-2")  # it was rotated
    ApiKey.objects.of(EVERYBODY).filter(pk=after.pk).update(team=team, first_id=batch.pk)
    day(TODAY, key=web, cost_microusd=1)
    day(TODAY, key=after, cost_microusd=2)
    day(TODAY, key=batch, model="groq/x", provider="groq", cost_microusd=4)
    day(TODAY, "globex", cost_microusd=8)
    day(TODAY - timedelta(days=30), key=web, cost_microusd=16)
    for name, spent, fields in (
        ("a-all", 15, {}),
        ("b-acme", 7, {"tenant": tenant_of("acme")}),
        ("c-key", 6, {"each": "key", "under": str(batch.pk)}),
        ("d-model", 4, {"model": "groq/*"}),
        ("e-provider", 4, {"provider": "groq"}),
        ("f-each", 8, {"each": "tenant", "under": str(tenant_of("globex").pk)}),
        ("c2-key", 6, {"key": batch}),
        ("c3-key", 6, {"key": ApiKey.objects.of(EVERYBODY).get(pk=after.pk)}),
        ("g-team", 7, {"team": team, "each": "team", "under": str(team.pk)}),
        ("h-teamless", 8, {"each": "team", "under": "0"}),
        ("i-keyless", 8, {"each": "key", "under": "0"}),
    ):
        budget(name, 1000, spent, now=NOW, **fields)
    found = uses(EVERYBODY, NOW).rows
    assert {use.name for use in found} >= {"search", "those without a team", "those without a key", "globex", "batch"}
    for use in found:
        assert spent_by_day(use, EVERYBODY) == {TODAY: use.spent}, use.budget.name


# Other prices


def test_the_same_tokens_elsewhere_are_reckoned_with_that_providers_cache() -> None:
    tokens = Sums(prompt_tokens=1_000, cached_tokens=400, cache_write_tokens=100, completion_tokens=10)
    plain = Price(input=Decimal(2), output=Decimal(10))
    cached = Price(input=Decimal(2), output=Decimal(10), cache_read=Decimal("0.5"), cache_write=Decimal(3))
    found = elsewhere(tokens, [Known("a", "a/plain", plain), Known("b", "b/cached", cached)])
    assert [(one.known.model, one.microusd) for one in found] == [("b/cached", 1_600), ("a/plain", 2_100)]


def test_the_rates_of_short_questions_are_taken_for_sums() -> None:
    long = Rates(above=200, input=Decimal(100), output=Decimal(100))
    price_ = Price(input=Decimal(1), output=Decimal(1), longer=(long,))
    assert only(elsewhere(Sums(prompt_tokens=1_000), [Known("a", "a/m", price_)])).microusd == 1_000


def test_history_is_reckoned_as_each_call_would_have_been() -> None:
    longer = (
        Rates(above=1_000, input=Decimal("2.5"), output=Decimal(15)),
        Rates(above=5_000, input=Decimal(9), output=Decimal(9)),
    )
    now = Price(input=Decimal("1.25"), output=Decimal(10), cache_read=Decimal("0.125"), longer=longer)
    rows = [
        charge(NOW, prompt_tokens=tokens, completion_tokens=7, cached_tokens=tokens // 3, cost_microusd=1)
        for tokens in (1, 999, 1_000, 1_001, 5_000, 5_001, 90_000)
    ]
    found = only(repriced(MONTH, EVERYBODY, {"openai/gpt-4.1-mini": now}))
    exact = sum(now.of(row) for row in rows)  # each rounded up
    assert 0 <= exact - (found.now_microusd or 0) <= len(rows)
    assert found.booked_microusd == len(rows)


def test_what_was_booked_without_a_price_differs_by_all_it_would_have_cost() -> None:
    charge(NOW, cost_microusd=None, source="unknown")
    charge(NOW, model="openai/nobody-knows", cost_microusd=None, source="unknown")
    price_ = Price(input=Decimal("0.4"), output=Decimal("1.6"))
    known, unknown = repriced(MONTH, EVERYBODY, {"openai/gpt-4.1-mini": price_})
    assert (known.booked_microusd, known.now_microusd, known.difference, known.unpriced) == (0, 560, 560, 1)
    assert (unknown.now_microusd, unknown.difference) == (None, None)


def test_rounding_is_no_difference() -> None:
    price_ = Price(input=Decimal("0.3333"), output=Decimal("1.1111"))
    for tokens in range(1, 50):
        row = charge(NOW, prompt_tokens=tokens, completion_tokens=3)
        row.cost_microusd = price_.of(row)
        row.save()
    found = only(repriced(MONTH, EVERYBODY, {"openai/gpt-4.1-mini": price_}))
    assert found.now_microusd != found.booked_microusd
    assert found.difference == 0


def test_when_a_price_was_used_is_written_once_a_minute() -> None:
    row = price("openai/m", "1", "2", last_used_at=None)
    found = []
    for seconds in (0, 30, 61, 20, 200):
        with CaptureQueriesContext(connection) as queries, connection.cursor() as cursor:
            note_used(cursor, [(None, NOW), (row.pk, NOW), (row.pk, NOW + timedelta(seconds=seconds))])
        row.refresh_from_db()
        assert row.last_used_at is not None
        found.append(round((row.last_used_at - NOW).total_seconds()))
        assert len(queries) == 1
    assert found == [0, 0, 61, 61, 200]


def test_prices_that_are_kept_are_read_back() -> None:
    old = price("openai/m", "1", "2")
    new = price("openai/m", "3", "4", cache_read="0.3", longer=[{"above": 200_000, "input": "6", "output": "8"}])
    assert set(rows_of(())) == {new.pk}
    assert set(rows_of([old.pk])) == {old.pk, new.pk}
    read = price_in(new)
    assert [(rates.above, rates.input, rates.output) for rates in read.rates] == [
        (0, Decimal(3), Decimal(4)),
        (200_000, Decimal(6), Decimal(8)),
    ]
    assert (read.cache_read, read.number, read.source) == (Decimal("0.3"), new.pk, "genai-prices 0.2.3")


# Files


def test_nothing_in_a_file_is_a_formula() -> None:
    cells = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "＝x", "fine", 'a"b,c', -5, Decimal("-0.5"), None]
    ((*read,),) = csv.reader(io.StringIO(spreadsheet.written([cells]).decode(), newline=""))
    assert read == ["'=1+1", "'+1", "'-1", "'@x", "'\tx", "'\rx", "'＝x", "fine", 'a"b,c', "-5", "-0.5", ""]


def test_a_group_is_written_to_the_millionth() -> None:
    sums = Sums(calls=1, cost_microusd=123_456_789, saved_microusd=-1)
    head, line = (
        spreadsheet.of_groups("model", Groups([Group("=cmd()", "=cmd()", sums)], False), None).decode().splitlines()
    )
    assert dict(zip(head.split(","), line.split(","), strict=True)) == {
        "model": "'=cmd()",
        "id": "'=cmd()",
        "calls": "1",
        "unpriced": "0",
        "prompt_tokens": "0",
        "completion_tokens": "0",
        "cached_tokens": "0",
        "cache_write_tokens": "0",
        "cost_usd": "123.456789",
        "saved_calls": "0",
        "saved_usd": "-0.000001",
    }


def test_every_charge_is_in_the_file_once_also_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreadsheet, "PAGE", 3)
    made = [charge(NOW + timedelta(seconds=number // 4)).request_id for number in range(11)]
    seen, after = [], None
    for _ in range(9):
        lines, after = spreadsheet.page_of(MONTH, EVERYBODY, after)
        seen += [line[1] for line in lines]
        if after is None:
            break
    assert seen == made


def test_a_file_that_would_be_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    charge(NOW)
    spreadsheet.check_count(MONTH, EVERYBODY)
    monkeypatch.setattr(costs, "MOST_CHARGES", 0)
    with pytest.raises(BadRequest, match="fewer days"):
        spreadsheet.check_count(MONTH, EVERYBODY)


# Many


MANY_DAYS = """
INSERT INTO orchestrator_spendday (day, tenant_id, key_id, provider, model, calls, unpriced, prompt_tokens,
    completion_tokens, cached_tokens, cache_write_tokens, cost_microusd, saved_calls, saved_microusd)
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 199999)
SELECT date('2026-11-16', '-' || (i % 500) || ' days'), %s + i / 500 % 20, i / 10000, 'openai',
    'openai/m' || (i / 500 % 7), 1, i % 50 = 0, 10, 1, 0, 0, i % 1000, 0, 0 FROM n
"""
MANY_CHARGES = """
INSERT INTO orchestrator_charge (hold, request_id, at, tenant_id, provider, model, purpose, outcome, prompt_tokens,
    completion_tokens, cached_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens, is_estimated,
    cost_microusd, source, provider_ref, tags)
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 49999)
SELECT printf('%%032x', i), 'r' || i, datetime('2026-11-16', '-' || (i * 10) || ' minutes'), %s + i %% 20, 'openai',
    'openai/m' || (i %% 7), 'answer', 'done', 10, 1, 0, 0, 0, 0, 0, i %% 1000, 'price', '', 't' || (i %% 40) FROM n
"""


def test_many_rows_are_found_by_their_index_and_are_bounded() -> None:
    first = tenant_of("acme").pk
    Tenant.objects.bulk_create(Tenant(pk=first + number, name=f"tenant-{number}") for number in range(1, 20))
    with connection.cursor() as cursor:
        cursor.execute(MANY_DAYS.replace("%", "%%").replace("%%s", "%s"), [first])
        cursor.execute(MANY_CHARGES, [first])
    assert SpendDay.objects.of(EVERYBODY).count() == 200_000
    budget("month", 100, 50, now=NOW)
    reads: list[Any] = [lambda reach: costs.by_day(MONTH, reach)]
    reads += [lambda reach, by=by: costs.grouped(by, MONTH, reach, 5) for by in BYS]
    reads += [
        lambda reach: costs.by_model(MONTH, reach, 5, only_unpriced=True),
        lambda reach: repriced(MONTH, reach, {}),
        lambda reach: costs.is_too_many(MONTH, reach),
        lambda reach: spreadsheet.page_of(MONTH, reach, None),
    ]
    for reach in (EVERYBODY, of("acme")):
        for read in reads:
            with CaptureQueriesContext(
                connection,
            ) as queries:
                found = read(reach)
            assert len(queries) == 1
            _is_searched(queries[0]["sql"], is_narrow=reach != EVERYBODY)
            if isinstance(found, costs.Groups):
                assert 0 < len(found.rows) <= 5
    use = only(uses(EVERYBODY, NOW).rows)
    with CaptureQueriesContext(connection) as queries:
        spent_by_day(use, EVERYBODY)
    _is_searched(queries[0]["sql"], is_narrow=False)


def test_periods_that_are_over_are_not_looked_at() -> None:
    for number in range(20):
        row = budget(f"day-{number}", 100, 50 if number else None, now=NOW, period="day", each="tenant")
        BudgetPeriod.objects.bulk_create(
            BudgetPeriod(budget_id=row.pk, under="", begins=TODAY - timedelta(days=back)) for back in range(1, 101)
        )
    for reach in (EVERYBODY, of("acme")):
        for about in (pace.EVERY, About(Q(team=None)), About(each="tenant", under="1")):
            with CaptureQueriesContext(connection) as queries:
                uses(reach, NOW, about)
            periods, budgets = (_plan_of(one["sql"]) for one in queries)
            assert "SEARCH orchestrator_budgetperiod USING INDEX budget_of_period (begins=?)" in periods, periods
            assert "USING INDEX budget_of_period (begins=?)" in budgets, budgets
            assert "CORRELATED" not in budgets, budgets
            assert "orchestrator_budgetperiod_1" not in periods + budgets, "the index that every period of one is in"


def _plan_of(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return "\n".join(str(row[3]) for row in cursor.fetchall())


def _is_searched(sql: str, *, is_narrow: bool) -> None:
    plan = _plan_of(sql)
    tables = [line for line in plan.splitlines() if "orchestrator_spendday" in line or "orchestrator_charge" in line]
    assert tables, plan
    assert all(line.startswith("SEARCH") for line in tables), plan
    assert "SCAN U0" not in plan, plan
    if is_narrow:
        assert "tenant_id=?" in plan, plan
    else:
        assert "day>?" in plan or "at>?" in plan, plan


def test_prices_of_before_were_used_when_charges_say_so() -> None:
    used, unused = (price(f"openai/{name}", "1", "2", last_used_at=None) for name in "mn")
    for hours in (2, 1, 3):
        charge(NOW - timedelta(hours=hours), price_id=used.pk)
    import_module("orchestrator.migrations.0028_prices_used").used_by_charges(apps, None)
    assert [PriceRow.objects.get(pk=row.pk).last_used_at for row in (used, unused)] == [NOW - timedelta(hours=1), None]
