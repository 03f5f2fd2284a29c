"""The sides of a split, and shadows: what is told of them is of their own requests alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from orchestrator.core.permissions import EVERYBODY, Reach, Role
from orchestrator.models import AnswerOutcome, RequestRecord, RouteDecision, ShadowRun, Tenant
from orchestrator.outcomes.splits import shadows, sides
from orchestrator.parts import Parts
from routing.models import RuleVersion
from tests.keys import issue_key
from tests.shapes import faults

NOW = datetime.now(UTC)
SINCE = NOW - timedelta(days=1)
ARMS = [{"name": name, "use": ["m"]} for name in ("old", "new")]
RULES = {
    "rules": [
        {"name": "test", "then": {"split": {"arms": ARMS, "by": "request"}}},
        {"name": "talks", "then": {"split": {"arms": ARMS}}},
    ]
}


@pytest.fixture
def tenants(db: None) -> tuple[Tenant, Tenant]:
    return Tenant.objects.create(name="one"), Tenant.objects.create(name="two")


def went(
    tenant: Tenant,
    number: int,
    arm: str,
    *,
    cost: int | None,
    outcome: str = "done",
    good: float | None = None,
    sticky: str = "",
) -> None:
    request_id = f"r{number}"
    RuleVersion.objects.get_or_create(number=1, defaults={"at": NOW, "by": "anna", "document": RULES})
    facts = {"request": request_id, "sticky": sticky}
    RouteDecision.rows.create(
        request_id=request_id, tenant=tenant, at=NOW, rules=1, split="talks" if sticky else "test", arm=arm,
        document=json.dumps({"facts": facts}),
    )  # fmt: skip
    RequestRecord.rows.create(
        request_id=request_id, tenant=tenant, at=NOW, dialect="ollama", endpoint="/api/chat", asked_model="auto",
        model="m", route="", tier="miss", cache_key="", streamed=False, status=200, outcome=outcome, error="",
        prompt_tokens=1, completion_tokens=1, total_us=1_000_000 + number, is_paid=True, cost_microusd=cost,
    )  # fmt: skip
    if good is not None:
        for by in ("a", "b"):
            AnswerOutcome.rows.create(
                request_id=request_id, tenant=tenant, at=NOW, model="m", kind="feedback", good=good, by=by
            )


@pytest.mark.parametrize("few", [0, 500])
def test_sides_are_told_with_how_sure_that_is(
    tenants: tuple[Tenant, Tenant], few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.outcomes.splits.FEW", few)
    one, two = tenants
    for number in range(40):
        went(one, number, "old", cost=1000 + number % 3, good=0.5 + 0.1 * (number % 2))
        went(one, 100 + number, "new", cost=100 + number % 3, outcome="done" if number else "engine_error")
    went(two, 1, "old", cost=10**9)  # the same request id, of another tenant
    old, new = sorted(sides(Reach(frozenset({one.pk})), SINCE)["test"], key=lambda side: side.arm, reverse=True)
    assert (old.arm, old.requests, new.requests) == ("old", 40, 40)
    assert old.cost_usd is not None
    assert abs(old.cost_usd.value - 0.001) < 1e-5
    assert old.cost_usd.low < old.cost_usd.value < old.cost_usd.high
    assert old.good is not None
    assert (old.good.of, round(old.good.value, 3)) == (40, 0.55), "two who say the same of one answer are one answer"
    assert new.answered is not None
    assert new.answered.value == 39 / 40
    assert old.differs == ("cost_usd",) or new.differs == ("cost_usd",)
    RouteDecision.rows.filter(request_id="r39").update(split="again")
    of_all = sides(EVERYBODY, SINCE)
    assert {rule: [side.requests for side in some] for rule, some in of_all.items()} == {"again": [1], "test": [40, 40]}
    assert sides(Reach(frozenset({two.pk})), SINCE)["test"][0].requests == 1
    assert sides(EVERYBODY, NOW + timedelta(days=1)) == {}


def test_an_answer_that_made_way_is_not_the_one_that_was_given(tenants: tuple[Tenant, Tenant]) -> None:
    for number in range(2):
        went(tenants[0], number, "old", cost=1000, good=1.0 if number else None)
        AnswerOutcome.rows.create(
            request_id=f"r{number}", tenant=tenants[0], at=NOW, model="tiny", kind="escalation", good=0.2
        )
    (old,) = sides(EVERYBODY, SINCE)["test"]
    assert old.good is not None
    assert (old.good.value, old.good.of) == (1.0, 1)


def test_what_was_drawn_together_counts_once(tenants: tuple[Tenant, Tenant]) -> None:
    one, _ = tenants
    for number in range(60):
        went(one, number, "old", cost=1000 + number // 20, good=0.9, sticky=f"old {number // 20}")
        went(one, 100 + number, "new", cost=100 + number % 3, good=0.1, sticky=f"new {number // 20}")
    new, old = sides(EVERYBODY, SINCE)["talks"]
    assert (old.requests, old.good and old.good.of, old.cost_usd and old.cost_usd.of) == (60, 3, 3)
    assert new.differs == old.differs == (), "six conversations, however long they are"
    for number in range(200, 260):
        went(one, number, "old", cost=1000, good=0.9, sticky=f"old {number}")
        went(one, 100 + number, "new", cost=100 + number % 3, good=0.1, sticky=f"new {number}")
    new, old = sides(EVERYBODY, SINCE)["talks"]
    assert (old.requests, old.good and old.good.of, old.differs) == (120, 63, ("good", "cost_usd"))
    RuleVersion.objects.all().delete()
    new, old = sides(EVERYBODY, SINCE)["talks"]
    assert (old.good and old.good.of, old.differs) == (1, ()), "what was drawn is not known any more"


def test_shadows_are_compared_by_pairs(tenants: tuple[Tenant, Tenant]) -> None:
    for number in range(10):
        ShadowRun.rows.create(
            request_id=f"s{number}", tenant=tenants[0], at=NOW, rule="beside", model="m", shadow="n",
            cost_microusd=1000 * number, shadow_cost_microusd=None if number == 9 else 1000 * number + 500,
            took_us=1_000_000, shadow_took_us=3_000_000, likeness=0.9, failed="" if number else "engine_error",
        )  # fmt: skip
    for number, why in enumerate(
        ("busy", "forbidden_by_rule", "budget", "limited", "model_not_found", "none_available")
    ):
        ShadowRun.rows.create(
            request_id=f"n{number}", tenant=tenants[0], at=NOW, rule="beside", model="m", shadow="n",
            cost_microusd=1000, took_us=1_000_000, failed=why,
        )  # fmt: skip
    (found,) = shadows(EVERYBODY, SINCE)
    assert (found.rule, found.model, found.shadow, found.runs, found.not_asked) == ("beside", "m", "n", 10, 6)
    assert found.cost_usd is not None
    assert found.took_s is not None
    assert found.failed is not None
    assert (round(found.cost_usd.value, 6), found.cost_usd.of) == (0.0005, 9)
    assert (found.took_s.value, found.failed.value) == (2.0, 0.1)
    assert found.good is None
    assert shadows(Reach(frozenset({tenants[1].pk})), SINCE) == []


async def test_results_and_what_was_learned_are_told_over_the_api(client: httpx.AsyncClient, parts: Parts) -> None:
    def make() -> dict[str, str]:
        tenant = Tenant.objects.create(name="three")
        for number, arm in enumerate(("a", "a", "b")):
            went(tenant, number, arm, cost=100)
        return {role: issue_key(role, "default", role=Role(role), reaches_all=True) for role in ("viewer", "operator")}

    keys = {role: {"x-api-key": key} for role, key in (await parts.reads.run(60, make)).items()}
    found: dict[str, dict[str, object]] = {}
    for method, path, who, status in (
        ("GET", "results", "viewer", 200),
        ("GET", "learned", "viewer", 200),
        ("DELETE", "learned", "viewer", 403),
        ("DELETE", "learned", "operator", 200),
    ):
        address = f"/api/admin/v1/routing/{path}"
        response = await client.request(method, address, headers=keys[who])
        assert response.status_code == status, response.text
        told = response.headers["Content-Type"], response.content
        assert faults(method, address, status, *told) == []
        found[f"{method} {path}"] = response.json()
    (split,) = found["GET results"]["splits"]  # type: ignore[misc]
    assert [(side["arm"], side["requests"]) for side in split["sides"]] == [("a", 2), ("b", 1)]
    assert split["sides"][1]["cost_usd"] == {"value": 0.0001, "low": None, "high": None, "of": 1}
    assert found["GET learned"]["version"] == 0
    assert found["DELETE learned"]["version"] == 1
