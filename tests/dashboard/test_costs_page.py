"""The pages of costs and their lists in the admin: what they say, to whom, and in how many queries."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import DatabaseError, connection
from django.db.backends.utils import CursorWrapper
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext

from dashboard import beside, formats, reading
from dashboard.costs import charts as cost_charts
from dashboard.costs.periods import chosen
from dashboard.costs.sums import read_costs, read_prices
from dashboard.running import registered_as, sold
from orchestrator.admin import lists
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.core.prices import Price, Stated
from orchestrator.ledger.costs import BYS, Span, Sums
from orchestrator.ledger.pace import uses
from orchestrator.models import (
    Attempt,
    BudgetAlert,
    Charge,
    RequestRecord,
    RouteDecision,
    ShareElsewhere,
    SpendDay,
)
from orchestrator.registry.entries import DeploymentEntry, ModelEntry, ProviderEntry, Registry
from tests.dashboard.site import record, somebody
from tests.dashboard.spending import budget, charge, company, day, key_of, price, tenant_of

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]

PAGE = "/dashboard/costs/"
PRICES = "/dashboard/costs/prices/"
MOST_QUERIES = 9  # of a page, with who it is that looks


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
async def staff(operator: User, console: Any) -> AsyncClient:
    """A client that is signed in as somebody who may do everything."""
    client = AsyncClient()
    await client.aforce_login(operator)
    return client


@pytest.fixture
async def ada(console: Any) -> AsyncClient:
    """A client of somebody who sees one tenant."""
    client = AsyncClient()
    await client.aforce_login(await sync_to_async(somebody)("ada", Role.VIEWER, "acme"))
    return client


def text(response: Any) -> str:
    """The words of a page, tags taken out."""
    words = re.sub(r"<[^>]+>", " ", response.content.decode()).replace("&#x27;", "'")
    return re.sub(r"\s+([.,:;])", r"\1", re.sub(r"\s+", " ", words))


async def words(client: AsyncClient, path: str = PAGE) -> str:
    response = await client.get(path)
    assert response.status_code == 200
    return text(response)


async def make(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return await sync_to_async(function)(*args, **kwargs)


@contextmanager
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every question to the databases, from every thread."""
    statements: list[str] = []
    plain = CursorWrapper.execute

    def execute(self: Any, sql: str, params: Any = None) -> Any:
        if "DISTINCT holder" not in sql:  # the ledger's own thread looks for processes that died
            statements.append(sql)
        return plain(self, sql, params)

    with monkeypatch.context() as patched:
        patched.setattr(CursorWrapper, "execute", execute)
        yield statements


# What it says


async def test_without_anything_it_says_what_will_be_here_and_how_to_begin(staff: AsyncClient) -> None:
    said = await words(staff)
    assert "Nothing was spent in the last 30 days." in said
    assert "Each day appears here with what was spent and saved" in said
    assert "gets one in the registry: dollars for a million tokens" in said
    assert "A budget says how much may be spent" in said
    assert "No charge is kept in the last 30 days." in await words(staff, PRICES)


async def test_it_says_what_was_spent_and_saved_and_compares(staff: AsyncClient) -> None:
    await make(day, now().date(), cost_microusd=12_340_000, saved_microusd=5_000_000, saved_calls=9, calls=4)
    await make(day, now().date() - timedelta(days=35), cost_microusd=2_340_000)
    said = await words(staff)
    assert "$12.34 spent in the last 30 days." in said
    assert "That is $10.00 more than in the 30 days before. The cache saved $5.00 in 9 answers." in said
    assert "$17.34 spent and saved together" in said
    assert "every cost is known" in said
    assert "There is no budget" in said


async def test_what_judges_and_shadows_cost_stands_beside_what_answers_did(staff: AsyncClient) -> None:
    await make(day, now().date(), cost_microusd=12_340_000, calls=4)
    for purpose, cost in (("answer", 3_000_000), ("judge", 20_000), ("shadow", 980_000)):
        await make(charge, now(), purpose=purpose, cost_microusd=cost)
    said = await words(staff, f"{PAGE}?by=purpose")
    table = said.partition("By purpose")[2]
    assert "of single charges, from" in table
    for row in ("answer 3.00 75", "shadow 0.98 24.5", "judge 0.02 0.5", "All 4.00 100"):
        assert row in table, table
    assert "a judge grades answers and a shadow tries another model" in table


async def test_calls_without_a_price_are_said_first_with_a_way_to_set_it(
    staff: AsyncClient, ada: AsyncClient, console: Any
) -> None:
    await make(day, now().date(), model="openai/gpt-9", unpriced=3, calls=3)
    response = await staff.get(PAGE)
    said = text(response)
    assert "Nothing known to be spent in the last 30 days; 3 calls have no known price." in said
    assert "Nobody knows what 3 calls cost. They are in no sum of money here" in said
    form = "/admin/registry/registeredmodel/add/?name=openai%2Fgpt-9"
    assert form in response.content.decode()
    assert 'value="openai/gpt-9"' in (await staff.get(form)).content.decode()
    assert "An operator of the gateway sets prices." in await words(ada)
    entry = ModelEntry(name="chat", deployments=(DeploymentEntry(provider="openai", remote_name="gpt-9"),))
    console.catalogue.apply(Registry(models=(entry,)))
    assert "/admin/registry/registeredmodel/?q=chat" in (await staff.get(PAGE)).content.decode()
    assert (registered_as("openai/gpt-9"), registered_as("chat"), registered_as("x")) == ("chat", "chat", None)


async def test_a_budget_that_is_used_up_comes_before_anything_else(staff: AsyncClient) -> None:
    await make(day, now().date(), cost_microusd=10_000_000, unpriced=1, calls=2)
    await make(budget, "hard", 10_000_000, 10_000_000, now=now())
    said = await words(staff)
    assert "$10.00 spent in the last 30 days. Budget hard is used up." in said
    assert re.search(r"used up Calls that cost money are refused until 1 \w+\.", said)
    assert "nothing left" in said


async def test_where_nothing_is_known_to_be_spent_it_is_not_said_to_be_nothing(staff: AsyncClient) -> None:
    await make(day, now().date(), cost_microusd=5_000_000)
    await make(day, now().date(), model="openai/gpt-9", unpriced=1, calls=1)
    said = await words(staff)
    assert "Nobody knows what 1 call cost. It is in no sum of money here, but its tokens are known." in said
    assert "openai/gpt-9 unknown 1 0 0 0 1 All 5.00 100" in said


async def test_no_sum_of_what_nobody_knows_is_nothing(staff: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.costs.sums.MOST_ROWS", 1)
    for name in ("a", "b"):
        await make(day, now().date(), model=f"openai/{name}", unpriced=2, calls=2)
    await make(day, now().date(), model="openai/a", tenant="globex", calls=0, saved_calls=1, saved_microusd=4_000_000)
    said = await words(staff)
    assert "Spent unknown without 4 calls" in said
    assert "Without the cache unknown spent and saved together" in said
    assert "all others unknown 2 0 0 0 2 All unknown 4 0 0" in said
    await make(day, now().date(), model="openai/c", cost_microusd=1_000_000)
    said = await words(staff)
    assert "Spent $1.00 without 4 calls" in said
    assert "Without the cache $5.00 spent and saved together" in said
    assert "All 1.00 100" in said


async def test_it_leads_to_budgets_to_alerts_and_to_what_providers_say(staff: AsyncClient, ada: AsyncClient) -> None:
    await make(day, now().date(), cost_microusd=1)
    await make(budget, "hers", 100, 1, now=now(), tenant=await make(tenant_of, "acme"))
    leads = {"to-budgets", "to-alerts", "to-accounts"}

    async def led(client: AsyncClient) -> dict[str, str]:
        links = re.findall(r'<a id="([^"]+)" href="([^"]+)"', (await client.get(PAGE)).content.decode())
        return {name: where for name, where in links if name in leads}

    found = await led(staff)
    assert set(found) == leads
    for where in found.values():
        assert (await staff.get(where)).status_code == 200
    assert "Costs, providers' accounts" in await words(staff, found["to-accounts"])
    hers = await led(ada)
    assert "to-accounts" not in hers  # accounts are of every tenant together
    assert "to-budgets" in hers  # she may see them, not change them
    for where in hers.values():
        assert (await ada.get(where)).status_code == 200


async def test_a_budget_is_looked_at_by_its_name(staff: AsyncClient) -> None:
    key = await make(key_of, "acme", "web")
    await make(budget, "each", 100, 100, now=now(), each="key", under=str(key.pk))
    await make(budget, "total", 50_000_000, 20_000_000, now=now(), period="total", is_hard=False)
    began = now() - timedelta(days=10)
    await make(day, began.date(), cost_microusd=14_000_000)
    assert "each of web <$0.01 a month" in (await words(staff)).replace("&lt;", "<")
    said = await words(staff, f"{PAGE}?budget=total:")
    assert "total $50.00 in all, only told" in said
    assert "At the pace of lately it lasts until" in said
    gone = now() + (now() - datetime(began.year, began.month, began.day, tzinfo=UTC)) * 30 / 14  # 30 left, 14 spent
    assert formats.day(gone.date()) in said or formats.day((gone - timedelta(minutes=1)).date()) in said


async def test_what_other_machines_spent_of_a_budget_is_told_and_is_in_no_day(
    staff: AsyncClient, settings: Any
) -> None:
    settings.REDIS_URL = "redis://elsewhere"
    row = await make(budget, "house", 50_000_000, 20_000_000, now=now())
    of = {"budget_id": row.pk, "under": "", "begins": now().date().replace(day=1), "machine": "m"}
    heard = {"granted_microusd": 9_000_000, "spent_microusd": 7_000_000, "reserved_microusd": 0}
    await ShareElsewhere.objects.acreate(**of, **heard)
    await make(day, now().date(), cost_microusd=20_000_000)
    said = await words(staff)
    assert "$7.00 of it other machines spent, whose days are not known here." in said
    assert "is in no day's sum" not in said
    assert "On other machines 7.00 Spent in the period 27.00" in said


@pytest.mark.parametrize("period", ["today", "7d", "30d", "month", "1y", "nonsense"])
async def test_every_period_and_grouping_is_a_page_that_adds_up(staff: AsyncClient, period: str) -> None:
    await make(company, now(), 40)
    span = chosen({"period": period}, now().date()).span
    spent = SpendDay.objects.of(EVERYBODY).filter(day__gte=span.first, day__lt=span.until)
    total = sum([cost async for cost in spent.values_list("cost_microusd", flat=True)])
    for by in BYS:
        response = await staff.get(f"{PAGE}?period={period}&by={by}")
        assert response.status_code == 200
        assert f"{formats.money(total)} spent" in text(response)
        assert b"style=" not in response.content
        assert b"<script>" not in response.content


async def test_days_are_chosen_freely_and_what_cannot_be_is_said(staff: AsyncClient) -> None:
    await make(day, date(2026, 2, 28), cost_microusd=3_000_000)
    assert "$3.00 spent from 1 Feb 2026 to 28 Feb 2026." in await words(staff, f"{PAGE}?from=2026-02-01&to=2026-02-28")
    assert "$3.00 spent on 28 Feb 2026." in await words(staff, f"{PAGE}?from=2026-02-28&to=2026-02-28")
    for query, why in (
        ("from=2026-02-31", "A day is written as 2026-11-21."),
        ("from=2026-03-01&to=2026-02-01", "The first day comes before the last."),
        ("to=0001-01-02", "A day is written as 2026-11-21."),
        ("to=9999-12-31", "The first day comes before the last."),
        ("from=2024-01-01&to=2026-01-01", "At most 366 days are shown at once."),
    ):
        said = await words(staff, f"{PAGE}?{query}")
        assert "Those days cannot be shown." in said
        assert why in said, query


async def test_a_ledger_that_cannot_be_read_is_said(staff: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise DatabaseError("disk I/O error")

    monkeypatch.setattr("dashboard.views.costs.read_costs", broken)
    monkeypatch.setattr("dashboard.views.costs.read_prices", broken)
    monkeypatch.setattr("dashboard.views.costs.grouped", broken)
    assert "The costs could not be read." in await words(staff)
    assert "The charges could not be read." in await words(staff, PRICES)
    assert (await staff.get(f"{PAGE}costs.csv")).status_code == 503


async def test_a_part_is_the_board_alone(staff: AsyncClient) -> None:
    await make(day, now().date(), cost_microusd=1)
    for path in (PAGE, PRICES):
        part = (await staff.get(path, headers={"HX-Request": "true"})).content.decode().strip()
        assert part.startswith('<div id="board"')
        assert "<html" not in part


# Other prices


async def test_what_was_booked_is_set_beside_the_price_in_force(staff: AsyncClient) -> None:
    old = await make(price, "openai/gpt-4.1-mini", "0.4", "1.6")
    await make(charge, now(), price_id=old.pk, prompt_tokens=10_000_000, completion_tokens=0, cost_microusd=4_000_000)
    await make(day, now().date(), prompt_tokens=10_000_000, cost_microusd=4_000_000)
    assert "What was booked is what the prices in force say." in await words(staff, PRICES)
    await make(price, "openai/gpt-4.1-mini", "0.5", "1.6", "operator")
    said = await words(staff, PRICES)
    assert "The prices in force say $1.00 more than was booked." in said
    assert "4.00 5.00 +1.00 $0.5 / $1.6 operator $0.4 / $1.6 genai-prices 0.2.3" in said
    await make(price, "openai/gpt-4.1-mini", "0.1", "1.6", "again")
    assert "The prices in force say $3.00 less than was booked." in await words(staff, PRICES)


async def test_the_difference_is_of_all_models_and_of_those_only_whose_price_is_known(
    staff: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.costs.sums.MOST_ROWS", 1)
    asked = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    await make(charge, now(), model="shop/nobody-knows", cost_microusd=None, **asked)
    assert "No price in force is known of what was asked." in await words(staff, PRICES)
    await make(price, "shop/dearer", "5", "5")
    await make(charge, now(), model="shop/dearer", cost_microusd=2_000_000, **asked)
    for name in ("one", "two"):
        await make(price, f"shop/{name}", "1", "1")
        await make(charge, now(), model=f"shop/{name}", cost_microusd=3_000_000, **asked)
    said = await words(staff, PRICES)
    assert "say $1.00 less than was booked, of the 3 of 4 models whose price is known." in said
    assert "the 1 of 4 models that differ most" in said
    assert "shop/dearer" in said
    await make(price, "shop/nobody-knows", "1", "1")
    assert "What was booked is what the prices in force say." in await words(staff, PRICES)


async def test_other_models_are_compared_by_what_operators_set_first(staff: AsyncClient, console: Any) -> None:
    await make(day, now().date(), prompt_tokens=1_000_000, completion_tokens=1_000_000, cost_microusd=2_000_000)
    await make(price, "openai/dear", "3", "15")
    here = DeploymentEntry(provider="openai", remote_name="dear", input_price=Decimal(1), output_price=Decimal("0.5"))
    seller = ProviderEntry(name="openai", kind="openai", address="https://api.openai.com/v1")
    said_so = Stated(provider="openai", model="said", since=0.0, price=Price(input=Decimal(4), output=Decimal(4)))
    bare = DeploymentEntry(provider="openai", remote_name="gpt-4o")
    models = (ModelEntry(name="chat", deployments=(here, bare)),)
    console.catalogue.apply(Registry(models=models, providers=(seller,), stated=(said_so,)))
    said = await words(staff, PRICES)
    assert "openai/dear 1.50 −0.50 $1 / $0.5 operator" in said
    assert "openai/said 8.00 +6.00 $4 / $4 operator" in said
    assert re.search(r"openai/gpt-4o \S+ \S+ \$\S+ / \$\S+ genai-prices", said)
    assert "This assumes that the other model is asked the same and answers as much" in said


async def test_who_may_not_see_the_registry_is_told_of_models_they_used(ada: AsyncClient) -> None:
    await make(day, now().date(), prompt_tokens=1_000_000, cost_microusd=400_000)
    await make(price, "openai/gpt-4.1-mini", "0.4", "1.6")
    await make(price, "secret/model", "1", "1")
    said = await words(ada, PRICES)
    assert "openai/gpt-4.1-mini 0.40 0 $0.4 / $1.6" in said
    assert "secret" not in said
    assert "Only models that were used in these days" in said


# Whose


async def test_a_tenant_sees_its_own_money(ada: AsyncClient) -> None:
    for tenant, cost in (("acme", 1_000_000), ("globex", 7_000_000)):
        key = await make(key_of, tenant, f"key-of-{tenant}")
        await make(day, now().date(), tenant, key, model=f"openai/of-{tenant}", cost_microusd=cost, unpriced=1)
        await make(charge, now(), tenant, key_id=key.pk, model=f"openai/of-{tenant}", cost_microusd=cost, tags=tenant)
        await make(budget, f"of-{tenant}", 9_000_000, cost, now=now(), tenant=await make(tenant_of, tenant))
        await make(budget, "each-tenant", 9_000_000, cost, now=now(), each="tenant", under=str(key.tenant_id))
    await make(budget, "of-everybody", 9_000_000, 8_000_000, now=now())
    paths = [PRICES, f"{PAGE}charges.csv", f"{PAGE}?budget=of-globex:", f"{PAGE}?budget=each-tenant:{key.tenant_id}"]
    paths += [f"{PAGE}?by={by}" for by in BYS] + [f"{PAGE}costs.csv?by={by}" for by in BYS]
    for path in paths:
        response = await ada.get(path)
        assert response.status_code == 200
        body = await _whole(response)
        assert "globex" not in body, path
        assert "of-everybody" not in body, path
        assert "7.00" not in body, path
        assert "/admin/orchestrator/charge/" not in body, path
    assert "of-acme" in await words(ada)


async def _whole(response: Any) -> str:
    if not response.streaming:
        return response.content.decode()
    return b"".join([part async for part in response.streaming_content]).decode()


async def test_files_have_what_the_page_has(staff: AsyncClient) -> None:
    await make(company, now(), 5)
    groups = list(csv.DictReader((await staff.get(f"{PAGE}costs.csv?by=key")).content.decode().splitlines()))
    response = await staff.get(f"{PAGE}charges.csv?period=7d")
    assert response["Content-Disposition"].startswith('attachment; filename="charges-20')
    charges = list(csv.DictReader((await _whole(response)).splitlines()))
    assert len(charges) == 60
    # Each of the company's days has one charge for all that was spent in it.
    assert sum(Decimal(row["cost_usd"]) for row in groups) == sum(Decimal(row["cost_usd"] or 0) for row in charges)


@pytest.mark.parametrize("days", ["from=2025-11-01&to=2026-11-02", "from=01.11.2026"])
@pytest.mark.parametrize("name", ["costs.csv", "charges.csv"])
async def test_a_file_of_days_that_cannot_be_is_refused(staff: AsyncClient, name: str, days: str) -> None:
    response = await staff.get(f"{PAGE}{name}?{days}")
    assert (response.status_code, response["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert "Content-Disposition" not in response


async def test_days_that_cannot_be_shown_stay_in_their_fields(staff: AsyncClient) -> None:
    for page in (PAGE, PRICES):
        body = (await staff.get(f"{page}?from=2020-01-01&to=2026-11-21")).content.decode()
        assert "At most 366 days are shown at once." in body
        assert re.search(r'name="from"[^>]* value="2020-01-01"', body)
        assert re.search(r'name="to"[^>]* value="2026-11-21"', body)
    today = now().date().isoformat()
    assert re.search(rf'name="to"[^>]* value="{today}"', (await staff.get(PAGE)).content.decode())


def test_other_prices_are_for_all_models_however_many(console: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    company(now(), 5)
    days = chosen({}, now().date())
    every = read_prices(days, EVERYBODY, now(), sold()).total
    monkeypatch.setattr("dashboard.costs.sums.MOST_MODELS", 1)
    assert read_prices(days, EVERYBODY, now(), sold()).total == every
    assert every.calls == read_costs(days, "model", EVERYBODY, now()).total.calls


async def test_a_file_that_has_not_every_group_comes_to_the_total(
    staff: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(company, now(), 5)
    path = f"{PAGE}costs.csv?by=model"
    every = list(csv.DictReader((await staff.get(path)).content.decode().splitlines()))
    assert len(every) > 2
    monkeypatch.setattr("dashboard.views.costs.MOST_LINES", 2)
    some = list(csv.DictReader((await staff.get(path)).content.decode().splitlines()))
    assert [row["model"] for row in some] == [*(row["model"] for row in every[:2]), "all others"]
    for column in ("cost_usd", "calls", "prompt_tokens"):
        assert sum(Decimal(row[column]) for row in some) == sum(Decimal(row[column]) for row in every)


async def test_a_file_of_too_many_charges_says_so(staff: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    await make(charge, now())
    monkeypatch.setattr("orchestrator.ledger.costs.MOST_CHARGES", 0)
    response = await staff.get(f"{PAGE}charges.csv")
    assert response.status_code == 400
    assert b"ask for fewer days" in response.content


# How many queries


async def test_a_page_asks_little_however_much_there_is(staff: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    await make(company, now(), 40)
    for number in range(30):
        await make(budget, f"each-{number}", 100, number, now=now(), each="tenant", under="1")
    monkeypatch.setattr(reading, "MOST_SHARE", 1e-9)  # what stands around every page is read once, however late it is
    monkeypatch.setattr(beside, "KEPT_S", 3600.0)
    monkeypatch.setattr(beside, "LONGEST_S", 60.0)
    await staff.get(PAGE)  # renews the session, which is done once in a while
    for path in [PRICES, *(f"{PAGE}?by={by}&period=1y" for by in BYS)]:
        with asked(monkeypatch) as statements:
            assert (await staff.get(path)).status_code == 200
        assert len(statements) <= MOST_QUERIES, "\n".join(statements)


def test_reading_asks_six_times_at_most(console: Any) -> None:
    company(now(), 5)
    days = chosen({}, now().date())
    for by in BYS:
        with CaptureQueriesContext(connection) as queries:
            read_costs(days, by, EVERYBODY, now())
        assert len(queries) <= 6, by
    with CaptureQueriesContext(connection) as queries:
        read_prices(days, EVERYBODY, now(), sold())
    assert len(queries) <= 6


# Drawings


@pytest.mark.parametrize(
    ("ago", "days"),
    [(0, None), (1, 19), (9, 171), (28, 532), (40, 532)],
)
def test_a_budget_without_an_end_lasts_as_long_as_at_the_pace_since_it_is_used(ago: int, days: int | None) -> None:
    at = datetime(2026, 11, 16, tzinfo=UTC)
    budget("all", 20, 1, now=at, period="total")
    (use,) = uses(EVERYBODY, at).rows
    burnt = {(at - timedelta(days=min(ago, 28))).date(): 1}
    found = cost_charts.lasts_until(use, burnt)
    assert found == (None if days is None else at + timedelta(days=days))


def test_a_budget_burns_down_to_where_its_pace_leads() -> None:
    at = datetime(2026, 11, 16, tzinfo=UTC)
    budget("month", 100_000_000, 75_000_000, now=at)
    (use,) = uses(EVERYBODY, at).rows
    drawn = cost_charts.burn_down(use, {date(2026, 11, 1) + timedelta(days=n): 5_000_000 for n in range(15)})
    assert drawn.left.startswith("M0.0 0.00L33.3 5.00")
    assert drawn.left.endswith("L500.0 75.00")
    assert drawn.forecast == "M500.0 75.00L666.7 100.00"
    assert drawn.even == "M0.0 0.00L1000.0 100.00"
    assert drawn.ends == pytest.approx(66.67, abs=0.01)


def test_spent_and_saved_stand_on_each_other() -> None:
    span = Span(date(2026, 1, 1), date(2027, 1, 1))
    drawn = cost_charts.by_day(span, {span.first: Sums(cost_microusd=1_000_000, saved_microusd=1_000_000)})
    assert [layer.name for layer in drawn.layers] == ["spent", "saved"]
    assert drawn.layers[0].path == "M0.0 50.00V50.00H2.7V100.00H0.0z"
    assert drawn.layers[1].path == "M0.0 0.00V0.00H2.7V50.00H0.0z"
    assert [tick.label for tick in drawn.y] == ["$0", "$0.5", "$1", "$1.5", "$2"]
    assert len(drawn.x) <= 7


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "unknown"),
        (0, "$0"),
        (1, "<$0.01"),
        (-1, "−<$0.01"),
        (5_000, "$0.01"),
        (1_234_567_890_000, "$1,234,567.89"),
        (-3_000_000, "−$3.00"),
    ],
)
def test_money_is_written_to_the_cent_and_a_little_is_not_nothing(amount: int | None, shown: str) -> None:
    assert formats.money(amount) == shown


# The admin


@pytest.fixture
def admin(operator: User, console: Any) -> Client:
    """A client of somebody who may do everything."""
    client = Client()
    client.force_login(operator)
    return client


def total_of(response: Any) -> str:
    return re.search(r'<p class="totals">(.*?)</p>', response.content.decode(), re.DOTALL)[1]  # type: ignore[index]


def test_totals_of_a_list_are_those_of_all_that_it_lists(admin: Client) -> None:
    company(now(), 20)
    for query, rows in (
        ("", {}),
        ("source=unknown", {"source": "unknown"}),
        (f"tenant_id={tenant_of('acme').pk}", {"tenant_id": tenant_of("acme").pk}),
        ("cost=unknown", {"cost_microusd": None}),
        ("model=openai/gpt-4.1-mini&at__gte=2020-01-01T00:00:00%2B00:00", {"model": "openai/gpt-4.1-mini"}),
    ):
        found = list(Charge.objects.of(EVERYBODY).filter(**rows))
        cost = sum(one.cost_microusd or 0 for one in found)
        for page in ("", "&p=2"):
            response = admin.get(f"/admin/orchestrator/charge/?{query}{page}")
            assert response.status_code == 200, query
            said = total_of(response)
            assert f"<b>${Decimal(cost).scaleb(-6):.6f}</b>" in said, query
            assert said.startswith(f"{len(found):,} call"), query
    spent = sum(SpendDay.objects.of(EVERYBODY).values_list("cost_microusd", flat=True))
    assert f"<b>${Decimal(spent).scaleb(-6):.6f}</b>" in total_of(admin.get("/admin/orchestrator/spendday/"))


def test_a_charge_is_found_by_its_request_and_by_its_providers_id(admin: Client) -> None:
    charge(now(), request_id="wanted", provider_ref="gen-1")
    charge(now(), request_id="other")
    for term in ("wanted", "gen-1"):
        response = admin.get("/admin/orchestrator/charge/", {"q": term})
        assert total_of(response).startswith("1 call match"), term
        assert b"other" not in response.content


def test_a_charge_is_found_by_its_providers_id_however_old_it_is(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MOST_LOOKED", 1)
    charge(now(), provider_ref="gen-1")
    charge(now())
    with CaptureQueriesContext(connection) as made:
        said = total_of(admin.get("/admin/orchestrator/charge/", {"q": "gen-1"}))
    assert said.startswith("1 call match")
    assert "That is all of them, on every page of the list." in said
    searched = [one["sql"] for one in made if "provider_ref\" = 'gen-1'" in one["sql"]]
    assert searched
    with connection.cursor() as cursor:
        for query in searched:
            cursor.execute(f"EXPLAIN QUERY PLAN {query}")
            assert "charge_by_ref" in " ".join(row[3] for row in cursor.fetchall())


@pytest.mark.parametrize(
    ("name", "query", "caveat"),
    [
        ("charge", "provider=groq", "all of them among the newest 1 charges"),
        ("charge", "cost=unknown", "all of them among the newest 1 charges"),
        ("requestrecord", "model=large", "Looked for among the newest 1 requests"),
        ("requestrecord", "q=large", "Looked for among the newest 1 requests"),
    ],
)
def test_a_list_without_a_row_says_among_how_many_it_looked(
    admin: Client, monkeypatch: pytest.MonkeyPatch, name: str, query: str, caveat: str
) -> None:
    monkeypatch.setattr(lists, "MOST_LOOKED", 1)
    for older in (True, False):
        charge(now(), provider="groq" if older else "openai", cost_microusd=None if older else 1)
        record(model="large" if older else "small", asked_model="")
    said = total_of(admin.get(f"/admin/orchestrator/{name}/?{query}"))
    assert said.startswith("0 ")
    assert caveat in said
    exported = admin.get(f"/admin/orchestrator/{name}/export.csv?{query}").content.decode()
    assert len(exported.splitlines()) == 2, "the head, and the one that is older"


def test_charges_of_days_come_in_the_order_of_the_index_and_from_as_far_back_as_is_said(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = datetime(2026, 11, 3, 12, tzinfo=UTC)
    for back in range(4):  # the oldest was written last
        charge(at - timedelta(hours=back), model=f"openai/m{back}", provider="groq" if back > 1 else "openai")
    charge(at + timedelta(days=5), model="openai/later")
    days = "at__gte=2026-11-01T00:00:00%2B00:00&at__lt=2026-11-05T00:00:00%2B00:00"
    with CaptureQueriesContext(connection) as made:
        page = admin.get(f"/admin/orchestrator/charge/?{days}")
    assert "That is all of them, on every page of the list." in total_of(page)
    assert list(dict.fromkeys(re.findall(r"openai/m\d", page.content.decode()))) == [f"openai/m{n}" for n in range(4)]
    (listing,) = [one["sql"] for one in made if "LIMIT" in one["sql"] and '"completion_tokens"' in one["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {listing}")
        assert "TEMP B-TREE" not in " ".join(row[3] for row in cursor.fetchall())
    monkeypatch.setattr(lists, "MOST_OF_DAYS", 2)
    for query, count in ((days, "2 calls match"), (f"{days}&provider=groq", "0 calls match")):
        said = total_of(admin.get(f"/admin/orchestrator/charge/?{query}"))
        assert said.startswith(count)
        assert "all of them among the newest 2 charges of these days, those after 2026-11-03 10:00:00 UTC" in said
    exported = admin.get(f"/admin/orchestrator/charge/export.csv?{days}").content.decode()
    assert len(exported.splitlines()) == 5, "a file has all of them"


def test_an_address_lifts_the_bound_of_no_list(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MOST_OF_DAYS", 1)
    for model in ("large", "small"):
        record(model=model, asked_model="")
    said = total_of(admin.get("/admin/orchestrator/requestrecord/?at__gte=2020-01-01T00:00:00%2B00:00&model=large"))
    assert said.startswith("0 requests")
    assert "among the newest 1 requests of that time" in said
    assert admin.get("/admin/orchestrator/charge/?at__gte=yesterday").status_code == 302


def test_sums_of_days_are_those_of_the_last_ones_until_others_are_chosen(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = now()
    monkeypatch.setattr("django.utils.timezone.now", lambda: at)
    today = at.date()
    for back, cost in ((0, 1), (29, 10), (30, 100), (89, 1_000), (90, 10_000), (800, 100_000)):
        day(today - timedelta(days=back), cost_microusd=cost)
    long_ago = today - timedelta(days=800)
    of_that_month = f"day__year={long_ago.year}&day__month={long_ago.month}"
    for query, cost in (
        ("", 11),
        ("when=90d", 1_111),
        ("when=366d", 11_111),
        (f"when={long_ago.year}", 100_000),
        (of_that_month, 100_000),
        ("when=1066", 0),
        ("when=x", 0),
    ):
        with CaptureQueriesContext(connection) as made:
            page = admin.get(f"/admin/orchestrator/spendday/?{query}")
        assert f"<b>${Decimal(cost).scaleb(-6):.6f}</b>" in total_of(page), query
        of_days = [one["sql"] for one in made if 'FROM "orchestrator_spendday"' in one["sql"]]
        with connection.cursor() as cursor:
            for sql in of_days:
                cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
                plan = [row[3] for row in cursor.fetchall() if "orchestrator_spendday" in row[3]]
                assert all("day>" in step or "LIMIT 1" in sql for step in plan), (query, sql, plan)
        assert f">{long_ago.year}</a>" in page.content.decode()
    assert "Last 30 days" in text(admin.get("/admin/orchestrator/spendday/"))


LISTS = ("charge", "spendday", "pricerow")


@pytest.mark.parametrize("name", LISTS)
def test_a_list_asks_as_often_for_many_rows_as_for_few(admin: Client, name: str) -> None:
    def counted() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert admin.get(f"/admin/orchestrator/{name}/?all=").status_code in {200, 302}
            assert admin.get(f"/admin/orchestrator/{name}/").status_code == 200
        return len(queries)

    company(now(), 1)
    _alerts(2)
    few = counted()
    company_again(now())
    _alerts(40)
    assert counted() <= few


def company_again(at: datetime) -> None:
    for number in range(40):
        key = key_of(f"tenant-{number}", f"key-{number}")
        charge(at, f"tenant-{number}", key_id=key.pk)
        day(at.date(), f"tenant-{number}", key)
        price(f"openai/m{number}", "1", "2")


def _alerts(count: int) -> None:
    for number in range(count):
        row = budget(f"b-{count}-{number}", 100, now=now())
        BudgetAlert.objects.create(
            budget_id=row.pk, under="", begins=now().date(), share=80, at=now(), spent_microusd=80
        )


@pytest.mark.parametrize("name", LISTS)
def test_money_is_read_in_the_admin_and_changed_by_nobody(admin: Client, name: str) -> None:
    company(now(), 1)
    _alerts(1)
    listed = admin.get(f"/admin/orchestrator/{name}/")
    path = re.search(rf'href="(/admin/orchestrator/{name}/\d+/change/[^"]*)"', listed.content.decode())
    assert path is not None
    assert admin.get(path[1]).status_code == 200
    assert admin.post(path[1], {"cost_microusd": 1}).status_code == 403
    assert admin.get(f"/admin/orchestrator/{name}/add/").status_code == 403
    assert admin.post(path[1].replace("/change/", "/delete/").partition("?")[0], {"post": "yes"}).status_code == 403


def test_a_record_shows_what_it_was_charged_and_not_what_another_tenants_was(admin: Client) -> None:
    at = now()
    record(at, request_id="same", tenant="acme")
    charge(at, "acme", request_id="same", cost_microusd=1_234, outcome="engine_timeout", source="reserved")
    charge(at, "acme", request_id="same", cost_microusd=None, source="unknown", model="groq/x")
    charge(at, "globex", request_id="same", cost_microusd=777)
    one = RequestRecord.objects.of(EVERYBODY).get(request_id="same")
    said = text(admin.get(f"/admin/orchestrator/requestrecord/{one.pk}/change/"))
    assert "0.001234: openai/gpt-4.1-mini, engine timeout, 1,000 in, 100 out, by reserved" in said
    assert "unknown: groq/x, done" in said
    assert "0.000777" not in said


def test_requests_of_one_id_show_each_its_own(admin: Client) -> None:
    first, later = now() - timedelta(minutes=2), now() - timedelta(minutes=1)
    tenant = tenant_of("acme")
    for at, name in ((first, "of-first"), (later, "of-later")):
        record(at, request_id="session", total_us=1_000_000)
        for number in range(11):
            charge(at, request_id="session", model=f"openai/{name}-{number}")
        Attempt.rows.create(
            request_id="session", tenant=tenant, at=at + timedelta(seconds=1), provider="groq", model=f"groq/{name}",
            outcome="engine_timeout", error="", took_us=1_000_000,
        )  # fmt: skip
    decided = RouteDecision.rows.create(request_id="session", tenant=tenant, at=later, rules=1, document="{}")
    one, other = RequestRecord.objects.of(EVERYBODY).order_by("at")
    page = admin.get(f"/admin/orchestrator/requestrecord/{other.pk}/change/")
    said = text(page)
    assert "groq/of-later: engine timeout" in said
    assert "openai/of-later-9," in said
    assert "openai/of-later-10," not in said
    assert "and more" in said
    assert "of-first" not in said
    assert f"/admin/orchestrator/routedecision/{decided.pk}/change/" in page.content.decode()
    earlier = text(admin.get(f"/admin/orchestrator/requestrecord/{one.pk}/change/"))
    assert "groq/of-first: engine timeout" in earlier
    assert "of-later" not in earlier
    assert "Why this model" not in earlier


def test_what_is_doubted_of_a_charge_is_shown_filtered_and_exported(admin: Client) -> None:
    at = now()
    record(at, request_id="odd")
    record(at, request_id="even")
    for doubt in ("", "counts", "nothing"):
        charge(at, request_id="odd" if doubt else "even", model=f"openai/m-{doubt}", doubt=doubt, source="told")
    for chosen_, models in (
        ("yes", {"m-counts", "m-nothing"}),
        ("counts", {"m-counts"}),
        ("nothing", {"m-nothing"}),
        ("no", {"m-"}),
    ):
        found = csv.DictReader(
            admin.get(f"/admin/orchestrator/charge/export.csv?doubted={chosen_}").content.decode().splitlines()
        )
        assert {(row["model"], row["doubt"]) for row in found} == {
            (f"openai/{model}", model.removeprefix("m-")) for model in models
        }
        assert total_of(admin.get(f"/admin/orchestrator/charge/?doubted={chosen_}")).startswith(f"{len(models)} call")
    one = Charge.objects.of(EVERYBODY).get(doubt="nothing")
    words_ = {"counts": "more tokens than it was sent", "nothing": "it cost nothing, where its price says otherwise"}
    assert words_["nothing"] in text(admin.get(f"/admin/orchestrator/charge/{one.pk}/change/"))
    odd, even = (RequestRecord.objects.of(EVERYBODY).get(request_id=name).pk for name in ("odd", "even"))
    for path in ("/admin/orchestrator/requestrecord/{}/change/", "/dashboard/requests/{}/"):
        said = text(admin.get(path.format(odd)))
        assert all(f"doubted: {some}" in said for some in words_.values()), path
        assert "doubted" not in text(admin.get(path.format(even)))


async def test_the_file_of_charges_says_what_is_doubted(staff: AsyncClient) -> None:
    await make(charge, now(), doubt="counts")
    (row,) = csv.DictReader((await _whole(await staff.get(f"{PAGE}charges.csv"))).splitlines())
    assert row["doubt"] == "counts"
