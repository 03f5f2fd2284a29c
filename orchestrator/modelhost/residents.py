"""Which models are loaded: one child each, within a bound of memory, the least recently used giving way.

A model stays until its `keep_alive` has passed since its last answer. Loads happen one at a time, in
the order they were asked for, and equal ones are shared. Who waits for a loaded model is served in turn by
tenant, and counts against a bound, as who waits for a load does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.core.errors import Busy, ModelLoadFailed, ModelNotFound, OrchestratorError, TooMany
from orchestrator.core.seats import NoSeat, Seat, Seats
from orchestrator.core.turns import Turn
from orchestrator.core.types import ChatRequest
from orchestrator.modelhost import minilm, wire
from orchestrator.modelhost.memory import readable
from orchestrator.modelhost.options import Options
from orchestrator.modelhost.runner import Runner
from orchestrator.modelhost.store import Store, StoredModel
from orchestrator.modelhost.threads import Pace, Remembered, usable_cores

log = logging.getLogger(__name__)

NOBODY = Turn()  # where nobody is named
SHARED = "server busy, and others wait as well: your share of the queue is taken; try again later"
LIMITED = "as many wait as the limit {} allows; try again later"
BUSY = "server busy, please try again.  maximum pending requests exceeded"
ELBOW_ROOM = 512 * 1024**2  # bytes a child may take beyond the bound, before the system refuses it more
RETRY_AFTER_S = 2.0  # about what a small model takes for a short answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the models may take."""

    memory: int  # bytes, all together
    models: int  # at once; 0: as many as the memory holds
    slots: int  # answers one model makes at once
    context: int  # tokens an answer has in view, unless it asks for more
    queue: int  # requests that may wait
    keep_alive_s: float  # negative: for ever
    load_timeout_s: float
    threads: int  # 0: measured


@dataclass(slots=True)
class _Job:
    """A load that is under way, and how many wait for it."""

    task: asyncio.Task[Runner]
    callers: int = 0


class _Wait:
    """What a request does while a model is loaded or has no place free: it has a seat, which it may lose meanwhile."""

    def __init__(self, seats: Seats, turn: Turn) -> None:
        self.turn = turn
        self._seats = seats
        self._seat: Seat | None = None
        self._waiting: asyncio.Task[object] | None = None
        self._is_lost = False

    def __enter__(self) -> None:
        """Begin to wait. Raises Busy, TooMany."""
        if self._seat is None:
            try:
                self._seat = self._seats.take(self.turn, self._lost)
            except NoSeat as error:
                raise _refusal(error) from None
        self._waiting = asyncio.current_task()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait no longer, for now. Raises TooMany when the seat was lost meanwhile."""
        waiting, self._waiting = self._waiting, None
        if self._is_lost:
            assert waiting is not None
            if waiting.uncancel() == 0:  # else its caller left as well
                raise TooMany(SHARED, retry_after_s=RETRY_AFTER_S) from None

    def over(self) -> None:
        """It has what it waited for, or gave up."""
        if self._seat is not None:
            self._seat.leave()
            self._seat = None

    def _lost(self) -> None:
        self._is_lost = True
        if self._waiting is not None:
            self._waiting.cancel()


def _refusal(error: NoSeat) -> OrchestratorError:
    if error.bound:
        return TooMany(LIMITED.format(error.bound.partition(" ")[0]), retry_after_s=RETRY_AFTER_S)
    if error.is_share:
        return TooMany(SHARED, retry_after_s=RETRY_AFTER_S)
    return Busy(BUSY, retry_after_s=RETRY_AFTER_S)


class Residents:
    """The loaded models."""

    def __init__(self, store: Store, bounds: Bounds, remembered: Remembered) -> None:
        self._store, self._bounds, self._remembered = store, bounds, remembered
        self._runners: dict[str, Runner] = {}
        self._jobs: dict[tuple[str, int], _Job] = {}
        self._turn = asyncio.Lock()
        self._seats = Seats(bounds.queue)  # of who waits for a load, or for a place at a loaded model
        self._ending: set[asyncio.Task[None]] = set()

    async def answer(self, request: ChatRequest) -> AsyncGenerator[bytes, None]:
        """Yield lines of JSON, loading the model first where that is needed."""
        model = await self._find(request.model)
        start = time.perf_counter_ns()
        wait = _Wait(self._seats, request.turn or NOBODY)
        try:
            runner = await self._take(model, Options.resolve(model.parameters, request.options).num_ctx, wait)
            load_ns = time.perf_counter_ns() - start
            try:
                await self._place(runner, wait)
                try:
                    async with contextlib.aclosing(runner.ask(request, load_ns)) as lines:
                        async for line in lines:
                            yield line
                finally:
                    runner.places.give_back()
            finally:
                self._give_back(runner, request.keep_alive_s)
        finally:
            wait.over()

    async def preview(self, request: ChatRequest) -> wire.Preview | None:
        """What the model would be given to answer `request`, loading it first where that is needed."""
        model = await self._find(request.model)
        runner = await self._take_at_once(model, Options.resolve(model.parameters, request.options).num_ctx)
        try:
            return await runner.preview(request)
        finally:
            self._give_back(runner, request.keep_alive_s)

    async def count(self, request: ChatRequest) -> wire.Preview | None:
        """The same, when the model is loaded, else None. It stays loaded no longer for it. Raises as `chat` does."""
        model = await self._find(request.model)
        if len(self._seats) >= self._bounds.queue:
            raise Busy(BUSY, retry_after_s=RETRY_AFTER_S)
        runner = self._runners.get(str(model.name))
        if runner is None or not self._serves(runner, model, 0):
            return None
        self._use(runner)
        try:
            return await runner.preview(request)
        finally:
            stays_s = runner.expires_at - time.time()
            self._release(runner, -1.0 if stays_s == float("inf") else max(stays_s, 0.0))

    async def load(self, name: str, keep_alive_s: float | None, options: Mapping[str, Any]) -> int:
        """Load a model, or keep it for longer; returns the nanoseconds that took."""
        model = await self._find(name)
        start = time.perf_counter_ns()
        self._give_back(
            await self._take_at_once(model, Options.resolve(model.parameters, options).num_ctx), keep_alive_s
        )
        return time.perf_counter_ns() - start

    async def unload(self, name: str) -> bool:
        """Let a model go, when its running answers are done; False when it was not loaded."""
        model = await self._find(name)
        runner = self._runners.get(str(model.name))
        if runner is None:
            return False
        if runner.users:
            runner.expires_at = 0.0  # whoever gives it back last ends it
            runner.is_retiring = True
        else:
            await self._end(runner)
        return True

    def loading(self) -> list[str]:
        """The models that are being loaded, or wait for their turn."""
        return sorted({name for name, _ in self._jobs})

    def loaded(self) -> list[dict[str, Any]]:
        """What is loaded, as `/api/ps` and the dashboard want it."""
        return [
            {
                "name": name,
                "size": runner.size,
                "context": runner.context,
                "expires_at": runner.expires_at if runner.expires_at < float("inf") else None,
                "slots": runner.slots,
                "users": runner.users,
                "tokens_per_s": runner.tokens_per_s if runner.users else 0.0,
                "threads": runner.threads,
                "pid": runner.pid,
            }
            for name, runner in self._runners.items()
        ]

    async def close(self) -> None:
        """End every child."""
        for job in list(self._jobs.values()):
            job.task.cancel()
        await asyncio.gather(*(job.task for job in list(self._jobs.values())), return_exceptions=True)
        await asyncio.gather(*(runner.stop() for runner in self._runners.values()))
        await asyncio.gather(*self._ending)
        self._runners.clear()

    async def _find(self, name: str) -> StoredModel:
        try:
            model = await asyncio.to_thread(self._store.find, name)
        except ValueError:
            model = None
        if model is None:
            raise ModelNotFound(f"model '{name}' not found")
        return model

    async def _take_at_once(self, model: StoredModel, context: int) -> Runner:
        """A runner for something that needs no place, with one more user. Raises as `_take` does."""
        wait = _Wait(self._seats, NOBODY)
        try:
            return await self._take(model, context, wait)
        finally:
            wait.over()

    async def _take(self, model: StoredModel, context: int, wait: _Wait) -> Runner:
        """A runner for this model, with one more user. Raises Busy, TooMany when too many wait already."""
        name = str(model.name)
        wanted = min(context, model.header.context_length or context)
        runner = self._runners.get(name)
        if runner and self._serves(runner, model, wanted):
            if not runner.places.is_free:
                with wait:  # who is refused does not count as a user
                    pass
            self._use(runner)
            return runner
        with wait:
            job = self._jobs.get((name, wanted))
            if job is None:
                job = self._jobs[name, wanted] = _Job(asyncio.create_task(self._load(model, wanted)))
                job.task.add_done_callback(lambda task: task.cancelled() or task.exception())  # all who wait are told
            job.callers += 1
            try:
                return await asyncio.shield(job.task)
            except asyncio.CancelledError:
                # The load goes on: others may wait for it, and who asks again finds it done.
                job.callers -= 1
                if job.task.done() and not job.task.cancelled() and not job.task.exception():
                    self._give_back(job.task.result(), None)
                raise

    @staticmethod
    async def _place(runner: Runner, wait: _Wait) -> None:
        """One of the places of this runner, in turn; it must be given back. Raises Busy, TooMany."""
        if runner.places.is_free:
            await runner.places.take(wait.turn)
        else:
            with wait:
                await runner.places.take(wait.turn)
        wait.over()

    @staticmethod
    def _serves(runner: Runner, model: StoredModel, context: int) -> bool:
        """Whether a request can use it. A smaller context than it was loaded with is no reason to reload."""
        return (
            runner.is_alive
            and not runner.is_retiring
            and runner.context >= context
            and runner.model.digest == model.digest
        )

    @staticmethod
    def _use(runner: Runner, times: int = 1) -> None:
        runner.users += times
        if runner.users:
            runner.idle.clear()
        if runner.expiry:
            runner.expiry.cancel()

    def _give_back(self, runner: Runner, keep_alive_s: float | None) -> None:
        """It was used, and stays for so long from now on; with None for as long as somebody asked for last."""
        if keep_alive_s is not None:
            runner.keep_alive_s = keep_alive_s
        self._release(runner, self._bounds.keep_alive_s if runner.keep_alive_s is None else runner.keep_alive_s)

    def _release(self, runner: Runner, keep: float) -> None:
        runner.users -= 1
        runner.last_used = time.monotonic()
        runner.expires_at = float("inf") if keep < 0 else time.time() + keep
        if runner.expiry:
            runner.expiry.cancel()
            runner.expiry = None
        if runner.users == 0:
            runner.idle.set()
            if not self._is_resident(runner):
                return  # it died
            if runner.is_retiring or keep == 0:
                self._expire(runner)
            elif keep > 0:
                runner.expiry = asyncio.get_running_loop().call_later(keep, self._expire, runner)

    def _expire(self, runner: Runner) -> None:
        if runner.users == 0 and self._is_resident(runner):
            runner.is_retiring = True
            task = asyncio.create_task(self._end(runner))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def _is_resident(self, runner: Runner) -> bool:
        return self._runners.get(str(runner.model.name)) is runner

    def _died(self, runner: Runner) -> None:
        if runner.expiry:
            runner.expiry.cancel()
        if self._is_resident(runner):
            del self._runners[str(runner.model.name)]

    async def _end(self, runner: Runner) -> None:
        """Stop a child that nobody uses."""
        runner.is_retiring = True
        await runner.stop()
        self._died(runner)
        if runner.collapses and not self._bounds.threads:
            await asyncio.to_thread(self._remembered.forget, runner.model.digest, usable_cores())

    async def _load(self, model: StoredModel, wanted: int) -> Runner:
        """Load a model once everything that was asked for earlier is, and hand it to all who wait."""
        name = str(model.name)
        try:
            async with self._turn:
                runner = self._runners.get(name)
                if runner is None or not self._serves(runner, model, wanted):
                    if "embedding" in model.capabilities and model.weights.suffix != minilm.SUFFIX:
                        raise ModelLoadFailed(f"{name} makes embeddings in a form that cannot be run; use all-minilm")
                    runner = await self._start(model, wanted)
                self._use(runner, self._jobs[name, wanted].callers)
                if runner.users == 0:  # nobody waits any more
                    self._use(runner)
                    self._give_back(runner, None)
                return runner
        finally:
            del self._jobs[name, wanted]

    async def _start(self, model: StoredModel, wanted: int) -> Runner:
        context, slots = self._fit(model, wanted)
        runner = Runner(model, context, slots, self._died)
        try:
            async with asyncio.timeout(self._bounds.load_timeout_s or None):
                await self._make_room(str(model.name), runner.size)
        except TimeoutError:
            told = f"no room for {model.name} came free in time; try again later"
            raise Busy(told, retry_after_s=RETRY_AFTER_S) from None
        cores = usable_cores()
        known = await asyncio.to_thread(self._remembered.get, model.digest, cores) or Pace(0, 0.0)
        await runner.start(
            Pace(self._bounds.threads, 0.0) if self._bounds.threads else known,
            timeout_s=self._bounds.load_timeout_s,
            memory=self._bounds.memory + ELBOW_ROOM,
        )
        self._runners[str(model.name)] = runner
        log.info(
            "Loaded %s: %s, %d × %d tokens, %d threads",
            *(model.name, readable(runner.size), slots, context, runner.threads),
        )
        if runner.rates:
            measured = Pace(runner.threads, runner.rates[runner.threads])
            await asyncio.to_thread(self._remembered.put, model.digest, cores, measured)
        return runner

    def _fit(self, model: StoredModel, wanted: int) -> tuple[int, int]:
        """Context and slots to load with: the usual ones or larger, less where memory is short."""
        longest = model.header.context_length
        if not (longest and model.header.embedding_length and model.header.number("block_count")):
            raise ModelLoadFailed(f"{model.name} cannot be loaded: its file does not say how large it is")
        usual = min(max(wanted, self._bounds.context), longest)
        least = wanted or usual
        most = 1 if "embedding" in model.capabilities else self._bounds.slots  # it makes one batch at a time
        for context, slots in ((usual, most), (least, most), (least, 1)):
            need = model.header.memory(context, slots)
            if need <= self._bounds.memory:
                return context, slots
        raise ModelLoadFailed(
            f"{model.name} needs {readable(need)} of memory, more than the {readable(self._bounds.memory)} that models "
            "may take; ask for a smaller num_ctx, or raise ORCHESTRATOR_MODEL_MEMORY"
        )

    async def _make_room(self, name: str, need: int) -> None:
        """End the model's own older runner, and others until `need` bytes fit: idle ones first, then the least
        recently used, once its answers are done. It takes nobody new meanwhile, so its turn to wait comes.
        """
        while victim := self._victim(name, need):
            victim.is_retiring = True
            try:
                await victim.idle.wait()
            except asyncio.CancelledError:
                victim.is_retiring = False
                raise
            await self._end(victim)

    def _victim(self, name: str, need: int) -> Runner | None:
        if name in self._runners:
            return self._runners[name]
        taken = sum(runner.size for runner in self._runners.values())
        is_full = bool(self._bounds.models) and len(self._runners) >= self._bounds.models
        if not self._runners or (taken + need <= self._bounds.memory and not is_full):
            return None
        return min(self._runners.values(), key=lambda runner: (runner.users > 0, runner.last_used))
