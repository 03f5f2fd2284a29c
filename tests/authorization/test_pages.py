"""Every page and every live connection, asked for by everybody there can be, and held against the pages' table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
import websockets
from asgiref.sync import sync_to_async
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, get_resolver, resolve
from django.utils.timezone import now
from websockets.asyncio.client import connect

from dashboard import policy
from dashboard.policy import MODELS, PAGES, SOCKETS, Open, is_for_all, rule_of
from dashboard.routing import websocket_urlpatterns
from orchestrator.audit import note
from orchestrator.core.budgets import EVER
from orchestrator.core.permissions import ALLOWED, FOR_ALL_TENANTS, Permission, Role
from orchestrator.identity.links import make_link
from orchestrator.models import (
    AnswerOutcome,
    ApiKey,
    Budget,
    BudgetAlert,
    Grant,
    Limit,
    RouteDecision,
    ShadowRun,
    Team,
    Tenant,
)
from orchestrator.parts import Parts
from tests.dashboard.conftest import address, console, local  # noqa: F401  # fixtures
from tests.dashboard.site import session_of, somebody

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]
SAMPLES = {"int": "4711", "slug": "groq", "str": "no-such-token", "path": "4711", "anything": "4711"}
REGEXES = {
    r"^providers/(?P<name>[-a-z0-9]+)/switch/(?P<to>on|off)/$": "providers/groq/switch/on/",
    r"(?P<url>.*)$": "nothing/of/the/kind",
}


class Page(NamedTuple):
    """An address, and what its pattern is called."""

    path: str
    name: str


def every_page() -> Iterator[Page]:
    """Each pattern of the table of addresses once, but for the API's, which has a table of its own."""
    yield from _walk(get_resolver().url_patterns, "/", ())


def _walk(patterns: list[Any], before: str, apps: tuple[str, ...]) -> Iterator[Page]:
    for one in patterns:
        if isinstance(one, URLResolver):
            if one.app_name != "ninja":
                below = (*apps, one.app_name) if one.app_name else apps
                yield from _walk(one.url_patterns, before + _sample(one), below)
        else:
            assert isinstance(one, URLPattern)
            yield Page(before + _sample(one), ":".join((*apps, one.name or "")))


def _sample(one: URLPattern | URLResolver) -> str:
    pattern = str(one.pattern)
    if pattern in REGEXES:
        return REGEXES[pattern]
    if "app_label" in pattern:
        return "orchestrator/"
    assert not pattern.startswith("^"), f"add {pattern} to REGEXES"
    return re.sub(r"<(?:(\w+):)?\w+>", lambda found: SAMPLES[found[1] or "str"], pattern)


EVERY_PAGE = list(every_page())
SENDS_ON = {"admin:login"}  # to the sign-in page, whoever comes
ENDS_A_SESSION = {"dashboard:sign-out", "admin:logout"}
TWO_FACTOR = "/dashboard/account/two-factor/"
BEFORE_THE_CODE = {  # written down once more: what is needed to show the second factor, or to set it up
    "dashboard:account",
    "dashboard:two-factor",
    "dashboard:sign-out-elsewhere",
    "admin:password_change",
    "admin:password_change_done",
}


class Who(NamedTuple):
    """Somebody who comes."""

    name: str
    role: Role | None
    tenant: str | None  # None: every one

    def may(self, needed: Permission, *, for_all: bool) -> bool:
        """Written down once more, apart from the code that is tested."""
        if self.role is None or needed not in ALLOWED[self.role]:
            return False
        return self.tenant is None or not (for_all or needed in FOR_ALL_TENANTS)


EVERYBODY = [
    Who("nobody", None, None),
    *(Who(f"{role}-of-all", role, None) for role in Role),
    *(Who(f"{role}-of-acme", role, "acme") for role in Role),
]


@pytest.fixture
def cast(transactional_db: None) -> Mapping[str, User]:
    """All of them."""
    return {who.name: somebody(who.name, who.role, who.tenant) for who in EVERYBODY}


def outcome(response: Any) -> str:
    """What the door did: in, sign in, or refused."""
    if response.status_code == 302 and response["Location"].startswith("/dashboard/sign-in/?next="):
        return "sign in"
    templates = {template.name for template in response.templates}
    return "refused" if response.status_code == 403 and "dashboard/refused.html" in templates else "in"


def test_every_page_stands_in_the_table_and_every_row_has_a_page() -> None:
    names = {page.name for page in EVERY_PAGE}
    assert [name for name in names if rule_of(name) is None and not nobody_may(name)] == []
    assert set(PAGES) - names == set()
    for page in EVERY_PAGE:
        match = resolve(page.path)
        assert ":".join((*match.app_names, match.url_name or "")) == page.name, page


def nobody_may(name: str) -> bool:
    """Adding, changing and deleting where the table says that rows come about by themselves."""
    app, _, rest = name.removeprefix("admin:").partition("_")
    model, _, action = rest.partition("_")
    rows = MODELS.get(f"{app}.{model}")
    return rows is not None and rows.change is None and action in {"add", "delete"}


def test_every_model_of_the_admin_stands_in_the_table() -> None:
    assert {model._meta.label_lower for model in admin.site._registry} - set(MODELS) == set()


@pytest.mark.parametrize("method", ["get", "post"])
def test_nobody_gets_behind_a_page_that_their_role_does_not_open(console: Parts, cast, method: str) -> None:  # noqa: F811
    asked = 0
    for who in EVERYBODY:
        client = Client()
        client.force_login(cast[who.name])
        for page in EVERY_PAGE:
            rule = rule_of(page.name)
            is_in = isinstance(rule, Open) or (rule and who.may(rule, for_all=is_for_all(page.name)))
            if page.name in SENDS_ON or (is_in and (method == "post" or page.name in ENDS_A_SESSION)):
                continue  # it would be done
            response = getattr(client, method)(page.path)
            assert outcome(response) == ("in" if is_in else "refused"), (who.name, page)
            asked += 1
    assert asked > 400


def test_a_stranger_sees_the_door_and_nothing_else(console: Parts) -> None:  # noqa: F811
    for page in EVERY_PAGE:
        for method in ("get", "post"):
            expected = "in" if rule_of(page.name) is Open.ANYBODY and page.name not in SENDS_ON else "sign in"
            assert outcome(getattr(Client(), method)(page.path)) == expected, page


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("htmx", [{}, {"HX-Request": "true"}])
def test_who_has_not_shown_the_code_that_their_role_needs_is_sent_to_show_it(
    console: Parts,  # noqa: F811
    cast,
    settings,
    method: str,
    htmx: dict[str, str],
) -> None:
    settings.REQUIRE_TWO_FACTOR = "everybody"
    for who in EVERYBODY[1:]:
        client = Client(headers=htmx)
        client.force_login(cast[who.name])
        for page in EVERY_PAGE:
            if rule_of(page.name) is Open.ANYBODY or (method == "post" and page.name in BEFORE_THE_CODE):
                continue
            response = getattr(client, method)(page.path)
            sent_to = response.headers.get("HX-Redirect" if htmx else "Location")
            assert (sent_to == TWO_FACTOR) == (page.name not in BEFORE_THE_CODE), (who.name, page)


async def test_no_live_connection_opens_before_the_code(address: str, cast, settings) -> None:  # noqa: F811
    settings.REQUIRE_TWO_FACTOR = "everybody"
    for route in websocket_urlpatterns:
        where = address.replace("http", "ws") + "/" + str(route.pattern)
        for who in EVERYBODY:
            cookie = f"orchestrator_session={await sync_to_async(session_of)(cast[who.name])}"
            assert not await opens(where, address, cookie), who


def test_what_each_may_in_words(console: Parts, cast) -> None:  # noqa: F811
    """A few of them by hand, so that a slip in the tables shows."""
    expected = {
        "/dashboard/": {"viewer", "operator", "auditor", "admin"},
        "/dashboard/cache/purge/": {"operator", "admin"},
        "/dashboard/people/": {"auditor", "admin"},
        "/admin/orchestrator/apikey/": {"operator", "auditor", "admin"},
        "/admin/orchestrator/tenant/": {"auditor", "admin"},
        "/admin/orchestrator/tenant/add/": {"admin"},
        "/admin/cache/cacheentry/": {"operator", "auditor", "admin"},
        "/admin/registry/provider/": {"viewer", "operator", "auditor", "admin"},
        "/admin/registry/provider/add/": {"operator", "admin"},
        "/admin/orchestrator/requestrecord/add/": set(),
        "/admin/auth/user/": set(),
    }
    for path, roles in expected.items():
        for role in Role:
            client = Client()
            client.force_login(cast[f"{role}-of-all"])
            opens = client.get(path).status_code == 200
            assert opens == (role in roles), (path, role)


def test_people_of_one_tenant_see_no_list_of_every_tenants_rows(console: Parts, cast) -> None:  # noqa: F811
    client = Client()
    client.force_login(cast["admin-of-acme"])
    assert client.get("/dashboard/").status_code == 200
    for path in ("registry/provider", "cache/cacheentry", "orchestrator/requestrecord"):
        response = client.get(f"/admin/{path}/")
        assert response.status_code == 403, path
        assert b"for every tenant" in response.content
        assert f"/admin/{path}/" not in client.get("/admin/").content.decode()


def test_a_list_that_is_narrowed_shows_nothing_of_another_tenant(console: Parts, cast) -> None:  # noqa: F811
    other, third = Tenant.objects.create(name="globex-secret"), Tenant.objects.create(name="third-secret")
    key = ApiKey.objects.create(tenant=other, name="key-secret", prefix="secretsecr", digest="x")
    Team.objects.create(tenant=other, name="team-secret")
    Limit.objects.create(name="limit-secret", kind="requests", each="key", amount=1, per_s=1, key=key, tenant=other)
    budget = Budget.objects.create(name="budget-secret", period="total", each="all", amount_microusd=1, tenant=other)
    BudgetAlert.objects.create(budget_id=budget.pk, begins=EVER, share=50, at=now(), spent_microusd=1)
    Grant.objects.create(owner=other, reader=third)
    told = {"request_id": "secret", "tenant": other, "at": now()}
    RouteDecision.rows.create(**told, rules=1, document="{}")
    AnswerOutcome.rows.create(**told, model="secret", kind="feedback", good=1.0)
    ShadowRun.rows.create(**told, rule="secret", model="m", shadow="n", took_us=1)
    note("user:secret", "key.issued", "key-secret", other.pk)
    mine, every = Client(), Client()
    mine.force_login(cast["admin-of-acme"])
    every.force_login(cast["admin-of-all"])
    narrowed = [model for model, rows in MODELS.items() if rows.is_narrowed]
    for model in narrowed:
        path = f"/admin/{model.replace('.', '/')}/"
        assert b"secret" in every.get(path).content, model
        response = mine.get(path)
        assert response.status_code == 200, model
        assert b"secret" not in response.content, model
        pk = apps.get_model(model)._default_manager.order_by("-pk").values_list("pk", flat=True)[0]
        assert b"secret" not in mine.get(f"{path}{pk}/change/", follow=True).content, model
    assert len(narrowed) == 11


def test_a_page_without_a_row_is_refused_to_everybody(console: Parts, cast, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setattr(policy, "PAGES", {name: PAGES[name] for name in PAGES if name != "dashboard:cache"})
    for who in EVERYBODY:
        client = Client()
        client.force_login(cast[who.name])
        response = client.get("/dashboard/cache/")
        assert outcome(response) == "refused"
    assert b"Nobody may see it." in response.content


def test_a_page_that_is_shown_knows_whose_things_it_may_show(console: Parts, cast) -> None:  # noqa: F811
    client = Client()
    client.force_login(cast["viewer-of-acme"])
    assert client.get("/dashboard/").wsgi_request.reach.tenants == {cast["viewer-of-acme"].memberships.get().tenant_id}
    client.force_login(cast["viewer-of-all"])
    assert client.get("/dashboard/").wsgi_request.reach.tenants is None


def test_roles_are_read_once_for_a_page(console: Parts, cast) -> None:  # noqa: F811
    client = Client()
    client.force_login(cast["viewer-of-all"])
    with CaptureQueriesContext(connection) as asked:
        client.get("/dashboard/people/")  # refused, in a page that has a menu
    assert sum("orchestrator_membership" in query["sql"] for query in asked.captured_queries) == 1


def test_every_live_connection_stands_in_the_table() -> None:
    assert {route.name for route in websocket_urlpatterns} == set(SOCKETS)
    for route in websocket_urlpatterns:
        assert route.callback.consumer_class.name == route.name


async def test_a_live_connection_opens_for_whom_its_page_opens(address: str, cast) -> None:  # noqa: F811
    for route in websocket_urlpatterns:
        where = address.replace("http", "ws") + "/" + str(route.pattern)
        for who in EVERYBODY:
            cookie = f"orchestrator_session={await sync_to_async(session_of)(cast[who.name])}"
            assert await opens(where, address, cookie) == who.may(SOCKETS[route.name], for_all=False), who
        assert not await opens(where, address, "")


async def opens(where: str, origin: str, cookie: str) -> bool:
    headers = {"Cookie": cookie} if cookie else {}
    try:
        async with connect(where, origin=origin, additional_headers=headers, proxy=None):
            return True
    except websockets.InvalidStatus as error:
        return error.response.status_code != 403


def test_the_first_admin_comes_by_a_link(console: Parts) -> None:  # noqa: F811
    client = Client()
    client.post(f"/dashboard/sign-in/{make_link()}/")
    assert client.get("/admin/").status_code == 200
