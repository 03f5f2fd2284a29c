"""Every answer, of every route, to everybody and in every mood, says what a browser may do with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.cookies import SimpleCookie

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import User
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RegexPattern

from orchestrator.core.headers import DATA, DATA_POLICY, PAGE, PAGE_POLICY
from orchestrator.lean import LeanHandler
from orchestrator.parts import Parts
from tests.dashboard.site import served, session_of

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 9}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
NAMES = {"name": "openai", "to": "on", "number": "1", "key": "k", "digest": "d", "token": "t"}


def paths(patterns: list[URLPattern | URLResolver] | None = None, before: str = "/") -> Iterator[str]:
    """A path for every pattern there is, with something in each of its places."""
    for one in get_resolver().url_patterns if patterns is None else patterns:
        path = before + _filled(one)
        if isinstance(one, URLResolver):
            yield from paths(one.url_patterns, path)
        else:
            yield path


def _filled(one: URLPattern | URLResolver) -> str:
    text = str(one.pattern)
    if isinstance(one.pattern, RegexPattern):
        text = re.sub(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)", lambda match: NAMES.get(match[1], "1"), text)
        return re.sub(r"[\^$?]|\\[AZz]", "", text)
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda match: NAMES.get(match[1], "1"), text)


def faults(response: httpx.Response) -> list[str]:
    """What is wrong with what it says."""
    told = response.headers
    is_page = told.get("content-type", "").startswith("text/html")
    is_ours = response.request.url.path.startswith(("/dashboard/", "/admin/", "/static/"))
    wanted = {name: value for name, value in (PAGE if is_page or is_ours else DATA).items() if name != "Cache-Control"}
    found = [f"{name}: {told.get(name)}" for name, value in wanted.items() if told.get(name) != value]
    if found == [f"Content-Security-Policy: {told.get('Content-Security-Policy')}"] and is_page:
        policy = told.get("Content-Security-Policy", "")  # a page may have a stricter one
        if policy.replace("form-action 'none'", "form-action 'self'") == PAGE_POLICY:
            found = []
    if "no-store" not in told.get("cache-control", "") and not _is_file(response):
        found.append(f"Cache-Control: {told.get('cache-control')}")
    if "server" in told or "x-powered-by" in told:
        found.append("it tells what it is made of")
    for cookie in told.get_list("set-cookie"):
        for morsel in SimpleCookie(cookie).values():
            if not morsel["httponly"] or morsel["samesite"] != "Lax" or morsel["path"] != "/" or morsel["domain"]:
                found.append(f"Set-Cookie: {cookie}")
    return [f"{response.request.method} {response.request.url} {response.status_code} {fault}" for fault in found]


def _is_file(response: httpx.Response) -> bool:
    return response.request.url.path.startswith("/static/") and response.status_code == 200


@pytest.fixture
async def operator_client(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """The same, signed in."""
    user = await sync_to_async(User.objects.create_superuser)("mira", password="correct horse")
    client.cookies.set(settings.SESSION_COOKIE_NAME, await sync_to_async(session_of)(user), domain="localhost.local")
    return client


async def test_every_route_is_walked() -> None:
    walked = set(paths())
    for path in (
        "/dashboard/",
        "/dashboard/providers/openai/switch/on/",
        "/admin/registry/provider/1/change/",
        "/api/docs",
    ):
        assert path in walked
    assert len(walked) > 120
    assert not [path for path in walked if set(path) & set("<>()[]^$\\*")]


@pytest.mark.parametrize("method", METHODS)
async def test_a_stranger_is_answered_guarded_whatever_is_asked(client: httpx.AsyncClient, method: str) -> None:
    found = [fault for path in sorted(set(paths())) for fault in faults(await client.request(method, path))]
    assert not found


async def test_an_operator_is_answered_guarded_whatever_is_asked(operator_client: httpx.AsyncClient) -> None:
    found = []
    is_in = 0
    for path in sorted(set(paths())):
        if "logout" in path or "sign-out" in path:
            continue
        response = await operator_client.get(path)
        is_in += response.status_code == 200 and path.startswith(("/dashboard/", "/admin/"))
        found += faults(response)
    assert is_in > 20, "nobody was signed in"
    assert not found


@pytest.mark.parametrize(
    "path", ["/api/chat", "/api/generate", "/v1/chat/completions", "/v1/messages", "/v1/completions", "/v1/responses"]
)
@pytest.mark.parametrize("is_streamed", [True, False])
async def test_answers_are_guarded_new_and_from_memory(client: httpx.AsyncClient, path: str, is_streamed: bool) -> None:
    asked = HELLO | {"prompt": "hello", "input": "hello", "stream": is_streamed}
    for _ in range(2):
        response = await client.post(path, json=asked)
        assert response.status_code == 200
        assert not faults(response)


async def test_refusals_ahead_of_everything_are_guarded(client: httpx.AsyncClient) -> None:
    for path in ("/api/tags", "/v1/messages", "/dashboard/", "/static/css/base.css"):
        elsewhere = await client.get(path, headers={"Host": "rebound.example"})
        stranger = await client.get(path, headers={"Origin": "https://evil.example"})
        assert (elsewhere.status_code, stranger.status_code) == (403, 403)
        for response in (elsewhere, stranger):
            told = response.headers
            assert {name: told.get(name) for name in DATA} == DATA
    preflight = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}
    response = await client.options("/api/chat", headers=preflight)
    assert (response.status_code, response.headers["content-security-policy"]) == (204, DATA_POLICY)


async def test_files_are_kept_for_a_while_and_read_by_no_other_site(client: httpx.AsyncClient) -> None:
    response = await client.get("/static/css/base.css")
    assert response.status_code == 200
    assert "max-age" in response.headers["cache-control"]
    assert "access-control-allow-origin" not in response.headers
    assert not faults(response)
    assert not faults(await client.get("/static/there-is-none.css"))


async def test_behind_tls_browsers_are_told_to_come_by_it(parts: Parts) -> None:
    for has_tls in (False, True):
        handler = LeanHandler(1000, 1.0, has_tls=has_tls)
        transport = httpx.ASGITransport(handler)  # type: ignore[arg-type]  # an ASGI application
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            told = (await client.get("/api/version")).headers
            assert ("max-age=31536000" in told.get("strict-transport-security", "")) is has_tls


@pytest.mark.parametrize("is_staff", [True, False])
async def test_handshakes_of_live_pages_are_guarded(parts: Parts, is_staff: bool) -> None:
    from orchestrator.asgi import application

    user = await User.objects.acreate(username="mira", is_staff=is_staff, is_superuser=is_staff)
    cookie = f"{settings.SESSION_COOKIE_NAME}={await sync_to_async(session_of)(user)}"
    asked = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Cookie": cookie}
    async with served(application) as address:
        asked |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": address}
        async with (
            httpx.AsyncClient(timeout=60) as client,
            client.stream("GET", f"{address}/dashboard/live/", headers=asked) as got,
        ):
            assert got.status_code == (101 if is_staff else 403)
            assert {name: got.headers.get(name) for name in DATA} == DATA
