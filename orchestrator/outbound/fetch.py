"""Fetch what is at an address that a request, a page or a redirect names.

Whoever names it may mean harm: to reach what only this machine can reach, to hold it up, or to fill its memory. So a
name is looked up once, each address it stands for is checked, and the connection is made to the very one that was
checked; each redirect begins anew. Nothing of ours goes along: no cookie, no key, no proxy of the environment.
"""

from __future__ import annotations

import asyncio
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import httpx

from orchestrator.core.errors import FetchFailed, FetchRefused
from orchestrator.outbound.connection import USER_AGENT
from orchestrator.outbound.places import Place, Rules, is_allowed, read_place, shown
from orchestrator.outbound.transport import trusted

Resolve = Callable[[str, int], Awaitable[list[str]]]

MOST_REDIRECTS = 5
MOST_ADDRESSES = 32  # of one name
MOST_TRIED = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Of its own: a name server that does not answer holds a thread for as long as it likes, and others need theirs.
_LOOKING_UP = ThreadPoolExecutor(8, "looking-up")
_STEP = 64 * 1024  # bytes that are unpacked at once


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in seconds."""

    connect_s: float = 5.0
    first_byte_s: float = 10.0
    total_s: float = 20.0  # with every redirect


PUBLIC = Rules()
PATIENT = Patience()


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was there."""

    url: str  # where it was in the end
    content_type: str  # lower case, without parameters
    charset: str
    body: bytes


async def resolved(host: str, port: int) -> list[str]:
    """The addresses a name stands for, as this machine looks names up. Raises OSError."""
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_LOOKING_UP, look_up)
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


async def fetch(
    url: str,
    *,
    types: Collection[str],
    most_bytes: int,
    rules: Rules = PUBLIC,
    patience: Patience = PATIENT,
    resolve: Resolve = resolved,
) -> Fetched:
    """Return what is at `url`. Raises FetchRefused where it may not be fetched, FetchFailed where that did not work.

    types  of content that are taken, such as `image/png`; `text/*` for all of a kind.
    most_bytes  on the wire, and again when it is unpacked.
    """
    place = read_place(url, rules)
    try:
        async with asyncio.timeout(patience.total_s):
            for _ in range(MOST_REDIRECTS + 1):
                response = await _asked(place, rules, patience, types, resolve)
                async with aclosing(response):
                    if response.status_code not in REDIRECTS:
                        return await _read(response, place, types, most_bytes)
                    place = _next(place, response, rules)
    except TimeoutError:
        raise FetchFailed(f"{shown(place.host)} did not answer in full within {patience.total_s:g} s.") from None
    except httpx.TimeoutException:
        raise FetchFailed(f"{shown(place.host)} did not answer in time.") from None
    except (httpx.HTTPError, OSError) as error:
        raise FetchFailed(f"The connection to {shown(place.host)} broke off: {type(error).__name__}.") from None
    raise FetchFailed(f"The address was redirected more than {MOST_REDIRECTS} times; give the one it ends at.")


def _next(place: Place, response: httpx.Response, rules: Rules) -> Place:
    """Where a redirect leads, checked as the first address was."""
    try:
        there = read_place(place.joined(response.headers.get("Location", "")), rules)
    except ValueError:  # urljoin's own, of brackets that do not match
        raise FetchRefused("The address was redirected to one that cannot be read.") from None
    if place.scheme == "https" and there.scheme == "http":
        raise FetchRefused("The address was redirected from https:// to http://, which is not followed.")
    return there


async def _asked(
    place: Place, rules: Rules, patience: Patience, types: Collection[str], resolve: Resolve
) -> httpx.Response:
    """The head of the answer, from the first of the place's addresses that takes a connection."""
    addresses = await _addresses(place, rules, resolve)
    for address in addresses[:-1]:
        try:
            return await _sent(place, address, patience, types)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            continue
    return await _sent(place, addresses[-1], patience, types)


async def _addresses(place: Place, rules: Rules, resolve: Resolve) -> list[str]:
    """What the name stands for, looked up this once. One bad address spoils all: nobody has such by chance.

    The same is said of a name that is unknown and of one that leads inside, so that nobody learns our names.
    """
    try:
        found = await resolve(place.host, place.port)
    except (OSError, UnicodeError):
        found = []
    if not found or len(found) > MOST_ADDRESSES or not all(is_allowed(address, rules) for address in found):
        raise FetchRefused(
            f"{shown(place.host)} is no host of the public internet, and only those are fetched from"
            " (ORCHESTRATOR_FETCH_NETWORKS)."
        )
    return found[:MOST_TRIED]


async def _sent(place: Place, address: str, patience: Patience, types: Collection[str]) -> httpx.Response:
    """Ask `address` for what is at `place`: TLS and the `Host` header know the name, the connection the address."""
    headers = {
        "Host": place.authority,
        "User-Agent": USER_AGENT,
        "Accept": ", ".join(sorted(types)),
        "Accept-Encoding": "gzip, identity",
        "Connection": "close",
    }
    wait = httpx.Timeout(patience.first_byte_s, connect=patience.connect_s)
    request = httpx.Request(
        "GET",
        httpx.URL(scheme=place.scheme, host=address, port=place.port, raw_path=place.target.encode()),
        headers=headers,
        extensions={"timeout": wait.as_dict(), "sni_hostname": place.host},
    )
    # One for each call: a connection that is kept could be found again under a name that was not checked.
    transport = httpx.AsyncHTTPTransport(verify=trusted(), trust_env=False, retries=0)
    try:
        response = await _within(transport.handle_async_request(request), patience.first_byte_s + patience.connect_s)
    except BaseException:
        await transport.aclose()
        raise
    response.stream = _Closing(response.stream, transport)
    return response


async def _within(asked: Awaitable[httpx.Response], limit_s: float) -> httpx.Response:
    """A head that comes byte by byte is no sign of life."""
    try:
        async with asyncio.timeout(limit_s):
            return await asked
    except TimeoutError:
        raise httpx.ReadTimeout("no whole head") from None


class _Closing(httpx.AsyncByteStream):
    """A body that takes its transport along when it is closed."""

    def __init__(self, body: httpx.SyncByteStream | httpx.AsyncByteStream, transport: httpx.AsyncHTTPTransport) -> None:
        assert isinstance(body, httpx.AsyncByteStream)
        self._body, self._transport = body, transport

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._body:
            yield part

    async def aclose(self) -> None:
        await self._body.aclose()
        await self._transport.aclose()


async def _read(response: httpx.Response, place: Place, types: Collection[str], most_bytes: int) -> Fetched:
    """The body, when it is of a kind that is taken, and not too long."""
    if response.status_code != 200:
        raise FetchFailed(f"{shown(place.host)} answered HTTP {response.status_code} to a plain GET.")
    kind, _, rest = response.headers.get("Content-Type", "").partition(";")
    kind = kind.strip().lower()
    if kind not in types and f"{kind.partition('/')[0]}/*" not in types:
        named = kind[:40] if kind.isascii() and kind.isprintable() and kind else "without a type"
        raise FetchRefused(f"What is there is {named}; taken are {', '.join(sorted(types))}.")
    announced = response.headers.get("Content-Length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > most_bytes:
        raise _too_long(most_bytes)
    packing = response.headers.get("Content-Encoding", "").strip().lower()
    if packing in {"", "identity"}:
        body = await _plain(response, most_bytes)
    elif packing in {"gzip", "x-gzip"}:
        body = await _unpacked(response, most_bytes)
    else:
        raise FetchFailed(f"{shown(place.host)} packed what is there in a way it was not asked for.")
    _, _, charset = rest.lower().partition("charset=")
    return Fetched(place.url, kind, charset.partition(";")[0].strip("\" '"), body)


async def _plain(response: httpx.Response, most: int) -> bytes:
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > most:
            raise _too_long(most)
    return bytes(body)


async def _unpacked(response: httpx.Response, most: int) -> bytes:
    """The body as it was before it was packed; it is never longer in memory than it may be, and a step."""
    gzip, body, wire = zlib.decompressobj(wbits=31), bytearray(), 0
    try:
        async for part in response.aiter_raw():
            wire += len(part)
            if wire > most:
                raise _too_long(most)
            is_full = True
            while (part or is_full) and not gzip.eof:
                step = gzip.decompress(part, _STEP)
                part, is_full = gzip.unconsumed_tail, len(step) == _STEP  # there may be more, of what was read
                body += step
                if len(body) > most:
                    raise _too_long(most)
    except zlib.error:
        raise FetchFailed("What is there is said to be gzip, and is not.") from None
    if not gzip.eof:
        raise FetchFailed("What is there ended before its end.")
    return bytes(body)


def _too_long(most: int) -> FetchRefused:
    return FetchRefused(f"What is there is longer than the {most:,} bytes that are fetched at most.")
