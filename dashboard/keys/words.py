"""How a key stands and what it is for, in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from dashboard import formats
from orchestrator.identity.issuing import state_of
from orchestrator.models import ApiKey, Limit

SOON = timedelta(days=7)
_LENGTHS = {1: "a second", 60: "a minute", 3600: "an hour", 86_400: "a day"}
_KINDS = {
    "requests": "requests",
    "tokens": "tokens",
    "concurrent": "calls at a time",
    "cache_bytes": "bytes in the cache",
    "queue": "requests that wait",
    "stream_s": "seconds an answer",
}


@dataclass(frozen=True, slots=True)
class State:
    """A mark and a word."""

    mark: str  # ok, slow, down, off
    words: str
    until: datetime | None = None  # what comes when


def state(key: ApiKey, now: datetime, *, is_rotated: bool) -> State:
    """How a key stands: the first that is so."""
    stands = state_of(key, now)
    if stands != "working":
        return State("off", stands)
    if key.tenant.suspended_at:
        return State("off", "tenant suspended")
    if is_rotated:
        return State("slow", "rotated, works for", key.expires_at)
    if key.expires_at and key.expires_at - now <= SOON:
        return State("slow", "expires", key.expires_at)
    return State("ok", "in use") if key.last_used_at else State("off", "never used")


def scopes(key: ApiKey) -> list[str]:
    """What it is for, the narrowest first; nothing where it may ask anything."""
    role = f"{key.role} of {'every tenant' if key.reaches_all else key.tenant.name}" if key.role else ""
    return list(
        filter(
            None,
            [
                role and f"manages as {role}",
                _few("models", key.model_patterns),
                _few("in the dialect", key.dialects),
                _few("for", key.families),
                _few("from", key.networks),
            ],
        )
    )


def limit(row: Limit) -> str:
    """What a limit allows: 600 requests a minute for each key."""
    length = ""
    if row.per_s:
        length = f" {_LENGTHS[row.per_s]}" if row.per_s in _LENGTHS else f" in {formats.span(row.per_s)}"
    whom = "for all together" if row.each == "all" else f"for each {row.each}"
    model = f", of {row.model}" if row.model else ""
    network = f", from {row.network}" if row.network else ""
    return f"{formats.count(row.amount)} {_KINDS.get(row.kind, row.kind)}{length} {whom}{model}{network}"


def whose(row: Limit) -> str:
    """What a limit is set for."""
    if row.key:
        return f"key {row.key.name}"
    if row.team:
        return f"team {row.team.name}"
    return f"tenant {row.tenant.name}" if row.tenant else "everybody"


def _few(before: str, words: list[str], most: int = 3) -> str:
    if not words:
        return ""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return f"{before} {', '.join(map(str, words[:most]))}{more}"
