"""Keys, tenants, teams, grants, limits and the audit over the API."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.utils import timezone

from orchestrator.core.budgets import EVER
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.core.threads import WorkerThread
from orchestrator.ledger import beginning
from orchestrator.models import ApiKey, AuditEvent, Budget, BudgetAlert, BudgetPeriod, Team, Tenant
from orchestrator.parts import Parts
from orchestrator.registry.models import Provider
from tests.dashboard.spending import charge
from tests.keys import issue_key
from tests.product import Product
from tests.shapes import faults

ROOT = "/api/admin/v1"
SECRET = re.compile(r"orch_[a-z0-9]{10}_[A-Za-z0-9_-]{43}")


class Asking:
    """Asks with a key; each answer has the shape that is described, and is kept by nobody."""

    def __init__(self, client: httpx.AsyncClient, key: str) -> None:
        self._client, self._headers = client, {"Authorization": f"Bearer {key}", "X-Request-Id": "a-request"}

    async def __call__(self, method: str, path: str, status: int = 200, **how: Any) -> Any:
        response = await self._client.request(method, ROOT + path, headers=self._headers, **how)
        assert response.status_code == status, response.text
        kind = response.headers["Content-Type"]
        assert faults(method, response.request.url.path, status, kind, response.content) == []
        if status == 200:
            assert response.headers["Cache-Control"] == "no-store"
        tells = method == "POST" and (path == "/keys" or path.endswith("/rotate")) and status == 200
        assert len(SECRET.findall(response.text)) == int(tells)
        return response.json()


@pytest.fixture
async def ask(client: httpx.AsyncClient, parts: Parts) -> Asking:
    """With a key that may manage everything."""
    key = await parts.reads.run(60, lambda: issue_key("ops", "default", role=Role.ADMIN, reaches_all=True))
    return Asking(client, key)


@pytest.fixture
async def of_acme(client: httpx.AsyncClient, parts: Parts, ask: Asking) -> Asking:
    """With a key that may manage acme, beside which there is globex."""
    for name in ("acme", "globex"):
        await ask("POST", "/tenants", json={"name": name})
    return Asking(client, await parts.reads.run(60, lambda: issue_key("acme's", "acme", role=Role.ADMIN)))


async def test_a_key_is_issued_changed_rotated_and_revoked(ask: Asking, client: httpx.AsyncClient) -> None:
    made = await ask(
        "POST", "/keys", json={"name": "web", "dialects": ["ollama"], "expires_at": "2090-01-01T00:00:00Z"}
    )
    first = {"Authorization": f"Bearer {made['key']}"}
    assert (await client.get("/api/tags", headers=first)).status_code == 200
    path = f"/keys/{made['prefix']}"
    one = await ask("GET", path)
    assert one | {"key": made["key"], "last_used_at": None} == made
    changed = await ask("PATCH", path, json={"tags": ["prod"]})
    assert (changed["tags"], changed["dialects"], changed["expires_at"]) == (["prod"], ["ollama"], made["expires_at"])
    rotated = await ask("POST", f"{path}/rotate", json={"overlap_s": 60})
    assert (rotated["replaces"], rotated["tags"]) == (made["prefix"], ["prod"])
    assert (await client.get("/api/tags", headers=first)).status_code == 200
    revoked = await ask("DELETE", path)
    assert revoked["state"] == "revoked"
    assert await ask("DELETE", path) | {"last_used_at": None} == revoked | {"last_used_at": None}
    assert (await client.get("/api/tags", headers=first)).status_code == 401
    assert (await client.get("/api/tags", headers={"X-Api-Key": rotated["key"]})).status_code == 200
    await ask("POST", f"{path}/rotate", 409, json={})
    events = (await ask("GET", "/audit", params={"action": "key"}))["events"]
    assert [event["action"] for event in events] == ["key.revoked", "key.rotated", "key.changed", "key.issued"]
    ops = await ApiKey.objects.of(EVERYBODY).aget(name="ops")
    assert {(event["actor"], event["request_id"]) for event in events} == {(f"key:{ops.prefix}", "a-request")}
    assert events[2]["details"] == {"tags": [[], ["prod"]]}


async def test_what_is_wrong_is_told_by_field(ask: Asking) -> None:
    for body, words in (
        ({"name": "x", "colour": 1}, "colour: there is no such field"),
        ({"name": "x", "networks": ["10.0.0.1/8"]}, "networks[0]: the address has bits beyond its length"),
        ({"name": ""}, "name: a name has 1 to 100 characters"),
        ({}, "name: field required"),
        ({"name": "x", "role": "root"}, "role: should be 'viewer', 'operator', 'auditor' or 'admin'"),
        ({"name": "x", "team": "t"}, "team: there is none called 't' in default"),
    ):
        assert words in (await ask("POST", "/keys", 400, json=body))["error"]
    assert "state" in (await ask("GET", "/keys", 400, params={"state": "lost"}))["error"]
    await ask("GET", "/keys", 400, params={"limit": 501})
    await ask("POST", "/keys", 404, json={"name": "x", "tenant": "nowhere"})
    await ask("GET", "/keys/0123456789", 404)
    assert await ApiKey.objects.of(EVERYBODY).acount() == 1


async def test_lists_come_in_pages(ask: Asking) -> None:
    for number in range(5):
        await ask("POST", "/keys", json={"name": f"key {number}"})
    names, after = [], None
    for _ in range(3):
        page = await ask("GET", "/keys", params={"limit": 2} | ({"after": after} if after else {}))
        names += [key["name"] for key in page["keys"]]
        after = page["next"]
    assert names == ["key 4", "key 3", "key 2", "key 1", "key 0", "ops"]
    assert after is None
    newest = await ask("GET", "/audit", params={"limit": 1})
    assert (await ask("GET", "/audit", params={"before": newest["next"], "limit": 1}))["events"][0]["number"] == 4


async def test_tenants_teams_grants_and_limits(ask: Asking, of_acme: Asking) -> None:
    changed = await ask("PATCH", "/tenants/acme", json={"priority": 8})
    assert (changed["priority"], changed["suspended_at"]) == (8, None)
    await ask("POST", "/teams", json={"tenant": "acme", "name": "search"})
    await ask("POST", "/teams", 409, json={"tenant": "acme", "name": "search"})
    assert [one["name"] for one in (await of_acme("GET", "/teams"))["teams"]] == ["search"]
    await ask("POST", "/grants", json={"owner": "globex", "reader": "acme"})
    assert len((await of_acme("GET", "/grants"))["grants"]) == 1
    limit = {"name": "team", "kind": "tokens", "each": "key", "amount": 9, "per_s": 60, "tenant": "acme"}
    made = await of_acme("POST", "/limits", json=limit | {"team": "search"})
    assert await ask("GET", "/limits/team") == made
    assert (await of_acme("PATCH", "/limits/team", json={"is_off": True}))["is_off"]
    await of_acme("POST", "/limits", 403, json=limit | {"name": "all"})
    await of_acme("POST", "/limits", 400, json=limit | {"team": "search", "per_s": None})
    for path in ("/limits/team", "/teams/acme/search", "/grants/globex/acme"):
        await of_acme("DELETE", path)
        await of_acme("DELETE", path, 404)
    suspended = await ask("PATCH", "/tenants/acme", json={"suspended": True})
    assert suspended["suspended_at"]
    await of_acme("GET", "/keys", 401)


async def test_a_teams_charges_are_summed_up_before_anybody_has_to_wait(
    ask: Asking, of_acme: Asking, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: object) -> None:
        raise AssertionError("others wait to write by now")

    def spend() -> None:
        tenant = Tenant.objects.get(name="acme")
        charge(timezone.now(), team_id=Team.objects.create(tenant=tenant, name="search").pk)

    monkeypatch.setattr(beginning, "sum_before", too_late)
    await parts.reads.run(60, spend)
    made = await ask("POST", "/budgets", json={"name": "b", "period": "total", "each": "team", "amount_usd": "12.5"})
    assert [(one["counted"], one["spent_usd"]) for one in made["standings"]] == [("acme/search", "0.00056")]
    await ask("PATCH", "/budgets/b", json={"is_off": True})
    again = await ask("PATCH", "/budgets/b", json={"is_off": False})
    assert again["standings"] == made["standings"]
    await of_acme("PATCH", "/budgets/b", 404, json={"is_off": False})
    await of_acme("POST", "/budgets", 403, json={"name": "c", "period": "total", "each": "team", "amount_usd": "12.5"})


async def test_budgets_and_their_alerts(ask: Asking, of_acme: Asking, parts: Parts) -> None:
    await ask("POST", "/teams", json={"tenant": "acme", "name": "search"})
    budget = {"name": "team", "period": "total", "each": "model", "amount_usd": "12.5", "tenant": "acme"}
    made = await of_acme("POST", "/budgets", json=budget | {"team": "search"})
    assert (made["amount_usd"], made["begins"], made["renewed_at"]) == ("12.50", "1970-01-01", None)
    assert (made["standings"], made["is_given"]) == ([], False)
    assert await ask("GET", "/budgets/team") == made
    await of_acme("POST", "/budgets", 403, json=budget | {"name": "whole"})
    for wrong in ({"amount_usd": 0.5}, {"amount_usd": "1e3"}, {"amount": 5}, {"team": "other"}, {"provider": "opnai"}):
        await of_acme("POST", "/budgets", 400, json=budget | wrong)

    def spend() -> None:
        used = {"budget_id": Budget.objects.get().pk, "begins": EVER, "spent_microusd": 10_000_001}
        BudgetPeriod.objects.create(under="openai/gpt", **used, reserved_microusd=500_000)
        BudgetPeriod.objects.create(under="groq/llama", budget_id=used["budget_id"], begins=EVER, spent_microusd=1)
        for share in (50, 80):
            BudgetAlert.objects.create(under="openai/gpt", **used, share=share, at=timezone.now())

    await parts.reads.run(60, spend)
    changed = await of_acme("PATCH", "/budgets/team", json={"amount_usd": 11, "is_hard": False})
    first = {"counted": "openai/gpt", "spent_usd": "10.000001", "reserved_usd": "0.50", "free_usd": "0.499999"}
    first |= {"spent_here_usd": "10.000001", "granted_here_usd": None}
    assert changed["standings"][0] == first | {"share": 95, "pace_usd": None}
    assert [one["counted"] for one in changed["standings"]] == ["openai/gpt", "groq/llama"]
    (listed,) = (await of_acme("GET", "/budgets"))["budgets"]
    assert listed == changed | {"standings": changed["standings"][:1]}
    page = await of_acme("GET", "/budgets/alerts?limit=1")
    (alert,) = page["alerts"]
    assert (alert["budget"], alert["counted"], alert["share"], alert["spent_usd"]) == (
        "team",
        "openai/gpt",
        80,
        "10.000001",
    )
    rest = await ask("GET", f"/budgets/alerts?budget=team&before={page['next']}")
    assert ([one["share"] for one in rest["alerts"]], rest["next"]) == ([50], None)
    await ask("GET", "/budgets/alerts?budget=other", 404)
    await ask(
        "POST", "/budgets", json={"name": "theirs", "period": "day", "each": "all", "amount_usd": 1, "tenant": "globex"}
    )
    for method, body in (("GET", None), ("PATCH", {"is_off": True}), ("DELETE", None)):
        await of_acme(method, "/budgets/theirs", 404, json=body)
    await of_acme("GET", "/budgets/alerts?budget=theirs", 404)
    assert [one["name"] for one in (await of_acme("GET", "/budgets"))["budgets"]] == ["team"]
    await of_acme("DELETE", "/budgets/team")
    await of_acme("DELETE", "/budgets/team", 404)
    assert (await ask("GET", "/budgets/alerts"))["alerts"] == []


async def test_who_manages_one_tenant_finds_nothing_of_others(ask: Asking, of_acme: Asking) -> None:
    theirs = (await ask("POST", "/keys", json={"name": "x", "tenant": "globex"}))["prefix"]
    limit = {"kind": "queue", "each": "all", "amount": 1}
    await ask("POST", "/teams", json={"tenant": "globex", "name": "t"})
    await ask("POST", "/limits", json=limit | {"name": "theirs", "tenant": "globex"})
    await ask("POST", "/tenants", json={"name": "initech"})
    await ask("POST", "/grants", json={"owner": "globex", "reader": "initech"})
    for method, path, body in (
        ("GET", f"/keys/{theirs}", None),
        ("PATCH", f"/keys/{theirs}", {"name": "mine"}),
        ("POST", f"/keys/{theirs}/rotate", {}),
        ("DELETE", f"/keys/{theirs}", None),
        ("POST", "/keys", {"name": "x", "tenant": "globex"}),
        ("GET", "/keys?tenant=globex", None),
        ("PATCH", "/tenants/globex", {"priority": 1}),
        ("POST", "/teams", {"tenant": "globex", "name": "u"}),
        ("DELETE", "/teams/globex/t", None),
        ("POST", "/grants", {"owner": "acme", "reader": "globex"}),
        ("POST", "/grants", {"owner": "globex", "reader": "acme"}),
        ("DELETE", "/grants/globex/initech", None),
        ("GET", "/limits/theirs", None),
        ("PATCH", "/limits/theirs", {"amount": 2}),
        ("DELETE", "/limits/theirs", None),
        ("GET", "/audit?tenant=globex", None),
    ):
        told = await of_acme(method, path, 404, json=body)
        absent = path.replace("globex", "nowhere").replace(theirs, "0123456789").replace("/theirs", "/none")
        if body:
            body = {field: "nowhere" if value == "globex" else value for field, value in body.items()}
        missing = await of_acme(method, absent, 404, json=body)
        assert re.sub("'.*?'", "", told["error"]) == re.sub("'.*?'", "", missing["error"]), "nor that it is there"
    for kind in ("keys", "teams", "grants", "limits"):
        told = await of_acme("GET", f"/{kind}")
        assert "globex" not in str(told)
        assert (kind == "keys") == bool(told[kind])
    assert {event["tenant"] for event in (await of_acme("GET", "/audit"))["events"]} == {"acme"}
    await of_acme("POST", "/keys", 403, json={"name": "up", "tenant": "acme", "role": "admin", "reaches_all": True})


@pytest.mark.parametrize("role", list(Role))
async def test_each_role_may_what_its_permissions_say(
    ask: Asking, client: httpx.AsyncClient, parts: Parts, role: Role
) -> None:
    key = await parts.reads.run(60, lambda: issue_key("r", "default", role=role, reaches_all=True))
    theirs = Asking(client, key)
    sees_keys, changes_keys, sees_people, changes_people, sees_audit = {
        Role.VIEWER: (403, 403, 403, 403, 403),
        Role.OPERATOR: (200, 200, 403, 403, 403),
        Role.AUDITOR: (200, 403, 200, 403, 200),
        Role.ADMIN: (200, 200, 200, 200, 200),
    }[role]
    for path in ("/keys", "/teams", "/limits"):
        await theirs("GET", path, sees_keys)
    for path in ("/budgets", "/budgets/alerts"):
        await theirs("GET", path, 200)
    for path in ("/tenants", "/grants"):
        await theirs("GET", path, sees_people)
    await theirs("GET", "/audit", sees_audit)
    await theirs("POST", "/keys", changes_keys, json={"name": "x"})
    await theirs("POST", "/teams", changes_keys, json={"name": "x"})
    limit = {"name": "l", "kind": "queue", "each": "all", "amount": 1000}
    await theirs("POST", "/limits", changes_keys, json=limit)
    budget = {"name": "b", "period": "day", "each": "all", "amount_usd": "5"}
    await theirs("POST", "/budgets", changes_keys, json=budget)
    await theirs("POST", "/tenants", changes_people, json={"name": "x"})


async def test_no_key_and_a_key_without_a_role_manage_nothing(client: httpx.AsyncClient, parts: Parts) -> None:
    key = await parts.reads.run(60, lambda: issue_key("plain", "default"))
    for headers in ({}, {"Authorization": f"Bearer {key}"}):
        for path in ("keys", "teams", "limits", "budgets", "budgets/alerts", "tenants", "grants", "audit"):
            assert (await client.get(f"{ROOT}/{path}", headers=headers)).status_code == 403
    assert not await AuditEvent.objects.of(EVERYBODY).aexists()


class Queue:
    """The thread of management, which is busy until it is told to go on."""

    def __init__(self, thread: WorkerThread) -> None:
        self._thread, self._began, self.goes_on = thread, threading.Event(), threading.Event()

    def _work(self) -> bool:
        self._began.set()
        return self.goes_on.wait(30)

    async def hold(self) -> None:
        """Make it busy."""
        self._task = asyncio.create_task(self._thread.run(30, self._work))
        assert await asyncio.to_thread(self._began.wait, 10)

    async def waits(self) -> None:
        """Return when something waits for it: the request is let in by then."""
        async with asyncio.timeout(60):
            while self._thread._calls.empty():
                await asyncio.sleep(0.001)

    async def go_on(self) -> None:
        """It works off what waits."""
        self.goes_on.set()
        assert await self._task


@pytest.fixture
def queue(parts: Parts) -> Iterator[Queue]:
    """What stands before the thread of management; a test that fails leaves no thread behind."""
    queue = Queue(parts.managing)
    yield queue
    queue.goes_on.set()


@pytest.mark.parametrize(
    ("taken", "status"),
    [
        ({"revoked_at": timezone.now()}, 401),
        ({"expires_at": timezone.now()}, 401),
        ({"networks": ["10.0.0.0/8"]}, 403),
        ({"role": Role.VIEWER}, 403),
        ({"reaches_all": False}, 403),
    ],
)
@pytest.mark.parametrize(
    ("method", "path", "how"),
    [
        ("POST", "/tenants", {"json": {"name": "x"}}),
        ("PUT", "/providers/x", {"json": {"kind": "groq"}}),
        ("DELETE", "/cache", {"params": {"tenant": "acme", "all": True}}),
    ],
)
async def test_what_waited_is_done_by_what_the_key_may_by_then(
    ask: Asking,
    parts: Parts,
    queue: Queue,
    method: str,
    path: str,
    how: Any,
    taken: dict[str, Any],
    status: int,
) -> None:
    """The key could do it when it was let in, and cannot any more when its turn comes."""
    await ask("POST", "/tenants", json={"name": "acme"})
    generation = parts.cache.generation()
    await queue.hold()
    asked = asyncio.create_task(ask(method, path, status, **how))
    await queue.waits()
    await ApiKey.objects.of(EVERYBODY).filter(name="ops").aupdate(**taken)
    await queue.go_on()
    await asked
    assert await Tenant.objects.acount() == 2
    assert not await Provider.objects.filter(name="x").aexists()
    assert parts.cache.generation() == generation
    assert await AuditEvent.objects.of(EVERYBODY).acount() == 1


async def test_a_purge_that_was_done_is_in_the_audit_whatever_became_of_its_key(ask: Asking, queue: Queue) -> None:
    await queue.hold()
    asked = asyncio.create_task(ask("DELETE", "/cache", params={"all": True}))
    await queue.waits()
    await ApiKey.objects.of(EVERYBODY).filter(name="ops").aupdate(revoked_at=timezone.now())
    await queue.go_on()
    await asked
    event = await AuditEvent.objects.of(EVERYBODY).aget()
    assert event.action == "cache.purged"


async def test_a_change_that_fails_leaves_no_event(ask: Asking) -> None:
    await ask("POST", "/tenants", json={"name": "acme"})
    await ask("POST", "/tenants", 409, json={"name": "acme"})
    await ask("POST", "/keys", 400, json={"name": "x", "reaches_all": True})
    assert await AuditEvent.objects.of(EVERYBODY).acount() == 1
    assert await Tenant.objects.acount() == 2


def test_the_running_product_is_managed(product: Product, admin_key: str) -> None:
    with httpx.Client(base_url=product.base_url, timeout=30, headers={"Authorization": f"Bearer {admin_key}"}) as root:
        assert root.post(f"{ROOT}/tenants", json={"name": "managed"}).status_code == 200
        made = root.post(f"{ROOT}/keys", json={"name": "web", "tenant": "managed", "tags": ["prod"]})
        assert (made.status_code, made.headers["Cache-Control"]) == (200, "no-store")
        key = made.json()
        theirs = {"Authorization": f"Bearer {key['key']}"}
        assert httpx.get(f"{product.base_url}/api/tags", headers=theirs, timeout=30).status_code == 200
        rotated = root.post(f"{ROOT}/keys/{key['prefix']}/rotate", json={"overlap_s": 0}).json()
        assert httpx.get(f"{product.base_url}/api/tags", headers=theirs, timeout=30).status_code == 401
        theirs = {"Authorization": f"Bearer {rotated['key']}"}
        assert httpx.get(f"{product.base_url}/api/tags", headers=theirs, timeout=30).status_code == 200
        assert root.patch(f"{ROOT}/tenants/managed", json={"suspended": True}).json()["suspended_at"]
        assert httpx.get(f"{product.base_url}/api/tags", headers=theirs, timeout=30).status_code == 401


def test_keys_that_are_made_at_once_are_as_many_events(product: Product, admin_key: str) -> None:
    async def all_of_them() -> list[int]:
        headers = {"Authorization": f"Bearer {admin_key}"}
        async with httpx.AsyncClient(base_url=product.base_url, timeout=60, headers=headers) as client:
            before = (await client.get(f"{ROOT}/audit", params={"limit": 1})).json()["events"]
            made = await asyncio.gather(*(client.post(f"{ROOT}/keys", json={"name": "x"}) for _ in range(40)))
            assert {one.status_code for one in made} == {200}
            events = (await client.get(f"{ROOT}/audit", params={"limit": 500})).json()["events"]
            start = before[0]["number"] if before else 0
            return [event["number"] - start for event in events if event["number"] > start]

    assert asyncio.run(all_of_them()) == list(range(40, 0, -1))
