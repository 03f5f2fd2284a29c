"""Tiny working stand-ins, for units that must not need a model or a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from orchestrator import capabilities
from orchestrator.api.options import READERS
from orchestrator.core.clock import Clock
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.types import ChatRequest, Chunk, Done, Model, TokenLogprob, Usage
from orchestrator.ledger.holds import Charged, Reservation
from orchestrator.ledger.writer import Ledger
from orchestrator.modelhost.names import Name, is_name
from orchestrator.modelhost.wire import Preview

DIGEST = "d" * 64
EVERYTHING = frozenset({*capabilities.ASKING.values(), *READERS, "effort", "thinking"})


class SetClock(Clock):
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def pass_(self, seconds: float) -> None:
        self.seconds += seconds


class FakeEngine:
    """Answers with its pieces, and counts. `gate` holds it before the last chunk; `error` comes after `pieces`."""

    def __init__(self, name: str = "llamacpp", model: str = "tiny:latest", *, is_paid: bool = False) -> None:
        self.name = name
        able = {"completion", "tools", "vision", "thinking"} if is_paid else {"completion"}
        self.model = Model(
            name=model,
            digest=DIGEST,
            engine=name,
            is_paid=is_paid,
            family="tiny",
            capabilities=frozenset(able),
            takes=EVERYTHING,
        )
        self.pieces: Sequence[str] = ("fo", "ur")
        self.reason = "stop"
        self.stop_string = ""
        self.error: Exception | None = None
        self.is_counting = True
        self.logprob: float | None = None  # of each piece, where it is asked for
        self.gate: asyncio.Event | None = None
        self.calls = 0
        self.closed = 0
        self.asked: list[ChatRequest] = []
        self.loaded: list[str] = []
        self.counted: int | None = None

    async def chat(self, request: ChatRequest, model: Model) -> AsyncGenerator[Chunk, None]:
        self.calls += 1
        self.asked.append(request)
        try:
            for piece in self.pieces:
                told: tuple[TokenLogprob, ...] = ()
                if self.logprob is not None and request.logprobs:
                    told = (TokenLogprob(token=piece, logprob=self.logprob),)
                yield Chunk(text=piece, logprobs=told)
            if self.gate:
                await self.gate.wait()
            if self.error:
                raise self.error
            tokens = len(self.pieces)
            usage = Usage(prompt_tokens=7, completion_tokens=tokens, load_ns=3, prompt_ns=5, eval_ns=6)
            usage = replace(usage, is_estimated=not self.is_counting)
            context = () if "endpoint" in self.model.takes and not request.wants_context else (1, 2, 3)
            yield Chunk(done=Done(reason=self.reason, usage=usage, context=context, stop_string=self.stop_string))
        finally:
            self.closed += 1

    async def preview(self, request: ChatRequest, model: Model) -> Preview:
        self.asked.append(request)
        return Preview("".join(f"[{message.content}]" for message in request.messages), 7)

    async def count(self, request: ChatRequest, model: Model) -> int | None:
        if self.error:
            raise self.error
        return self.counted

    async def models(self) -> list[Model]:
        return [self.model]

    async def find(self, name: str) -> Model | None:
        if self.model.is_remote:
            return self.model if name.lower() == self.model.name else None
        return self.model if is_name(name) and Name.parse(name).folded == Name.parse(self.model.name).folded else None

    async def load(self, model: Model, keep_alive_s: float | None, options: object = None) -> None:
        self.loaded.append(model.name)

    async def unload(self, model: Model) -> None:
        self.loaded = [name for name in self.loaded if name != model.name]

    async def ps(self) -> list[object]:
        return []

    async def ready(self) -> bool:
        return True

    async def aclose(self) -> None:
        pass


class Books(Ledger):
    """A ledger that notes what is reserved and let go. `refuses` comes of reserving; `gate` holds who reserves."""

    refuses: OrchestratorError | None = None
    gate: asyncio.Event | None = None

    def __init__(self, clock: Clock) -> None:
        self.reserved: list[Reservation] = []  # for a hard budget: it is waited for
        self.held: list[Reservation] = []
        self.released: list[str] = []
        self.late: list[Charged] = []
        super().__init__(clock)

    async def reserve(self, reservation: Reservation) -> None:
        self.reserved.append(reservation)
        if self.gate:
            await self.gate.wait()
        if self.refuses:
            raise self.refuses

    def hold(self, reservation: Reservation) -> None:
        self.held.append(reservation)

    def release(self, hold: str) -> None:
        self.released.append(hold)

    def charge(self, charged: Charged) -> None:
        self.late.append(charged)
