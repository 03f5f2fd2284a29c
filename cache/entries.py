"""What the tiers hold, and what they are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.core.types import Reply


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Where an answer is kept. `hash` alone identifies it; the rest is what purges go by."""

    hash: str  # 64 hex digits
    tenant_id: int
    namespace: str
    model: str  # canonical name
    cap: int | None = None  # the cap on the answer's length that `hash` holds, in tokens; None: it holds none


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer that is kept."""

    key: CacheKey
    reply: Reply
    created_at: float  # seconds since the epoch
    expires_at: float
    allowance: int | None = field(default=None, compare=False)  # bytes its tenant may keep in all; None: no bound

    def serves(self, cap: int | None) -> bool:
        """Whether a caller who allows `cap` tokens gets from here what the model would have said.

        An answer that ended by itself is the same under every cap at least as long. One that was
        cut is kept under a key that holds its cap. Where the engine did not count, nothing is known.
        """
        if cap is None or self.key.cap is not None:
            return cap == self.key.cap
        usage = self.reply.done.usage
        return 0 < usage.completion_tokens <= cap and not usage.is_estimated

    def is_fresh(self, now: float) -> bool:
        """Whether it may still be served at `now`, seconds since the epoch.

        An entry may come from a little in the future, after a clock was set back; from further off
        than it was to live it may not, or a clock that ran ahead for a minute would make it immortal.
        """
        return abs(now - self.created_at) < self.expires_at - self.created_at


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

    def matches(self, key: CacheKey) -> bool:
        """Whether the answer under `key` is meant."""
        return (
            (self.hash is None or self.hash == key.hash)
            and (self.tenant_id is None or self.tenant_id == key.tenant_id)
            and (self.namespace is None or self.namespace == key.namespace)
            and (self.model is None or self.model == key.model)
        )


@dataclass(frozen=True, slots=True)
class Holding:
    """How much a tier holds of a scope."""

    entries: int
    bytes: int
