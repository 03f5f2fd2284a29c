"""Every route of the API, asked by everybody there can be, and held against its table and the kept page."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from orchestrator.asgi import application
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.models import ApiKey, Tenant
from orchestrator.parts import Parts
from tests.authorization import permissions
from tests.authorization.matrix import (
    FORBIDDEN,
    IN,
    KEYS,
    NOT_SHOWN,
    ROUTES,
    SCOPED,
    SHOWN,
    STATES,
    UNCLEAR,
    UNKNOWN,
    Asking,
    Key,
    everybody,
    verdict,
)
from tests.keys import issue_key

SAMPLES = {"{number}": "4711", "{digest}": "sha256:0", "{path:name}": "none/such"} | {
    f"{{{name}}}": "none" for name in ("key", "name", "prefix", "tenant", "owner", "reader", "request_id")
}
BODY = b"[]"  # what every endpoint that reads one refuses, so that nothing is changed
# What these say to everybody who gets in: there is no ollama.com here.
SAID_INSIDE = ("ollama cloud is disabled", "you are not currently signed in")


class Door:
    """The application, the keys that were issued, and somebody's session."""

    def __init__(self, credentials: dict[tuple[Key, str], str], other: str, session: str) -> None:
        self._credentials = credentials
        self._other = other
        self._session = session
        self._asked = 0

    async def ask(self, asking: Asking) -> str:
        """What becomes of it."""
        self._asked += 1
        number = self._asked  # each from an address of its own, or wrong keys would hold up the right ones
        query, headers = self._shown(asking)
        route = asking.route
        status, body = await send(
            route.method, path_of(route.path), query, headers, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        )
        assert status not in {405, 429, 500, 503}, (asking, status, body)
        if status == 401 and SAID_INSIDE[1] not in body:
            return UNKNOWN
        if status == 403 and SAID_INSIDE[0] not in body:
            return FORBIDDEN
        if status == 400 and ("different credentials" in body or route.method == "HEAD"):
            return UNCLEAR
        return IN

    def _shown(self, asking: Asking) -> tuple[str, dict[str, str]]:
        key = self._credentials[asking.key, asking.state]
        bearer = {"authorization": f"Bearer {key}"}
        match asking.carrier:
            case "bearer":
                return "", bearer
            case "x-api-key":
                return "", {"x-api-key": key}
            case "both the same":
                return "", bearer | {"x-api-key": key}
            case "both different":
                return "", bearer | {"x-api-key": self._other}
            case "session cookie":
                return "", {"cookie": f"{settings.SESSION_COOKIE_NAME}={self._session}"}
            case "query string":
                return (
                    f"key={key}&api_key={key}&x-api-key={key}&token={key}&access_token={key}&authorization=Bearer+{key}",
                    {},
                )
            case _:
                return "", {}


def path_of(route: str) -> str:
    """An address of the route."""
    return re.sub(r"\{[^}]+\}", lambda found: SAMPLES[found[0]], route)


async def send(method: str, path: str, query: str, headers: dict[str, str], address: str) -> tuple[int, str]:
    """Ask the real application, without a socket between."""
    said: list[Any] = []
    bodies = [BODY]

    async def receive() -> dict[str, Any]:
        if not bodies:  # the client stays, and says no more
            await asyncio.Event().wait()
        return {"type": "http.request", "body": bodies.pop(), "more_body": False}

    async def take(message: Any) -> None:
        said.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost"), *((name.encode(), value.encode()) for name, value in headers.items())],
        "client": (address, 1),
        "server": ("127.0.0.1", 11434),
    }
    await application(scope, receive, take)
    return said[0]["status"], b"".join(one.get("body", b"") for one in said[1:]).decode(errors="replace")


@pytest.fixture
async def door(parts: Parts) -> Door:
    return Door(*await parts.reads.run(60, _issue))


def _issue() -> tuple[dict[tuple[Key, str], str], str, str]:
    credentials = {}
    for key in (*KEYS, *SCOPED):
        for state in STATES if key in KEYS else ("valid",):
            tenant = "suspended" if state == "suspended" else "acme"
            name = f"{key.name} {state}"[:100]
            scopes = {"dialects": list(key.dialects), "families": list(key.families)}
            credentials[key, state] = issue_key(name, tenant, role=key.role, reaches_all=key.is_for_all, **scopes)
            row = ApiKey.objects.of(EVERYBODY).get(name=name)
            if state == "revoked":
                row.revoked_at = timezone.now()
            if state == "expired":
                row.expires_at = timezone.now() - timedelta(seconds=1)
            row.save()
    Tenant.objects.filter(name="suspended").update(suspended_at=timezone.now())
    other = issue_key("other", "globex", role=Role.ADMIN, reaches_all=True)
    browser = Client()
    browser.force_login(User.objects.create_superuser("root"), backend=settings.AUTHENTICATION_BACKENDS[0])
    return credentials, other, browser.cookies[settings.SESSION_COOKIE_NAME].value


@pytest.mark.parametrize("keys_required", [True, False])
async def test_everybody_is_let_in_where_the_table_says_so_and_nowhere_else(
    door: Door, parts: Parts, monkeypatch: pytest.MonkeyPatch, keys_required: bool
) -> None:
    monkeypatch.setattr(parts.identity, "_require_keys", keys_required)
    wrong, seen = [], Counter[tuple[str, str]]()
    for asking in everybody():
        found, expected = await door.ask(asking), verdict(asking, keys_required=keys_required)
        seen[asking.carrier, found] += 1
        if found != expected:
            wrong.append(f"{asking}: {found} and not {expected}")
    assert wrong == []
    assert {carrier for carrier, _ in seen} == {*SHOWN, *NOT_SHOWN}
    assert seen["bearer", IN] > len(ROUTES), "somebody gets in nearly everywhere"
    assert seen["both different", UNCLEAR] > len(ROUTES)
    assert (seen["session cookie", UNKNOWN] > 0) == keys_required


async def test_what_is_refused_is_said_in_the_callers_dialect_and_is_the_same_for_every_bad_key(door: Door) -> None:
    for number, route in enumerate(ROUTES):
        if verdict(Asking(route, Key(), state="revoked"), keys_required=True) == UNKNOWN:
            answers = set()
            for state in STATES[1:]:
                query, headers = door._shown(Asking(route, Key(), state=state))
                answers.add(
                    await send(
                        route.method,
                        path_of(route.path),
                        query,
                        headers | {"x-request-id": "one"},
                        f"10.9.9.{number}",
                    )
                )
            ((status, body),) = answers
            assert status == 401, route
            is_nested = route.path.startswith("/v1/")  # as OpenAI and Anthropic have it
            assert (f'"error":{"{" if is_nested else chr(34)}' in body) or route.method == "HEAD", route


def test_the_kept_page_says_what_the_table_says() -> None:
    kept = permissions.PAGE.read_text()
    assert kept == permissions.page(kept), "renew it: python -m tests.authorization.permissions"
