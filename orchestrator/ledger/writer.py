"""What becomes known of a request, and what the rest of the product says to the ledger about it.

Records of calls that cost money are awaited until they are on disk; the others leave in batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings

from orchestrator.core.clock import Clock
from orchestrator.core.errors import BudgetSpent, LedgerUnavailable, OrchestratorError, PriceUnknown
from orchestrator.core.redaction import redacted
from orchestrator.core.text import escaped
from orchestrator.core.types import Caller, ChatRequest, Chunk, Model, Origin, Usage
from orchestrator.ledger import savings, stages, writing
from orchestrator.ledger.batch import Pending
from orchestrator.ledger.decisions import Decided
from orchestrator.ledger.estimate import counted
from orchestrator.ledger.holds import Charged, Reservation, released
from orchestrator.ledger.machines import Own
from orchestrator.ledger.rows import Attempted, Repeat
from orchestrator.ledger.shares import Grant, Short
from orchestrator.ledger.steady import Steady
from orchestrator.ledger.waiting import Waiter
from orchestrator.ledger.writing import Writing

COMMIT_DEADLINE_S = 8.0
RESERVE_DEADLINE_S = 5.0
MOST_ASKS = 3  # for one call: others may take what was granted meanwhile
COUNTED = ("prompt_tokens", "completion_tokens", "cached_tokens", "is_estimated")  # alike in a record and its charge


class Asks(Protocol):
    """Who asks other machines for what they do not need."""

    async def ask(self, short: Short) -> bool:
        """Return, soon, whether something was granted."""


@dataclass(slots=True)
class Entry:
    """What becomes known of one request while it is answered."""

    request: ChatRequest
    caller: Caller
    at: datetime
    started: float  # monotonic seconds
    model: str = ""
    provider: str = ""  # where it runs: a provider, or an engine here
    route: str = ""
    charged: str = ""  # the model whose limits it counts against
    tier: str = ""
    cache_key: str = ""
    missed: str = ""  # why the cache had no answer, where a model was asked
    unsupported: tuple[str, ...] = ()  # what was left out, since the model cannot do it
    adapted: tuple[str, ...] = ()  # what was put to it in another way, or is done in its place
    status: int = 200
    outcome: str = ""
    error: str = ""
    saving: savings.Saving | None = None  # of an answer that takes no call
    usage: Usage = field(default_factory=Usage)
    first_s: float | None = None
    engine_first_s: float | None = None  # the same, since whoever answered was asked
    total_s: float = 0.0
    is_paid: bool = False
    is_stored: bool = False  # the cache holds the answer by now
    is_posted: bool = False  # the ledger has it; it takes each entry once
    pieces: int = 0  # pieces of answer seen: about as many tokens, where no count came
    laps: dict[str, float] = field(default_factory=dict)  # seconds by part, up to the engine's turn
    tiers: dict[str, float] = field(default_factory=dict)  # seconds by tier of the cache that was asked, in order
    hold_s: float = 0.0  # until what its calls may cost was reserved
    attempts: list[Attempted] = field(default_factory=list)  # places that were asked and did not answer
    granted_by: int | None = None  # the tenant whose answer it is, where it is another's
    charges: list[Charged] = field(default_factory=list)  # of each place that was asked and charges
    answered_by: str = ""  # the hold of the one who answers; empty: nobody does, or for nothing
    cap: int | None = None  # that its caller did not set, and a budget did
    decided: Decided | None = None  # why who is asked is asked, where that is kept
    same_until: float | None = None  # seconds since the epoch; rules say the same until then. None: while they hold

    @property
    def has_spent(self) -> bool:
        """Whether somebody charges for it."""
        return any(not charged.is_free for charged in self.charges)

    @property
    def tokens(self) -> int:
        """What models read and wrote for it, those included that charge for it and did not answer."""
        rows = [charged.row for charged in self.charges if not charged.is_free]
        tokens: int = sum(row["prompt_tokens"] + row["completion_tokens"] for row in rows)
        if self.answer_charge is None:  # the answer is nobody's who charges
            tokens += self.usage.prompt_tokens + self.usage.completion_tokens
        return tokens

    @property
    def cost_microusd(self) -> int | None:
        """What it cost: all that was charged; None where nobody knows some of it, which is never nothing."""
        total = 0
        for charged in self.charges:
            if not charged.is_free:
                cost = charged.row["cost_microusd"]
                if cost is None:
                    return None
                total += cost
        return total

    @property
    def tags(self) -> str:
        """Words of its key and of its caller for the record."""
        return ",".join(dict.fromkeys((*self.caller.tags, *self.request.tags)))

    @property
    def answer_charge(self) -> dict[str, Any] | None:
        """The charge whose tokens the record shows: of who answers, or the last one where nobody does."""
        if self.engine_first_s is not None and not self.answered_by:
            return None
        charges = (one for one in reversed(self.charges) if not one.is_free and self.answered_by in {"", one.hold})
        last = next(charges, None)
        return last.row if last else None

    def tried(self, model: Model, error: OrchestratorError, took_s: float) -> None:
        """`model` was asked and did not answer, or broke off."""
        self.attempts.append(
            Attempted(
                request_id=self.request.request_id,
                tenant_id=self.caller.tenant_id,
                at=datetime.now(UTC),
                provider=model.engine,
                model=model.name,
                outcome=error.kind,
                error=escaped(redacted(str(error))[:300])[:300],
                took_us=round(took_s * 1e6),
            )
        )

    def told(self, origin: Origin) -> None:
        """Another than who was expected answers."""
        self.model, self.unsupported = origin.model, origin.unsupported
        self.provider, self.route = origin.provider, origin.route or self.route

    def saw(self, chunk: Chunk, now: float) -> None:
        """Take note of a piece of the answer."""
        if self.first_s is None:
            self.first_s = now - self.started
        self.pieces += bool(chunk.text or chunk.thinking)
        if chunk.usage:
            self.usage = chunk.usage
        if chunk.done:
            self.usage = chunk.done.usage

    def ended(self, outcome: str, now: float) -> None:
        """The answer is over; a second word on it does not count."""
        if not self.outcome:
            self.outcome = outcome
        self.total_s = now - self.started
        if charge := self.answer_charge:
            charged = {name: charge[name] for name in COUNTED}
            if any(getattr(self.usage, name) != counts for name, counts in charged.items()):
                self.usage = replace(self.usage, **charged)
        else:
            self.usage = counted(self.usage, self.pieces)

    def failed(self, error: BaseException, now: float) -> None:
        """The answer ended in `error`."""
        known = error if isinstance(error, OrchestratorError) else OrchestratorError("internal error")
        known.is_recorded = True
        self.status, self.error = known.status, escaped(redacted(str(known))[:500])[:500]
        self.ended(known.kind, now)

    @property
    def saved(self) -> savings.Saving | None:
        """What the answer saved; None when it was a call, or was not heard to its end."""
        return self.saving if self.outcome in {"done", "cut"} else None

    def row(self) -> dict[str, Any]:
        """The record, by column."""
        return {
            "request_id": self.request.request_id,
            "at": self.at,
            "tenant_id": self.caller.tenant_id,
            "key_id": self.caller.key_id,
            "dialect": self.request.dialect,
            "endpoint": self.request.endpoint,
            "asked_model": redacted(self.request.model)[:255],
            "model": self.model,
            "provider": self.provider,
            "route": self.route,
            "tier": self.tier,
            "cache_key": self.cache_key,
            "tags": self.tags,
            "unsupported": ",".join(self.unsupported),
            "adapted": ",".join(self.adapted) or None,
            "streamed": self.request.stream,
            "status": self.status,
            "outcome": self.outcome,
            "error": self.error,
            "prompt_tokens": self.usage.prompt_tokens,
            "completion_tokens": self.usage.completion_tokens,
            "cached_tokens": self.usage.cached_tokens,
            "is_estimated": self.usage.is_estimated,
            "first_us": _microseconds(self.first_s),
            "engine_first_us": _microseconds(self.engine_first_s),
            "total_us": round(self.total_s * 1e6),
            "is_paid": self.is_paid,
            "cost_microusd": self.cost_microusd,
            **savings.columns(self.saved),
            "granted_by_id": self.granted_by,
            "missed": self.missed or None,
            "stages": None if self.tier == "memory" else stages.written(self.laps, self.tiers, self.hold_s),
        }


def _microseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e6)


class Ledger(Writing):
    """Takes entries and writes them, with what they cost, and keeps what is reserved for calls under way."""

    def __init__(
        self,
        clock: Clock,
        taken: Callable[[Entry], None] = lambda entry: None,
        repeated: Callable[[Sequence[Repeat]], None] = lambda repeats: None,
        *,
        holds_dir: Path | None = None,
        file: str = "",
    ) -> None:
        """Who else wants to know.

        taken      hears of each entry once, on the event loop, when no more becomes known of it.
        repeated   hears of repetitions that were written, many at a time, on the ledger's thread.
        holds_dir  where processes that write the same ledger see who lives; None: beside what runs.
        file       that the ledger is in, where several machines spend its budgets: then `shares` is to be set.
        """
        super().__init__(clock, repeated, holds_dir or settings.RUN_DIR / "holds", file)
        self._taken = taken
        self._steady = Steady(clock)
        self.shares: Asks | None = None

    def begin(self, request: ChatRequest, caller: Caller) -> Entry:
        """A request has come."""
        return Entry(request, caller, datetime.fromtimestamp(self._clock.now(), UTC), self._clock.monotonic())

    def must_be_writable(self) -> None:
        """Raises LedgerUnavailable when the last attempt to write failed: no money is spent until one succeeds."""
        if self.failure is not None:
            raise LedgerUnavailable(
                f"The ledger cannot be written ({self.failure}), so calls that cost money are refused until it can."
            )

    def post(self, entry: Entry) -> None:
        """Write with the next batch, once. When too many wait a free one is dropped, and counted."""
        if not entry.is_posted:
            entry.is_posted = True
            self._attempts.extend(entry.attempts)
            pending = Pending(entry.row(), tuple(entry.charges), decided=entry.decided)
            self._add(pending, is_urgent=entry.is_paid or bool(entry.charges))
            self._tell(self._taken, entry)

    def repeat(self, repeat: Repeat) -> None:
        """Write one more row like an earlier one, with the next batch. Takes a fifth of a microsecond, and no lock."""
        if len(self._repeats) >= writing.MOST_PENDING:
            self.dropped += 1
        else:
            self._repeats.append(repeat)

    def used(self, key_id: int) -> None:
        """A key was shown and holds. Written with the next batch, and not again for a minute."""
        self._used.append(key_id)

    async def commit(self, entry: Entry) -> None:
        """Return when the record is on disk, and what its calls cost.

        Raises LedgerUnavailable when it is not; it then says so itself when it is written later.
        """
        entry.is_posted = True
        self._attempts.extend(entry.attempts)
        waiter = Waiter.here()
        pending = Pending(entry.row(), tuple(entry.charges), waiter=waiter, decided=entry.decided)
        self._add(pending, is_urgent=True)
        try:
            async with asyncio.timeout(COMMIT_DEADLINE_S):
                await waiter.future
        except (TimeoutError, LedgerUnavailable) as error:
            refused = (
                error
                if isinstance(error, LedgerUnavailable)
                else LedgerUnavailable(
                    f"The ledger did not confirm the record of this call within {COMMIT_DEADLINE_S:g} s."
                )
            )
            entry.outcome = refused.kind
            if pending.row is not None:
                pending.row.update(status=refused.status, outcome=refused.kind, error=str(refused)[:500])
            raise refused from None
        finally:
            self._tell(self._taken, entry)

    async def reserve(self, reservation: Reservation) -> None:
        """Return when it is reserved, on all of its budgets, and that is on disk.

        Raises BudgetSpent, PriceUnknown where a hard budget would have to be asked for an amount that nobody knows,
        LedgerUnavailable. Nothing is reserved then, nor when the wait is cancelled.
        """
        self.must_be_writable()
        self._steady.must_be_known(reservation.lines)
        for _ in range(MOST_ASKS if self.shares else 0):
            try:
                await self._reserve(reservation, may_ask=True)
            except Short as short:
                assert self.shares, "or nobody would be asked"
                if not await self.shares.ask(short):
                    break
            else:
                return
        await self._reserve(reservation)

    async def _reserve(self, reservation: Reservation, *, may_ask: bool = False) -> None:
        """As `reserve`. Raises Short where a share does not reach, and others may be asked."""
        waiter = Waiter.here()
        self._add(Pending(reservation=reservation, waiter=waiter, may_ask=may_ask), is_urgent=True)
        try:
            async with asyncio.timeout(RESERVE_DEADLINE_S):
                await waiter.future
        except (BudgetSpent, PriceUnknown):
            raise
        except TimeoutError:
            self.release(reservation.hold)
            raise LedgerUnavailable(
                f"The ledger did not confirm within {RESERVE_DEADLINE_S:g} s that this call is within its budgets."
            ) from None
        except BaseException:
            self.release(reservation.hold)  # it may be written all the same
            raise

    def granted(self, who: Own, grants: Sequence[Grant]) -> None:
        """Redis granted `who` more. It is written with the next batch, and before what is reserved of it."""
        self._add(Pending(granted=(who, grants)), is_urgent=True)

    def hold(self, reservation: Reservation) -> None:
        """Reserve within `HOLDS_WITHIN_S`, whatever is left of its budgets; nobody waits."""
        self._add_hold(Pending(reservation=reservation))

    def release(self, hold: str) -> None:
        """Nothing came of a hold: nothing is reserved for it any longer, with the next batch."""
        self.charge(released(hold))

    def charge(self, charged: Charged) -> None:
        """Write what a call came to whose request has its record already, with the next batch."""
        self._add(Pending(charges=(charged,)), is_urgent=True)
