"""Where a request comes from when proxies stand in front: only those that are trusted are believed.

`X-Forwarded-For` is a list to which each proxy appends who called it. It is read from its end: the first address that
is no trusted proxy's is the caller's, and whatever stands before it anybody may have written.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any

from orchestrator.core.exchange import AtOnce, Exchange
from orchestrator.core.limits import Network
from orchestrator.core.scopes import is_within, plain_address

App = Callable[[Any, Any, Any], Awaitable[None]]
SCHEMES = {b"http": {"http": "http", "websocket": "ws"}, b"https": {"http": "https", "websocket": "wss"}}
SCHEMES |= {b"ws": SCHEMES[b"http"], b"wss": SCHEMES[b"https"]}
MOST_HOPS = 32


class Forwarded:
    """Wraps an ASGI application, which finds the caller's address and scheme in its scope."""

    def __init__(self, app: App, trusted: Sequence[Network]) -> None:
        self._app = app
        self._at_once = app.at_once if isinstance(app, AtOnce) else None
        self._trusted = tuple(trusted)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Pass on."""
        if scope["type"] != "lifespan":
            self._believe(scope)
        await self._app(scope, receive, send)

    def at_once(self, scope: MutableMapping[str, Any], exchange: Exchange) -> bool:
        """Pass on; when that does not answer, to believe the same once more changes nothing."""
        self._believe(scope)
        return self._at_once is not None and self._at_once(scope, exchange)

    def _believe(self, scope: MutableMapping[str, Any]) -> None:
        peer = scope.get("client")
        if peer and is_within(peer[0], self._trusted):
            self._read(scope, peer[0])

    def _read(self, scope: MutableMapping[str, Any], peer: str) -> None:
        hops: list[bytes] = []
        schemes: list[bytes] = []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                hops += value.split(b",")
            elif name == b"x-forwarded-proto":
                schemes += value.split(b",")
        if hops:
            address = caller_address(
                peer, (hop.decode("latin-1") for hop in reversed(hops[-MOST_HOPS:])), self._trusted
            )
            scope["client"] = (address, 0) if address else None
        if schemes and (known := SCHEMES.get(schemes[-1].strip().lower())):  # as the nearest proxy saw it
            scope["scheme"] = known[scope["type"]]


def caller_address(peer: str, hops: Iterable[str], trusted: Sequence[Network]) -> str:
    """Who called the first of the trusted proxies, the nearest hop first; empty when that cannot be known."""
    address = plain_address(peer)
    for hop in hops:
        address = plain_address(_without_port(hop.strip()))
        if not address or not is_within(address, trusted):
            return address
    return address


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
