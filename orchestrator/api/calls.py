"""What every call has besides its body: who makes it, and the headers that steer it."""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpRequest

from orchestrator.api.bounds import LONGEST_TAG, MOST_TAGS
from orchestrator.core.errors import BadRequest
from orchestrator.core.ids import hex_id
from orchestrator.core.scopes import plain_address
from orchestrator.core.types import CacheControl, Caller
from orchestrator.wiring import parts

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
NAMESPACE = re.compile(r"[A-Za-z0-9._:/-]{1,100}")
TAG = re.compile(rf"[!-~](?:[ -~]{{0,{LONGEST_TAG - 2}}}[!-~])?")
# Every header that has a say in an answer. One that is not here cannot be read by an endpoint that
# answers questions, and so cannot make two answers of what the replay front takes for one request.
_READ = (
    "Authorization",
    "X-Api-Key",
    "X-Request-Id",
    "Cache-Control",
    "X-Orchestrator-Cache-Namespace",
    "X-Orchestrator-Tags",
)
_META = {name: f"HTTP_{name.upper().replace('-', '_')}" for name in _READ}
STEERING = frozenset({name.lower().encode() for name in _READ} | {b"host", b"origin", b"content-encoding"})
_ANYTHING = CacheControl()


async def show_key(request: HttpRequest) -> Caller:
    """Who calls, by `Authorization: Bearer` or `x-api-key`, and nothing else; asked once for each request.

    Raises what `Identity.caller` raises.
    """
    known: Caller | None = getattr(request, "caller", None)
    if known is None:
        known = await parts().identity.caller(
            header(request, "Authorization"), header(request, "X-Api-Key"), request.META.get("REMOTE_ADDR", "")
        )
        request.caller = known  # type: ignore[attr-defined]
    return known


def caller_of(request: HttpRequest) -> Caller:
    """Who was let in."""
    caller: Caller = request.auth  # type: ignore[attr-defined]  # the lean handler sets it
    return caller


def header(request: HttpRequest, name: str) -> str:
    """A header named above, empty without it. Straight from `META`: `request.headers` copies them all first."""
    value: str = request.META.get(_META[name], "")
    return value


def request_id(request: HttpRequest) -> str:
    """The caller's `X-Request-Id` where it is well formed, else a fresh one; one for the whole call."""
    known: str | None = getattr(request, "request_id", None)
    if known is None:
        given = header(request, "X-Request-Id")
        known = given if REQUEST_ID.fullmatch(given) else hex_id(32)
        request.request_id = known  # type: ignore[attr-defined]
    return known


def controls(request: HttpRequest) -> dict[str, Any]:
    """The fields of a ChatRequest that come from headers. Raises BadRequest."""
    namespace = header(request, "X-Orchestrator-Cache-Namespace")
    if namespace and not NAMESPACE.fullmatch(namespace):
        raise BadRequest("X-Orchestrator-Cache-Namespace takes up to 100 letters, digits and any of . _ : / -")
    tags = tuple(tag.strip() for tag in header(request, "X-Orchestrator-Tags").split(",") if tag.strip())
    if len(tags) > MOST_TAGS or not all(map(TAG.fullmatch, tags)):
        raise BadRequest(
            f"X-Orchestrator-Tags takes up to {MOST_TAGS} words of {LONGEST_TAG} ASCII characters, parted by commas"
        )
    return {
        "control": read_cache_control(header(request, "Cache-Control")),
        "namespace": namespace,
        "tags": tags,
        "request_id": request_id(request),
        "endpoint": request.path,
        "address": plain_address(request.META.get("REMOTE_ADDR", "")),
    }


def read_cache_control(directives: str) -> CacheControl:
    """Read the directives of RFC 9111 that a request can carry; unknown ones are ignored, as it asks."""
    if not directives:
        return _ANYTHING
    given: dict[str, str] = {}
    for directive in directives.split(","):
        name, _, value = directive.strip().partition("=")
        given[name.lower()] = value.strip('" ')
    max_age = given.get("max-age", "")
    return CacheControl(
        read=not given.keys() & {"no-cache", "no-store"},
        write="no-store" not in given,
        max_age_s=float(max_age) if max_age.isascii() and max_age.isdigit() else None,
        only_if_cached="only-if-cached" in given,
    )
