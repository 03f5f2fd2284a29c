"""Providers' accounts over the API."""

from __future__ import annotations

import csv
from io import StringIO
from random import Random
from typing import Any

import httpx
import pytest

from orchestrator.api.description import COSTS
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.models import AuditEvent
from orchestrator.parts import Parts
from tests.invoices.exports import charge, generic_csv, openrouter_csv, some_calls
from tests.keys import issue_key
from tests.shapes import faults

ROOT = "/api/admin/v1/invoices"
CALLS = some_calls(Random(5), ("v/m-1", "v/m-2"))


class Asking:
    """Asks with a key; each answer has the shape that is described, and is kept by nobody."""

    def __init__(self, client: httpx.AsyncClient, key: str) -> None:
        self._client, self._headers = client, {"Authorization": f"Bearer {key}", "X-Request-Id": "a-request"}

    async def __call__(self, method: str, path: str = "", status: int = 200, **how: Any) -> Any:
        response = await self._client.request(method, ROOT + path, headers=self._headers, **how)
        assert response.status_code == status, response.text
        kind = response.headers["Content-Type"]
        assert faults(method, response.request.url.path, status, kind, response.content) == []
        if status == 200:
            assert response.headers["Cache-Control"] == "no-store"
        return response.text if kind.startswith("text/csv") else response.json()


@pytest.fixture
async def ask(client: httpx.AsyncClient, parts: Parts) -> Asking:
    """With a key that may manage everything."""
    return Asking(
        client, await parts.reads.run(60, lambda: issue_key("ops", "default", role=Role.ADMIN, reaches_all=True))
    )


@pytest.fixture
async def charged(parts: Parts) -> None:
    """What was called."""
    await parts.reads.run(60, lambda: charge(CALLS, "openrouter"))


async def test_an_account_is_imported_compared_and_deleted(ask: Asking, charged: None) -> None:
    made = await ask("POST", "", content=openrouter_csv(CALLS), params={"name": "march.csv"})
    assert (made["provider"], made["form"], made["name"]) == ("openrouter", "openrouter-csv", "march.csv")
    assert made["lines"] == len(CALLS)
    number = made["number"]
    assert await ask("GET", f"/{number}") | {"replaced": []} == made
    same = await ask("GET", f"/{number}/differences")
    assert (same["is_same"], same["differences"], same["calls"]) == (True, [], [])
    assert same["calls_here"] == len(CALLS)
    assert await ask("DELETE", f"/{number}") == {"deleted": True}
    await ask("GET", f"/{number}", 404)
    await ask("DELETE", f"/{number}", 404)
    await ask("GET", f"/{number}/differences.csv", 404)
    events = [event async for event in AuditEvent.objects.of(EVERYBODY).order_by("pk")]
    assert [(event.action, event.subject) for event in events] == [
        ("invoice.imported", f"invoice {number}"),
        ("invoice.deleted", f"invoice {number}"),
    ]
    assert {event.request_id for event in events} == {"a-request"}


async def test_what_differs_is_told_with_amounts_and_what_is_tolerated(ask: Asking, charged: None) -> None:
    number = (await ask("POST", "", content=openrouter_csv(CALLS[1:])))["number"]
    told = await ask("GET", f"/{number}/differences")
    (one,) = [one for one in told["differences"] if not one["is_midnight"]]
    cost = next(figure for figure in one["figures"] if figure["figure"] == "cost_usd")
    assert cost["differs"]
    assert float(cost["difference"]) == pytest.approx(-float(CALLS[0].cost), abs=1e-6)
    assert float(cost["may_be_below"]) == pytest.approx(1e-6 * one["calls"], abs=1e-7)
    (call,) = told["calls"]
    assert (call["kind"], call["call"], call["lines"]) == ("only here", CALLS[0].ref, [])
    rows = list(csv.DictReader(StringIO(await ask("GET", f"/{number}/differences.csv"))))
    assert {row["call"] for row in rows} == {"", CALLS[0].ref}
    assert all(float(row["ours"]) >= float(row["theirs"]) for row in rows)
    day = {"first_day": CALLS[0].day.isoformat(), "last_day": CALLS[0].day.isoformat()}
    assert (await ask("GET", f"/{number}/differences", params=day))["differences"] == told["differences"]
    await ask("GET", f"/{number}/differences", 400, params={"first_day": "2031-01-01"})


async def test_lists_come_in_pages(ask: Asking) -> None:
    for number in range(3):
        content = f"day,model,cost_usd\n2026-03-0{number + 1},m,1\n".encode()
        await ask("POST", "", content=content, params={"provider": "a" if number else "b"})
    page = await ask("GET", "", params={"limit": 2})
    rest = await ask("GET", "", params={"limit": 2, "before": page["next"]})
    assert [one["first_day"][-1] for one in (*page["invoices"], *rest["invoices"])] == ["3", "2", "1"]
    assert rest["next"] is None
    assert [one["provider"] for one in (await ask("GET", "", params={"provider": "b"}))["invoices"]] == ["b"]


async def test_what_is_wrong_is_told(ask: Asking) -> None:
    wrong = await ask("POST", "", 400, content=b"day,model,cost_usd\n2026-03-01,m,x\n", params={"provider": "a"})
    assert wrong["error"] == "line 2: cost_usd 'x' is no number."
    content = b"day,model,cost_usd\n2026-03-01,m,1\n"
    assert "say whose account it is" in (await ask("POST", "", 400, content=content))["error"]
    await ask("POST", "", 400, content=content, params={"provider": "a", "form": "openrouter-csv"})
    await ask("POST", "", 400, content=b"")
    await ask("POST", "", content=content, params={"provider": "a"})
    await ask("POST", "", 409, content=content, params={"provider": "a"})
    assert "`replace`" in (await ask("POST", "", 409, content=content + b"\n", params={"provider": "a"}))["error"]
    again = await ask("POST", "", content=content + b"\n", params={"provider": "a", "replace": "true"})
    assert len(again["replaced"]) == 1


async def test_a_large_file_is_read_as_it_is(ask: Asking) -> None:
    """Larger bodies are read as JSON ahead of the endpoint elsewhere."""
    calls = some_calls(Random(9), [f"model-{number}" for number in range(2000)])
    content = generic_csv(calls)
    assert len(content) > 256 * 1024
    assert (await ask("POST", "", content=content, params={"provider": "a"}))["lines"] > 5000
    await ask("POST", "", 413, content=b"x" * (16 * 1024**2 + 1))


async def test_a_spreadsheet_is_given_no_formula(ask: Asking) -> None:
    content = b'day,model,cost_usd\n2026-03-01,"=HYPERLINK(1)",1\n2026-03-01,@x,-2\n'
    number = (await ask("POST", "", content=content, params={"provider": "a"}))["number"]
    rows = list(csv.DictReader(StringIO(await ask("GET", f"/{number}/differences.csv"))))
    assert {row["model"] for row in rows} == {"'=HYPERLINK(1)", "'@x"}
    assert {row["difference"] for row in rows} == {"1", "-2"}


@pytest.mark.parametrize("role", list(Role))
async def test_each_role_may_what_its_permissions_say(
    ask: Asking, client: httpx.AsyncClient, parts: Parts, role: Role
) -> None:
    number = (await ask("POST", "", json=COSTS))["number"]
    key = await parts.reads.run(60, lambda: issue_key("r", "default", role=role, reaches_all=True))
    theirs = Asking(client, key)
    changes = 200 if role in {Role.OPERATOR, Role.ADMIN} else 403
    for path in ("", f"/{number}", f"/{number}/differences", f"/{number}/differences.csv"):
        await theirs("GET", path)
    await theirs("DELETE", f"/{number}", changes)
    of_one = Asking(client, await parts.reads.run(60, lambda: issue_key("o", "default", role=role)))
    await of_one("GET", "", 403)
