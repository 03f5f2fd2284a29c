"""Which web pages and host names may speak to us: runs before routing, for every path.

A server on loopback must not be reachable from any web page a user happens to open, neither by a
cross-origin call nor by a host name that someone points at 127.0.0.1.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, MutableMapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from asgiref.typing import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope

from orchestrator.api.anthropic import error_value, is_anthropic
from orchestrator.api.replies import to_json
from orchestrator.core.addresses import is_own
from orchestrator.core.headers import DATA, as_bytes
from orchestrator.core.ids import hex_id

LOCAL_NAMES = {"localhost", "127.0.0.1", "0.0.0.0", "[::1]"}  # noqa: S104  # names in an allow list, nothing is bound
LOCAL_SCHEMES = ("app://", "file://", "tauri://", "vscode-webview://", "vscode-file://")
LOCAL_SUFFIXES = (".localhost", ".local", ".internal")
METHODS = b"GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
STAINLESS = [
    "Arch",
    "Async",
    "Custom-Poll-Interval",
    "Helper-Method",
    "Lang",
    "Os",
    "Package-Version",
    "Poll-Helper",
    "Retry-Count",
    "Runtime",
    "Runtime-Version",
    "Timeout",
]
HEADERS = ",".join(
    [
        "Authorization",
        "Content-Type",
        "User-Agent",
        "Accept",
        "X-Requested-With",
        "OpenAI-Beta",
        *(f"X-Stainless-{name}" for name in STAINLESS),
        "X-Api-Key",
        "Anthropic-Version",
        "Anthropic-Beta",
        "Anthropic-Dangerous-Direct-Browser-Access",
        "Cache-Control",
        "X-Request-Id",
        "X-Orchestrator-Cache-Namespace",
        "X-Orchestrator-Tags",
    ]
).encode()
# What a page may read of an answer, beside what it always may.
SHOWN = b", ".join(
    [
        b"Age",
        b"Cache-Status",
        b"RateLimit",
        b"RateLimit-Policy",
        b"Request-Id",
        b"Retry-After",
        b"Server-Timing",
        b"X-Request-Id",
        b"X-Orchestrator-Cap",
        b"X-Orchestrator-Model",
        b"X-Orchestrator-Route",
        b"X-Orchestrator-Unsupported",
    ]
)
_GUARDS = as_bytes(DATA)
PREFLIGHT_VARY = b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"


class Origins:
    """Wraps an ASGI application; answers 403 itself, and preflights."""

    def __init__(
        self, app: ASGI3Application, *, origins: Iterable[str], is_loopback: bool, hosts: Iterable[str]
    ) -> None:
        self._app = app
        self._checks_hosts = is_loopback
        self._allows_all = "*" in (patterns := list(origins))
        self._patterns = [
            re.compile(".*".join(map(re.escape, pattern.split("*", 1))), re.IGNORECASE) for pattern in patterns
        ]
        self._hosts = {host.lower() for host in hosts} | {"", "localhost", socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Pass on what may pass."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if self._checks_hosts and not self.allows_host(host):
            await _refuse(scope["path"], send, "This server is asked for by a host name that is not its own.")
            return
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not origin or _is_same(origin, host):
            await self._app(scope, receive, send)
            return
        if not self.allows_origin(origin):
            await _refuse(scope["path"], send, "Web pages from there may not call; list them in OLLAMA_ORIGINS.")
            return
        allowed = [(b"access-control-allow-origin", b"*" if self._allows_all else origin.encode("latin-1"))]
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            allowed += [
                (b"access-control-allow-methods", METHODS),
                (b"access-control-allow-headers", HEADERS),
                (b"access-control-max-age", b"43200"),
            ]
            if not self._allows_all:
                allowed.append((b"vary", PREFLIGHT_VARY))
            await _answer(send, 204, allowed)
            return
        if not self._allows_all:
            allowed.append((b"vary", b"Origin"))
        allowed.append((b"access-control-expose-headers", SHOWN))
        await self._app(scope, receive, _adding(send, allowed))

    def allows_host(self, header: str) -> bool:
        """Whether a `Host` header may be meant for a server on loopback."""
        host = header.lower()
        if host.startswith("["):
            host = host[1:].partition("]")[0]
        elif host.count(":") == 1:
            host = host.partition(":")[0]
        return host in self._hosts or host.endswith(LOCAL_SUFFIXES) or _is_near(host)

    def allows_origin(self, origin: str) -> bool:
        """Whether a web page from `origin` may call."""
        if self._allows_all or origin.lower().startswith(LOCAL_SCHEMES):
            return True
        scheme, _, rest = origin.lower().partition("://")
        name = re.sub(r":\d+$", "", rest)
        if scheme in {"http", "https"} and name in LOCAL_NAMES:
            return True
        return any(pattern.fullmatch(origin) for pattern in self._patterns)


@lru_cache(maxsize=1024)  # the same few all day
def _is_near(host: str) -> bool:
    """Whether it is an address of this machine, or of a private network."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified or is_own(host)


def _is_same(origin: str, host: str) -> bool:
    scheme, _, name = origin.partition("://")
    return scheme.lower() in {"http", "https"} and name.lower() == host.lower()


def _adding(send: ASGISendCallable, headers: list[tuple[bytes, bytes]]) -> Any:
    async def send_with_headers(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *headers]}
        await send(message)  # type: ignore[arg-type]  # a message as it came, with headers added

    return send_with_headers


async def _refuse(path: str, send: ASGISendCallable, words: str) -> None:
    """403 without a body, as Ollama has it; Anthropic's clients are told why."""
    if not is_anthropic(path):
        await _answer(send, 403)
        return
    body = to_json(error_value(403, words, f"req_{hex_id(24)}"))
    await _answer(send, 403, [(b"content-type", b"application/json")], body)


async def _answer(
    send: ASGISendCallable, status: int, headers: list[tuple[bytes, bytes]] | None = None, body: bytes = b""
) -> None:
    started = {
        "type": "http.response.start",
        "status": status,
        "headers": [*(headers or []), *_GUARDS, (b"content-length", str(len(body)).encode())],
    }
    await send(started)  # type: ignore[arg-type]  # a plain dict is what servers take
    await send({"type": "http.response.body", "body": body, "more_body": False})
