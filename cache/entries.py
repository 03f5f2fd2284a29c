"""What the tiers hold, and what they are asked for."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.core.types import Reply


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Where an answer is kept. `hash` alone identifies it; the rest is what purges go by."""

    hash: str  # 64 hex digits
    tenant_id: int
    namespace: str
    model: str  # canonical name


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer that is kept."""

    key: CacheKey
    reply: Reply
    created_at: float  # seconds since the epoch
    expires_at: float

    def serves(self, cap: int | None) -> bool:
        """Whether a caller who allows `cap` tokens gets from here what the model would have said.

        An answer that ended by itself is the same under every cap at least as long. One that was
        cut is kept under a key that holds its cap.
        """
        done = self.reply.done
        return cap is None or done.reason == "length" or done.usage.completion_tokens <= cap


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer that was found, and where."""

    entry: Entry
    tier: str  # memory, redis, sqlite, semantic
    age_s: float
    is_exact: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which answers a purge is about: all that match every field that is set."""

    tenant_id: int | None = None
    namespace: str | None = None
    model: str | None = None
    hash: str | None = None


@dataclass(frozen=True, slots=True)
class Holding:
    """How much a tier holds of a scope."""

    entries: int
    bytes: int
