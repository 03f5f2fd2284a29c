"""Costs over the API: for whom, of which days, as JSON and as CSV."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from orchestrator.core.permissions import Role
from orchestrator.ledger import spreadsheet
from orchestrator.parts import Parts
from tests.dashboard.spending import charge, day
from tests.keys import issue_key
from tests.shapes import faults

COSTS = "/api/admin/v1/costs"
NOW = datetime.now(UTC)


def _spend() -> None:
    for tenant, cost in (("acme", 1_250_000), ("globex", 7)):
        day(NOW.date(), tenant, model=f"openai/of-{tenant}", cost_microusd=cost, unpriced=1, calls=3)
        day(NOW.date() - timedelta(days=40), tenant, model="openai/old", cost_microusd=100)
        charge(NOW, tenant, model=f"openai/of-{tenant}", cost_microusd=cost, tags="=search")


@pytest.fixture
async def keys(parts: Parts) -> dict[str, dict[str, str]]:
    """Of a viewer of everything, and of one of a tenant."""
    await parts.reads.run(60, _spend)
    every = await parts.reads.run(60, lambda: issue_key("every", "default", role=Role.VIEWER, reaches_all=True))
    acme = await parts.reads.run(60, lambda: issue_key("acme", "acme", role=Role.VIEWER))
    return {"every": {"x-api-key": every}, "acme": {"x-api-key": acme}}


async def got(client: httpx.AsyncClient, headers: dict[str, str], **query: str) -> Any:
    response = await client.get(COSTS, params=query, headers=headers)
    assert response.status_code == 200, response.text
    assert faults("GET", COSTS, 200, response.headers["Content-Type"], response.content) == []
    return response.json()


async def test_sums_are_of_the_last_thirty_days_unless_said_otherwise(client, keys) -> None:
    told = await got(client, keys["every"], by="model")
    assert [(one["name"], one["cost_usd"]) for one in told["groups"]] == [
        ("openai/of-acme", "1.250000"),
        ("openai/of-globex", "0.000007"),
    ]
    assert told["total"]["cost_microusd"] == 1_250_007
    assert (told["total"]["calls"], told["total"]["unpriced"]) == (6, 2)
    assert told["to"] in {NOW.date().isoformat(), datetime.now(UTC).date().isoformat()}  # midnight may have passed
    long = await got(client, keys["every"], by="day", **{"from": (NOW.date() - timedelta(days=50)).isoformat()})
    assert [one["cost_microusd"] for one in long["groups"]] == [1_250_007, 200]


async def test_a_key_of_a_tenant_is_told_of_that_tenant(client, keys) -> None:
    for by in ("day", "model", "provider", "tenant", "key", "tag", "purpose"):
        told = await got(client, keys["acme"], by=by)
        assert told["total"]["cost_microusd"] == 1_250_000
        assert "globex" not in str(told)
        assert len(told["groups"]) == 1
    for path in (f"{COSTS}.csv?by=tenant", f"{COSTS}/charges.csv"):
        response = await client.get(path, headers=keys["acme"])
        assert response.status_code == 200
        assert "acme" in response.text
        assert "globex" not in response.text


async def test_what_judges_cost_is_told_and_since_when(client, keys, parts: Parts) -> None:
    await parts.reads.run(60, lambda: charge(NOW, "acme", purpose="judge", cost_microusd=11))
    told = await got(client, keys["acme"], by="purpose")
    assert [(one["name"], one["cost_usd"]) for one in told["groups"]] == [("answer", "1.250000"), ("judge", "0.000011")]
    assert told["since"].startswith(told["from"])
    assert (await got(client, keys["acme"], by="model"))["since"] is None
    response = await client.get(f"{COSTS}.csv?by=purpose", headers=keys["acme"])
    assert [line.split(",")[0] for line in response.text.splitlines()] == ["purpose", "answer", "judge"]


async def test_the_dearest_are_told_and_that_there_are_more(client, keys) -> None:
    told = await got(client, keys["every"], by="tenant", limit="1")
    assert [one["name"] for one in told["groups"]] == ["acme"]
    assert told["has_more"] is True


async def test_a_file_that_has_not_every_group_comes_to_the_total(client, keys, parts: Parts) -> None:
    await parts.reads.run(60, lambda: day(NOW.date(), "acme", model="openai/third", cost_microusd=3, calls=2))
    for by in ("model", "day"):
        query: dict[str, str] = {"by": by, "from": (NOW.date() - timedelta(days=50)).isoformat()}
        total = (await got(client, keys["every"], **query))["total"]
        response = await client.get(f"{COSTS}.csv", params=query | {"limit": "1"}, headers=keys["every"])
        rows = list(csv.DictReader(response.text.splitlines()))
        assert [row[by] for row in rows][1:] == ["all others"]
        assert sum(int(row["calls"]) for row in rows) == total["calls"]
        assert sum(Decimal(row["cost_usd"]) for row in rows) == Decimal(total["cost_usd"]) > 0
    response = await client.get(f"{COSTS}.csv?by=tag&limit=1", headers=keys["acme"])
    assert "all others" not in response.text
    assert "cut after" not in response.text
    await parts.reads.run(60, lambda: charge(NOW, "acme", tags="another"))
    response = await client.get(f"{COSTS}.csv?by=tag&limit=1", headers=keys["acme"])
    assert response.text.splitlines()[-1].strip('"').startswith("cut after 1 lines")


async def test_days_that_cannot_be_meant_are_refused(client, keys) -> None:
    for query in (
        "from=2026-11-02&to=2026-11-01",
        "from=2020-01-01&to=2026-11-01",
        "to=9999-12-31",
        "to=0001-01-01",
        "from=yesterday",
        "by=colour",
        "limit=0",
    ):
        for path in (COSTS, f"{COSTS}.csv"):
            assert (await client.get(f"{path}?{query}", headers=keys["every"])).status_code == 400, query


async def test_charges_are_streamed_with_nothing_a_spreadsheet_would_run(
    client: httpx.AsyncClient, keys: Any, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spreadsheet, "PAGE", 2)
    await parts.reads.run(60, lambda: [charge(NOW, "acme") for _ in range(5)])
    response = await client.get(f"{COSTS}/charges.csv", headers=keys["every"])
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert "content-length" not in response.headers
    rows = list(csv.DictReader(response.text.splitlines()))
    assert len(rows) == len({row["request_id"] for row in rows}) == 7
    assert {row["tags"] for row in rows} == {"'=search", ""}
    assert {row["cost_usd"] for row in rows} == {"1.250000", "0.000007", "0.000560"}


async def test_a_file_of_too_many_charges_is_refused_before_it_begins(client, keys, monkeypatch) -> None:
    monkeypatch.setattr("orchestrator.ledger.costs.MOST_CHARGES", 1)
    response = await client.get(f"{COSTS}/charges.csv", headers=keys["every"])
    assert response.status_code == 400
    assert "fewer days" in response.text
