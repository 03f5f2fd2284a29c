"""/metrics: who may see it, what it says, and what it never says."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.utils.timezone import now
from prometheus_client import Metric

from orchestrator import vitals
from orchestrator.core.budgets import EVER
from orchestrator.core.errors import EngineError
from orchestrator.core.permissions import Role
from orchestrator.core.types import Candidate, Model
from orchestrator.engines.llamacpp import LoadedModel
from orchestrator.ledger.savings import Saving
from orchestrator.models import Budget, BudgetAlert, BudgetPeriod
from orchestrator.parts import Parts
from orchestrator.processes import Child, Running
from orchestrator.vitals import Sampler
from tests.fakes import FakeEngine
from tests.figures import Figures, answered, parse, value
from tests.keys import issue_key

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "What is 2+2?"}], "stream": False}
DOCS = Path(__file__).resolve().parent.parent.parent / "docs" / "metrics.md"


async def figures(client: httpx.AsyncClient, **headers: str) -> Figures:
    response = await client.get("/metrics", headers=headers)
    assert response.status_code == 200, response.text
    return parse(response.text)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is asked for a page says something, however busy the machine is."""
    monkeypatch.setattr(vitals, "HOST_DEADLINE_S", 20.0)
    monkeypatch.setattr(vitals, "BUDGETS_DEADLINE_S", 20.0)


@pytest.fixture
def with_keys(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts.identity, "_require_keys", True)


@pytest.fixture
def loaded(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    one = LoadedModel(
        model=engine.model,
        size=1000,
        context_length=4096,
        expires_at=None,
        slots=4,
        busy=2,
        waiting=1,
        tokens_per_s=33.5,
        threads=1,
        pid=1,
    )

    async def ps() -> list[LoadedModel]:
        return [one]

    monkeypatch.setattr(engine, "ps", ps)
    return one


@pytest.fixture
async def full(
    client: httpx.AsyncClient, parts: Parts, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> Figures:
    """A page with everything on it that there can be."""
    this = Running(supervisor=os.getpid(), processes=[Child(role="web", name="web 1", pid=os.getpid(), restarts=0)])
    monkeypatch.setattr(vitals, "running", lambda folder: this)
    parts.metrics.answered(answered(cost_microusd=3))
    parts.metrics.answered(answered(cost_microusd=None))
    parts.metrics.answered(answered(tier="memory", saved=Saving(3, "price")))
    parts.metrics.answered(answered(tier="memory", saved=Saving(None, "unknown")))
    model = Model(name="openai/big", digest="d", engine="openai", remote_name="big")
    place = parts.places.place(Candidate(model=model, stands_for=model))
    parts.places.began(place)
    parts.places.ended(place)
    parts.limiter.refused["few", "requests"] += 1
    await parts.reads.run(60, a_budget)
    parts.ledger.over_budget["team"] += 1
    return await figures(client)


def a_budget() -> None:
    budget = Budget.objects.create(name="team", period="total", each="key", amount_microusd=4_000_000)
    for under, spent, reserved in (("1", 2_000_000, 1_000_000), ("2", 500_000, 0)):
        of_budget = {"budget_id": budget.pk, "under": under, "begins": EVER}
        BudgetPeriod.objects.create(**of_budget, spent_microusd=spent, reserved_microusd=reserved)
        BudgetAlert.objects.create(**of_budget, share=50, at=now(), spent_microusd=spent)
    Budget.objects.create(name="off", period="total", each="key", amount_microusd=1, is_off=True)


async def test_what_was_answered_is_counted_in_every_dialect(client: httpx.AsyncClient, cloud: FakeEngine) -> None:
    for _ in range(3):
        await client.post("/api/chat", json=CHAT)
    await client.post("/v1/chat/completions", json=CHAT)
    await client.post("/v1/chat/completions", json=CHAT | {"model": "openai/big"})
    await client.post("/api/chat", json=CHAT | {"model": "nobody-has-this"})
    await client.post("/api/chat", content=b"{broken")
    seen = await figures(client)
    assert value(seen, "requests_total", dialect="ollama", tier="miss", outcome="done") == 1
    assert value(seen, "requests_total", dialect="ollama", tier="memory", outcome="done") == 2
    assert value(seen, "requests_total", dialect="openai", tier="memory", outcome="done") == 1
    assert value(seen, "requests_total", tier="none", outcome="model_not_found") == 1
    assert value(seen, "requests_total", tier="none", outcome="bad_request") == 1
    assert value(seen, "requests_total") == value(seen, "request_seconds_count") == 7
    assert value(seen, "unpriced_requests_total", model="openai/big") == 1
    assert value(seen, "tokens_total", kind="prompt") == 14
    assert value(seen, "tokens_total", kind="prompt_saved", model="tiny:latest") == 21
    assert value(seen, "cache_lookups_total", tier="memory", result="hit") == 3
    assert value(seen, "cache_entries", tier="memory") == 2
    assert value(seen, "part_seconds_count", part="settle") == 2
    assert value(seen, "part_seconds_count", part="engine") == 2
    assert value(seen, "provider_calls_total", provider="openai", outcome="done") == 1
    assert value(seen, "provider_calls_in_flight", provider="openai") == 0


async def test_who_was_refused_on_disk_is_counted_as_refused(
    client: httpx.AsyncClient, parts: Parts, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(rows: Any, cursor: Any = None) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.ledger.batch.insert", full)
        patch.setattr("orchestrator.ledger.writing.RETRY_S", 0.01)
        response = await client.post("/api/chat", json=CHAT | {"model": "openai/big"})
        assert response.status_code == 503
        seen = await figures(client)
        assert value(seen, "requests_total", outcome="ledger_unavailable") == value(seen, "requests_total") == 1
        assert value(seen, "ledger_failing") == 1
        async with asyncio.timeout(60):
            # It is tried again and again, and is none meanwhile; beside it may wait what is reserved for its call.
            while value(await figures(client), "ledger_pending") not in {1, 2}:
                await asyncio.sleep(0.01)


async def test_no_caller_makes_series(client: httpx.AsyncClient) -> None:
    async def series_after(names: range) -> int:
        for name in names:
            await client.post("/api/chat", json=CHAT | {"model": f"evil-{name}"})
            await client.post(f"/api/evil-{name}", json=CHAT)
            await client.post(f"/v1/evil-{name}", json=CHAT)
            await client.get(f"/metrics/{name}", headers={"X-Orchestrator-Tags": f"t{name}"})
        seen = await figures(client)
        assert not any("evil" in str(sample.labels) for family in seen.values() for sample in family.samples)
        return sum(len(family.samples) for family in seen.values())

    assert await series_after(range(1)) == await series_after(range(1, 50))


async def test_names_units_and_help_are_as_prometheus_wants_them(full: Figures) -> None:
    assert all(family.samples for family in full.values())
    for family in full.values():
        lint(family)


def lint(family: Metric) -> None:
    """What `promtool check metrics` holds names to."""
    assert re.fullmatch(r"orchestrator_[a-z]+(_[a-z]+)*", family.name)
    assert family.documentation.endswith(".")
    assert family.documentation[0].isupper()
    assert family.type in {"counter", "gauge", "histogram"}
    names = {sample.name for sample in family.samples}
    if family.type == "counter":
        assert names <= {f"{family.name}_total"}
    if family.type == "gauge":
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket"))
    if family.type == "histogram":
        assert family.name.endswith("_seconds")
    for word in ("milliseconds", "_ms", "_us", "kilobytes", "megabytes", "minutes"):
        assert word not in family.name
    for sample in family.samples:
        assert sample.labels.keys() <= {
            *("dialect", "tier", "outcome", "result", "part", "kind", "model", "role", "process", "le"),
            *("provider", "version", "python", "limit", "budget"),
        }, "neither tenants nor keys are labels"


async def test_budgets_are_told_by_how_they_stand(full: Figures) -> None:
    found = {name: value(full, f"budget_{name}", budget="team") for name in ("spent_dollars", "taken_ratio", "alerts")}
    assert found == {"spent_dollars": 2.5, "taken_ratio": 0.75, "alerts": 2}
    assert [sample.labels["budget"] for sample in full["orchestrator_budget_alerts"].samples] == ["team"]


async def test_the_document_lists_what_there_is(full: Figures) -> None:
    row = re.compile(r"\| `orchestrator_(?P<name>\w+)` \| (?P<type>\w+) \|(?P<labels>[^|]*)\| .+ \|")
    rows = [match for line in DOCS.read_text().splitlines() if (match := row.fullmatch(line))]
    listed = {match["name"]: (match["type"], set(re.findall(r"`(\w+)`", match["labels"]))) for match in rows}
    assert listed == {
        family.name.removeprefix("orchestrator_") + ("_total" if family.type == "counter" else ""): (
            family.type,
            {label for sample in family.samples for label in sample.labels} - {"le"},
        )
        for family in full.values()
    }


async def test_open_as_healthz_is(client: httpx.AsyncClient) -> None:
    assert (await client.get("/metrics")).headers["Content-Type"].startswith("text/plain; version=0.0.4")
    accept = "application/openmetrics-text; version=1.0.0"
    response = await client.get("/metrics", headers={"Accept": accept})
    assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert response.text.endswith("# EOF\n")


async def test_where_keys_are_required_a_key_that_sees_every_tenant_opens_it(
    client: httpx.AsyncClient, parts: Parts, with_keys: None
) -> None:
    assert (await client.get("/metrics")).status_code == 401
    key = await parts.reads.run(60, lambda: issue_key("web", "default", role=Role.VIEWER, reaches_all=True))
    for headers in ({"Authorization": f"Bearer {key}"}, {"x-api-key": key}):
        assert (await client.get("/metrics", headers=headers)).status_code == 200


@pytest.mark.parametrize("keys_required", [True, False])
async def test_the_token_opens_it_and_nothing_else(
    client: httpx.AsyncClient,
    parts: Parts,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    keys_required: bool,
) -> None:
    settings.METRICS_TOKEN = "prometheus-only"
    monkeypatch.setattr(parts.identity, "_require_keys", keys_required)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic prometheus-only"}):
        response = await client.get("/metrics", headers=headers)
        assert response.status_code == 401
        assert "prometheus-only" not in response.text
    token = {"Authorization": "bearer prometheus-only"}
    assert (await client.get("/metrics", headers=token)).status_code == 200
    assert (await client.get("/api/stats", headers=token)).status_code == (401 if keys_required else 200)
    seen = {}
    for name, scopes in {
        "plain": {},
        "of one tenant": {"role": Role.ADMIN},
        "of every tenant": {"role": Role.VIEWER, "reaches_all": True},
    }.items():
        key = await parts.reads.run(60, lambda name=name, scopes=scopes: issue_key(name, "default", **scopes))
        seen[name] = (await client.get("/metrics", headers={"x-api-key": key})).status_code
    assert seen == {"plain": 403, "of one tenant": 403, "of every tenant": 200}, "it counts what every tenant does"


async def test_the_model_host_is_asked_for_each_page(client: httpx.AsyncClient, loaded: LoadedModel) -> None:
    seen = await figures(client)
    assert value(seen, "model_host_up") == value(seen, "models_loaded") == 1
    assert value(seen, "model_slots", model="tiny:latest") == 4
    assert value(seen, "model_slots_busy", model="tiny:latest") == 2
    assert value(seen, "model_tokens_per_second", model="tiny:latest") == 33.5


async def test_a_model_host_that_is_silent_or_gone_leaves_its_figures_out(
    client: httpx.AsyncClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent() -> list[object]:
        await asyncio.Event().wait()
        raise AssertionError

    async def gone() -> list[object]:
        raise EngineError("the model host is not running")

    monkeypatch.setattr(vitals, "HOST_DEADLINE_S", 0.01)
    for ps in (silent, gone):
        monkeypatch.setattr(engine, "ps", ps)
        seen = await figures(client)
        assert value(seen, "model_host_up") == 0
        assert value(seen, "models_loaded") is None


async def test_calls_and_listeners_are_seen_while_they_last(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.gate = asyncio.Event()
    asking = [asyncio.create_task(client.post("/api/chat", json=CHAT)) for _ in range(3)]
    async with asyncio.timeout(60):
        while value(await figures(client), "listeners") != 3:
            await asyncio.sleep(0.01)
    assert value(await figures(client), "calls_in_flight") == 1
    engine.gate.set()
    await asyncio.gather(*asking)
    seen = await figures(client)
    assert value(seen, "calls_in_flight") == value(seen, "listeners") == 0
    assert value(seen, "requests_total", tier="collapsed") == 2


async def test_figures_are_put_down_without_being_asked_for(
    parts: Parts, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitals, "WAKE_EVERY_S", 0.001)
    sampler = Sampler(parts)
    sampler.start()
    await client.post("/api/chat", json=CHAT)
    async with asyncio.timeout(60):
        while True:
            body, _ = await parts.metrics.page("")  # as another worker would: nothing is sampled for it
            seen = parse(body.decode())
            if value(seen, "ledger_written_total") == 1 and value(seen, "event_loop_lag_seconds_count"):
                break
            await asyncio.sleep(0.01)
    assert value(seen, "requests_total") == 1
    await sampler.aclose()


async def test_a_sampler_that_fails_says_so(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("no such figure")

    with monkeypatch.context() as patch:
        patch.setattr(vitals, "WAKE_EVERY_S", 0.001)
        patch.setattr(parts.cache, "stats", broken)
        sampler = Sampler(parts)
        sampler.start()
        async with asyncio.timeout(60):
            while "stand still" not in caplog.text:
                await asyncio.sleep(0.01)
    await sampler.aclose()
