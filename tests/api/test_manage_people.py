"""People over the API: let in, given roles, sent a link, removed, by keys that may."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.identity.links import redeem_link
from orchestrator.models import ApiKey, AuditEvent, Membership, SignInLink, Tenant
from orchestrator.parts import Parts
from tests.dashboard.site import somebody
from tests.dashboard.test_sign_in import set_up
from tests.keys import issue_key
from tests.shapes import faults

ROOT = "/api/admin/v1/people"


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
        return response.json()


@pytest.fixture
async def ask(client: httpx.AsyncClient, parts: Parts) -> Asking:
    """With a key that may manage everything; there are acme and globex."""
    for name in ("acme", "globex"):
        await Tenant.objects.acreate(name=name)
    key = await parts.reads.run(60, lambda: issue_key("ops", "default", role=Role.ADMIN, reaches_all=True))
    return Asking(client, key)


@pytest.fixture
async def of_acme(client: httpx.AsyncClient, parts: Parts, ask: Asking) -> Asking:
    """With a key that may manage acme."""
    return Asking(client, await parts.reads.run(60, lambda: issue_key("acme's", "acme", role=Role.ADMIN)))


def roles(told: Any) -> dict[str | None, str]:
    return {one["tenant"]: one["role"] for one in told["roles"]}


async def redeemed(link: str) -> str | None:
    """Whom a link signs in; None when it is void."""
    found = await sync_to_async(redeem_link)(link.split("/")[-2])
    return found.user.get_username() if found else None


async def test_somebody_is_let_in_changed_and_removed(ask: Asking, of_acme: Asking) -> None:
    made = await ask("POST", json={"name": "mira", "role": "viewer", "tenant": "acme"})
    assert (made["name"], roles(made), made["last_sign_in_at"]) == ("mira", {"acme": "viewer"}, None)
    assert made["link"].startswith("/dashboard/sign-in/")
    assert await ask("GET", "/mira") == {field: value for field, value in made.items() if field != "link"}

    less = await ask("PUT", "/mira/role", json={"role": "viewer", "tenant": "acme"})
    assert not less["signed_out"]
    more = await ask("PUT", "/mira/role", json={"role": "auditor", "tenant": None})
    assert (roles(more), more["signed_out"]) == ({"acme": "viewer", None: "auditor"}, True)
    assert await redeemed(made["link"]) is None

    first, second = [(await ask("POST", "/mira/link"))["link"] for _ in range(2)]
    assert await redeemed(first) is None
    assert await redeemed(second) == "mira"
    taken = await ask("PUT", "/mira/role", json={"role": None, "tenant": None})
    assert (roles(taken), taken["signed_out"]) == ({"acme": "viewer"}, False)

    await sync_to_async(set_up)(await User.objects.aget(username="mira"))
    assert (await of_acme("GET", "/mira"))["has_second_factor"]
    assert not (await of_acme("DELETE", "/mira/two-factor"))["has_second_factor"]
    assert await of_acme("DELETE", "/mira") == {"deleted": True}
    await of_acme("DELETE", "/mira", 404)
    assert not (await User.objects.aget(username="mira")).is_active
    events = [event async for event in AuditEvent.objects.of(EVERYBODY).order_by("pk")]
    assert [event.action.removeprefix("person.") for event in events] == [
        *("invited", "role_given", "role_given", "link_made", "link_made", "role_taken", "two_factor_off", "removed")
    ]
    assert {(event.actor[:4], event.subject, event.request_id) for event in events} == {("key:", "mira", "a-request")}


async def test_a_role_of_every_tenant_is_asked_for_and_never_meant_by_silence(ask: Asking) -> None:
    for path, body in (("", {"name": "mira", "role": "admin"}), ("/mira/role", {"role": "admin"})):
        said = await ask("POST" if not path else "PUT", path, 400, json=body)
        assert "tenant: field required" in said["error"]
    await ask("POST", "", 400, json={"name": "a b", "role": "viewer", "tenant": None})
    await ask("POST", "", 400, json={"name": "mira", "role": "king", "tenant": None})
    await ask("POST", "", 404, json={"name": "mira", "role": "viewer", "tenant": "nowhere"})
    assert not await User.objects.aexists()


async def test_people_come_in_pages_and_by_tenant(ask: Asking, of_acme: Asking) -> None:
    for number in range(3):
        await sync_to_async(somebody)(f"name{number}", Role.VIEWER, "acme")
    await sync_to_async(somebody)("other", Role.VIEWER, "globex")
    await sync_to_async(User.objects.create_superuser)("root")
    found, after = [], None
    for _ in range(3):
        page = await ask("GET", params={"limit": 2} | ({"after": after} if after else {}))
        found += [one["name"] for one in page["people"]]
        after = page["next"]
    assert (found, after) == (["name0", "name1", "name2", "other", "root"], None)
    assert roles(await ask("GET", "/root")) == {None: "admin"}
    for asking, query in ((ask, {"tenant": "acme"}), (of_acme, {})):
        page = await asking("GET", params=query)
        assert [one["name"] for one in page["people"]] == ["name0", "name1", "name2"]
    await of_acme("GET", "?tenant=globex", 404)


async def test_a_key_of_one_tenant_has_a_say_there_and_nowhere_else(ask: Asking, of_acme: Asking) -> None:
    bob = await sync_to_async(somebody)("bob", Role.VIEWER, "acme")
    await sync_to_async(somebody)("carl", Role.VIEWER, "globex")
    await sync_to_async(User.objects.filter(pk=bob.pk).update)(is_superuser=True)
    assert roles(await of_acme("GET", "/bob")) == {"acme": "viewer"}, "what is elsewhere is not theirs to know"
    await sync_to_async(User.objects.filter(pk=bob.pk).update)(is_superuser=False)
    assert roles(await of_acme("PUT", "/bob/role", json={"role": "admin", "tenant": "acme"})) == {"acme": "admin"}
    await of_acme("PUT", "/bob/role", 404, json={"role": "viewer", "tenant": "globex"})
    await of_acme("PUT", "/bob/role", 403, json={"role": "viewer", "tenant": None})
    await of_acme("POST", "", 403, json={"name": "dora", "role": "viewer", "tenant": None})
    for method, path, how in (
        ("GET", "", {}),
        ("DELETE", "", {}),
        ("POST", "/link", {}),
        ("DELETE", "/two-factor", {}),
        ("PUT", "/role", {"json": {"role": "viewer", "tenant": "acme"}}),
    ):
        there = await of_acme(method, f"/carl{path}", 404, **how)
        absent = await of_acme(method, f"/nobody{path}", 404, **how)
        assert there["error"].replace("carl", "nobody") == absent["error"]
    await ask("PUT", "/bob/role", json={"role": "viewer", "tenant": "globex"})
    for method, path in (("DELETE", ""), ("POST", "/link"), ("DELETE", "/two-factor")):
        await of_acme(method, f"/bob{path}", 403)  # it would be a way into globex
    told = await of_acme("PUT", "/bob/role", json={"role": None, "tenant": "acme"})
    assert roles(told) == {}
    await of_acme("GET", "/bob", 404)


async def test_nobody_changes_their_own_role_by_a_key_and_the_last_admin_stays(ask: Asking) -> None:
    boss = await sync_to_async(somebody)("boss", Role.ADMIN)
    await ask("PUT", "/boss/role", 409, json={"role": "viewer", "tenant": None})
    await ask("DELETE", "/boss", 409)
    await sync_to_async(somebody)("other", Role.ADMIN)
    await ApiKey.objects.of(EVERYBODY).filter(name="ops").aupdate(owner=boss)
    for method, path, how in (
        ("PUT", "/boss/role", {"json": {"role": "viewer", "tenant": None}}),
        ("DELETE", "/boss", {}),
        ("DELETE", "/boss/two-factor", {}),
    ):
        assert "their own role" in (await ask(method, path, 403, **how))["error"]
    assert await Membership.objects.filter(user=boss, role=Role.ADMIN).aexists()


@pytest.mark.parametrize(
    "bound",
    [
        {"networks": ["127.0.0.0/8"]},
        {"expires_at": "2090-01-01T00:00:00Z"},
        {"model_patterns": ["openai/*"]},
        {"dialects": ["ollama"]},
        {"families": ["chat"]},
    ],
)
async def test_a_key_that_is_kept_to_something_lets_nobody_in_who_would_not_be(
    client: httpx.AsyncClient, parts: Parts, ask: Asking, bound: dict[str, Any]
) -> None:
    key = await parts.reads.run(60, lambda: issue_key("b", "default", role=Role.ADMIN, reaches_all=True, **bound))
    bounded = Asking(client, key)
    await sync_to_async(somebody)("bob", Role.VIEWER, "acme")
    await sync_to_async(somebody)("root", Role.ADMIN)
    for method, path, how in (
        ("POST", "", {"json": {"name": "dora", "role": "viewer", "tenant": "acme"}}),
        ("PUT", "/bob/role", {"json": {"role": "admin", "tenant": "acme"}}),
        ("POST", "/bob/link", {}),
        ("DELETE", "/bob/two-factor", {}),
    ):
        assert "Nobody gives more than they have" in (await bounded(method, path, 403, **how))["error"]
    assert roles(await bounded("GET", "/bob")) == {"acme": "viewer"}
    assert not await SignInLink.objects.aexists()
    assert roles(await bounded("PUT", "/bob/role", json={"role": None, "tenant": "acme"})) == {}  # takes away it may
    await bounded("DELETE", "/bob")
