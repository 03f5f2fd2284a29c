"""Who calls is believed of trusted proxies, and of nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import httpx
import pytest

from orchestrator import env
from orchestrator.asgi import application
from orchestrator.core.limits import PRIVATE_NETWORKS
from orchestrator.env import BadSetting
from orchestrator.forwarded import Forwarded
from orchestrator.parts import Parts
from tests.keys import issue_key

PROXIES = tuple(map(ip_network, ("10.0.0.0/8", "2001:db8:1::/48")))
Scope = dict[str, Any]


async def seen(peer: tuple[str, int] | None, *headers: tuple[str, str], kind: str = "http") -> Scope:
    """What the application behind finds."""
    found: list[Scope] = []

    async def application(scope: Scope, receive: Any, send: Any) -> None:
        found.append(scope)

    scheme = "ws" if kind == "websocket" else "http"
    scope = {
        "type": kind,
        "client": peer,
        "scheme": scheme,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }
    await Forwarded(application, PROXIES)(scope, None, None)
    return found[0]


ADDRESSES = {
    "one hop": ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
    "what came before is anybody's word": ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
    "several proxies": ("10.0.0.1", ["6.6.6.6, 1.2.3.4, 10.9.9.9, 10.8.8.8"], "1.2.3.4"),
    "several headers": ("10.0.0.1", ["6.6.6.6", "1.2.3.4", "10.9.9.9"], "1.2.3.4"),
    "a stranger's word": ("1.1.1.1", ["10.0.0.1"], "1.1.1.1"),
    "no header": ("10.0.0.1", [], "10.0.0.1"),
    "a caller among the proxies": ("10.0.0.1", ["10.0.0.7"], "10.0.0.7"),
    "a mapped proxy": ("::ffff:10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
    "a mapped stranger": ("::ffff:1.1.1.1", ["10.0.0.1"], "::ffff:1.1.1.1"),
    "a mapped caller": ("10.0.0.1", ["::ffff:1.2.3.4"], "1.2.3.4"),
    "version 6": ("2001:db8:1::5", ["2001:db8:2::7, 2001:db8:1::6"], "2001:db8:2::7"),
    "with ports": ("10.0.0.1", ["1.2.3.4:5678, 10.1.1.1:80"], "1.2.3.4"),
    "version 6 with a port": ("10.0.0.1", ["[2001:db8:2::7]:443"], "2001:db8:2::7"),
    "another way to write it": ("10.0.0.1", ["2001:0DB8:2:0::7"], "2001:db8:2::7"),
    "a proxy that does not know": ("10.0.0.1", ["1.2.3.4, unknown"], None),
    "no address": ("10.0.0.1", ["_hidden"], None),
    "nothing": ("10.0.0.1", [""], None),
    "numbers that are no address": ("10.0.0.1", ["999.1.1.1"], None),
    "bytes": ("10.0.0.1", ["\xff"], None),
}


@pytest.mark.parametrize("case", ADDRESSES)
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_the_caller_is_the_last_who_is_no_proxy(case: str, kind: str) -> None:
    peer, headers, expected = ADDRESSES[case]
    scope = await seen((peer, 5), *(("x-forwarded-for", value) for value in headers), kind=kind)
    client = scope["client"]
    assert (client and client[0]) == expected


@pytest.mark.parametrize("peer", [None, ("/run/web.sock", 0), ("", 0), ("testclient", 1)])
async def test_a_unix_socket_and_what_is_no_address_are_no_proxies(peer: tuple[str, int] | None) -> None:
    scope = await seen(peer, ("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "https"))
    assert (scope["client"], scope["scheme"]) == (peer, "http")


@pytest.mark.parametrize(
    ("value", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("http", "http"),
        ("https, http", "http"),
        ("gopher", "http"),
        ("", "http"),
    ],
)
async def test_the_scheme_is_as_the_nearest_proxy_saw_it(value: str, scheme: str) -> None:
    assert (await seen(("10.0.0.1", 5), ("x-forwarded-proto", value)))["scheme"] == scheme
    assert (await seen(("1.1.1.1", 5), ("x-forwarded-proto", value)))["scheme"] == "http"
    sockets = await seen(("10.0.0.1", 5), ("x-forwarded-proto", value), kind="websocket")
    assert sockets["scheme"] == {"http": "ws", "https": "wss"}[scheme]


@asynccontextmanager
async def calling(peer: str) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(Forwarded(application, PROXIES), client=(peer, 5))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:11434") as client:
        yield client


async def test_a_key_is_kept_to_the_addresses_callers_have_and_not_to_those_they_claim(parts: Parts) -> None:
    key = await parts.reads.run(60, lambda: issue_key("office", "acme", networks=["192.0.2.0/24"]))

    async def status(peer: str, forwarded: str) -> int:
        async with calling(peer) as client:
            headers = {"x-api-key": key, "x-forwarded-for": forwarded}
            return (await client.get("/api/tags", headers=headers)).status_code

    assert await status("10.0.0.1", "192.0.2.7") == 200
    assert await status("::ffff:192.0.2.7", "") == 200
    assert await status("10.0.0.1", "192.0.2.7, 6.6.6.6") == 403
    assert await status("6.6.6.6", "192.0.2.7") == 403
    assert await status("10.0.0.1", "unknown") == 403


def test_networks_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "SETTINGS", {})

    def read() -> object:
        return env.networks("ORCHESTRATOR_TEST_ONLY", PRIVATE_NETWORKS, "help", shown="")

    assert read() == PRIVATE_NETWORKS
    monkeypatch.setenv("ORCHESTRATOR_TEST_ONLY", " 203.0.113.5, 2001:db8::/32 ")
    assert read() == (ip_network("203.0.113.5/32"), ip_network("2001:db8::/32"))
    for wrong in ("*", "proxy.internal", "10.0.0.1/8", "10.0.0"):
        monkeypatch.setenv("ORCHESTRATOR_TEST_ONLY", wrong)
        with pytest.raises(BadSetting, match="addresses and networks"):
            read()
