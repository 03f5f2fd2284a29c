"""Request records on their way to the database: one thread, grouped commits.

Records of calls that cost money are awaited until they are on disk; the others leave in batches.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.db import DataError, IntegrityError, connections

from orchestrator.core.clock import Clock
from orchestrator.core.errors import LedgerUnavailable, OrchestratorError
from orchestrator.core.prices import Price
from orchestrator.core.redaction import redacted
from orchestrator.core.text import escaped
from orchestrator.core.types import Caller, ChatRequest, Chunk, Model, Origin, Usage
from orchestrator.ledger import savings
from orchestrator.ledger.estimate import counted
from orchestrator.ledger.rows import ALIAS, Attempted, Repeat, insert, insert_attempts, insert_repeats, write_used

T = TypeVar("T")
log = logging.getLogger(__name__)

BATCH_EVERY_S = 0.2
MOST_PENDING = 50_000
MOST_A_COMMIT = 2_000
MOST_REPEATS_A_COMMIT = 20_000
COMMIT_DEADLINE_S = 8.0
RETRY_S = 1.0
USED_EVERY_S = 60.0  # how exactly it is known when a key was used last
# How a call ends whose question was read, so that a provider charges for it whatever came of it.
WAS_READ = frozenset({"done", "cut", "cancelled", "engine_timeout", "key_ended", "stream_limit"})
REFUSALS = (IntegrityError, DataError, OverflowError, TypeError, ValueError)  # of these rows, now and always


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
    unsupported: tuple[str, ...] = ()  # what was left out, since the model cannot do it
    status: int = 200
    outcome: str = ""
    error: str = ""
    saving: savings.Saving | None = None  # of an answer that takes no call
    usage: Usage = field(default_factory=Usage)
    price: Price | None = None  # of the model that is asked; None: not known
    first_s: float | None = None
    engine_first_s: float | None = None  # the same, since whoever answered was asked
    total_s: float = 0.0
    is_paid: bool = False
    is_stored: bool = False  # the cache holds the answer by now
    is_posted: bool = False  # the ledger has it; it takes each entry once
    pieces: int = 0  # pieces of answer seen: about as many tokens, where no count came
    laps: dict[str, float] = field(default_factory=dict)  # seconds by part, up to the engine's turn
    attempts: list[Attempted] = field(default_factory=list)  # places that were asked and did not answer
    granted_by: int | None = None  # the tenant whose answer it is, where it is another's
    has_spent: bool = False  # some of them charge all the same
    spent_microusd: int | None = 0  # so much, as far as can be told; None: nobody knows
    spent_tokens: int = 0  # for so many, about

    @property
    def tokens(self) -> int:
        """What models read and wrote for it, those included that charge for it and did not answer."""
        answer = self.usage.prompt_tokens + self.usage.completion_tokens
        nobody_answered = self.engine_first_s is None and bool(self.attempts) and self.outcome != "cancelled"
        return self.spent_tokens + (0 if nobody_answered else answer)  # what was spent is known by attempt

    @property
    def cost_microusd(self) -> int | None:
        """What it cost, as the provider says or by its price; None where neither is known, which is never nothing."""
        if not self.is_paid:
            return 0
        answer = self._answer_microusd
        return None if answer is None or self.spent_microusd is None else answer + self.spent_microusd

    @property
    def _answer_microusd(self) -> int | None:
        """What the answer itself cost."""
        if self.engine_first_s is None and self.attempts:
            return 0  # nobody answered: what was spent is known by attempt
        if self.usage.cost_microusd is not None:
            return self.usage.cost_microusd
        is_open = self.outcome == "engine_error" and not (self.usage.prompt_tokens or self.usage.completion_tokens)
        return None if is_open or self.price is None else self.price.of(self.usage)

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

    def spent(self, model: Model, asked: ChatRequest, usage: Usage) -> None:
        """`model` charges for what it was asked, though it did not answer; `usage` is as far as it told."""
        self.has_spent = True
        told = counted(usage, 0, asked)
        self.spent_tokens += told.prompt_tokens + told.completion_tokens
        cost = usage.cost_microusd
        if cost is None and model.price is not None:
            cost = model.price.of(told)
        self.spent_microusd = None if cost is None or self.spent_microusd is None else self.spent_microusd + cost

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
        was_read = bool(self.pieces) or self.outcome in WAS_READ
        self.usage = counted(self.usage, self.pieces, self.request if self.is_paid and was_read else None)

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
            "tags": ",".join(dict.fromkeys((*self.caller.tags, *self.request.tags))),
            "unsupported": ",".join(self.unsupported),
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
        }


def _microseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e6)


@dataclass(slots=True)
class _Pending:
    row: dict[str, Any]
    settled: Callable[[Exception | None], None] | None = None


class Ledger:
    """Takes entries and writes them."""

    def __init__(
        self,
        clock: Clock,
        taken: Callable[[Entry], None] = lambda entry: None,
        repeated: Callable[[Sequence[Repeat]], None] = lambda repeats: None,
    ) -> None:
        """Who else wants to know.

        taken     hears of each entry once, on the event loop, when no more becomes known of it.
        repeated  hears of repetitions that were written, many at a time, on the ledger's thread.
        """
        self._clock = clock
        self._taken = taken
        self._repeated = repeated
        self._pending: deque[_Pending] = deque()
        self._repeats: deque[Repeat] = deque()
        self._attempts: deque[Attempted] = deque(maxlen=MOST_PENDING)
        self._used: deque[int] = deque(maxlen=MOST_PENDING)  # keys, by number
        self._used_at: dict[int, float] = {}  # when that was written last, monotonic seconds
        self._is_urgent = False  # somebody waits for what is pending
        self._wake = threading.Condition()
        self._is_closing = False
        self._is_closed = False  # nothing more is written
        self._failure: str | None = None
        self.written = 0
        self.dropped = 0
        self._thread = threading.Thread(target=self._write_until_closed, name="ledger", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Records that wait to be written."""
        return len(self._pending) + len(self._repeats)

    @property
    def failure(self) -> str | None:
        """Why the last attempt to write failed; None when it went well."""
        if not self._thread.is_alive() and not self._is_closing:
            return "its thread has ended; restart this process"
        return self._failure

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
            self._add(_Pending(entry.row()), is_urgent=entry.is_paid)
            self._tell(self._taken, entry)

    def repeat(self, repeat: Repeat) -> None:
        """Write one more row like an earlier one, with the next batch. Takes a fifth of a microsecond, and no lock."""
        if len(self._repeats) >= MOST_PENDING:
            self.dropped += 1
        else:
            self._repeats.append(repeat)

    def used(self, key_id: int) -> None:
        """A key was shown and holds. Written with the next batch, and not again for a minute."""
        self._used.append(key_id)

    async def commit(self, entry: Entry) -> None:
        """Return when the record is on disk.

        Raises LedgerUnavailable when it is not; it then says so itself when it is written later.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def settle(error: Exception | None) -> None:
            if not future.done():
                future.set_exception(error) if error else future.set_result(None)

        def settled(error: Exception | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(settle, error)

        entry.is_posted = True
        self._attempts.extend(entry.attempts)
        pending = _Pending(entry.row(), settled)
        self._add(pending, is_urgent=True)
        try:
            async with asyncio.timeout(COMMIT_DEADLINE_S):
                await future
        except (TimeoutError, LedgerUnavailable) as error:
            refused = (
                error
                if isinstance(error, LedgerUnavailable)
                else LedgerUnavailable(
                    f"The ledger did not confirm the record of this call within {COMMIT_DEADLINE_S:g} s."
                )
            )
            entry.outcome = refused.kind
            pending.row.update(status=refused.status, outcome=refused.kind, error=str(refused)[:500])
            raise refused from None
        finally:
            self._tell(self._taken, entry)

    def _add(self, pending: _Pending, *, is_urgent: bool) -> None:
        with self._wake:
            if self._is_closed:
                self._lost(1, "it came after the end")
                return
            if len(self._pending) >= MOST_PENDING and not is_urgent:
                self.dropped += 1
                return
            self._pending.append(pending)
            self._is_urgent = self._is_urgent or is_urgent
            if is_urgent or len(self._pending) == MOST_A_COMMIT:
                self._wake.notify()

    def close(self) -> None:
        """Write what waits and end the thread."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join(timeout=COMMIT_DEADLINE_S)
        if self._thread.is_alive():
            log.error("%d request records are not written after %g s", self.pending, COMMIT_DEADLINE_S)

    def _write_until_closed(self) -> None:
        while True:
            with self._wake:
                if self._failure is not None:
                    self._wake.wait_for(lambda: self._is_closing, RETRY_S)
                elif not self._is_closing and not self._is_urgent and len(self._pending) < MOST_A_COMMIT:
                    self._wake.wait(BATCH_EVERY_S)
                batch = [self._pending.popleft() for _ in range(min(len(self._pending), MOST_A_COMMIT))]
                self._is_urgent = self._is_urgent and bool(self._pending)
                is_last = self._is_closing
            if batch:
                self._write(batch)
            if self._repeats:
                self._write_repeats()
            if self._attempts and self._failure is None:
                self._write_attempts()
            if self._used and self._failure is None:
                self._write_used()
            if is_last and (not (self._pending or self._repeats) or self._failure is not None):
                with self._wake:
                    self._is_closed = True
                    if self.pending:
                        self._lost(self.pending, self._failure or "the process ends")
                connections[ALIAS].close()
                return

    def _write(self, batch: list[_Pending]) -> None:
        for some, error in _write_in_parts(batch, _insert, id):
            refused = None
            if error is None:
                self._is_well(len(some))
            elif isinstance(error, REFUSALS):
                self._lost(len(some), error)
                refused = LedgerUnavailable(f"The record of this call was refused: {error}.")
            else:
                self._fell_ill(error)
                refused = LedgerUnavailable(f"The record of this call could not be written: {error}.")
                with self._wake:
                    self._pending.extendleft(_Pending(pending.row) for pending in reversed(some))
            for pending in some:
                if pending.settled:
                    pending.settled(refused)

    def _write_repeats(self) -> None:
        batch = [self._repeats.popleft() for _ in range(min(len(self._repeats), MOST_REPEATS_A_COMMIT))]
        for some, error in _write_in_parts(batch, insert_repeats, lambda repeat: id(repeat.line)):
            if error is None:
                self._is_well(len(some))
                self._tell(self._repeated, some)
            elif isinstance(error, REFUSALS):
                self._lost(len(some), error)
            else:
                self._fell_ill(error)
                self._repeats.extendleft(reversed(some))

    def _write_attempts(self) -> None:
        """Who did not answer. Unlike requests they are no accounts: what the database refuses is left out."""
        batch = [self._attempts.popleft() for _ in range(min(len(self._attempts), MOST_A_COMMIT))]
        try:
            insert_attempts(batch)
        except Exception as error:  # noqa: BLE001  # whatever it is: the thread must live
            log.error("%d attempts could not be written and are lost: %s", len(batch), error)
            connections[ALIAS].close()

    def _write_used(self) -> None:
        """When keys were used. Nobody waits for it: what cannot be written now is written when they are used again."""
        now = self._clock.monotonic()
        shown = {self._used.popleft() for _ in range(len(self._used))}
        due = [key for key in shown if now - self._used_at.get(key, -USED_EVERY_S) >= USED_EVERY_S]
        if not due:
            return
        if len(self._used_at) > MOST_PENDING:
            self._used_at.clear()
        self._used_at.update(dict.fromkeys(due, now))
        try:
            write_used(due, datetime.fromtimestamp(self._clock.now(), UTC))
        except Exception as error:  # noqa: BLE001  # whatever it is: the thread must live
            log.warning("It could not be written that %d keys are used: %s", len(due), error)
            connections[ALIAS].close()

    def _lost(self, count: int, why: object) -> None:
        log.error("%d request records could not be written and are lost: %s", count, why)
        self.dropped += count

    def _tell(self, listener: Callable[[T], None], news: T) -> None:
        """What goes wrong there is no matter of the record."""
        try:
            listener(news)
        except Exception:
            log.exception("What listens to the ledger failed in a way it should not.")

    def _is_well(self, written: int) -> None:
        self.written += written
        if self._failure is not None:
            log.warning("the ledger can be written again")
            self._failure = None

    def _fell_ill(self, error: Exception) -> None:
        if self._failure is None:
            log.error("the ledger cannot be written, calls that cost money are refused: %s", error)
        self._failure = str(error) or type(error).__name__
        connections[ALIAS].close()  # after a failed write nothing is assumed of it


def _insert(batch: Sequence[_Pending]) -> None:
    insert([pending.row for pending in batch])


def _write_in_parts(
    batch: list[T], write: Callable[[list[T]], None], part_of: Callable[[T], object]
) -> Iterator[tuple[list[T], Exception | None]]:
    """Write `batch`, part by part where the database refuses it: one is at fault, and the others shall pass.

    Yields what there was to write and what became of it: nothing went wrong; one of REFUSALS; or it is not
    written now, nor is anything after it, for a reason that is not its own.
    """
    left = [batch]
    while left:
        some = left.pop()
        try:
            write(some)
        except REFUSALS as error:
            parts: dict[object, list[T]] = {}
            for one in some:
                parts.setdefault(part_of(one), []).append(one)
            if len(parts) > 1:
                left.extend(reversed(parts.values()))
            else:
                yield some, error
        except Exception as error:  # noqa: BLE001  # whatever it is: the thread must live, and the records be tried again
            yield [*some, *(one for part in reversed(left) for one in part)], error
            return
        else:
            yield some, None
