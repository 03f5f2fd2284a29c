"""The host's side of one child process: start it, ask it, notice when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import resource
import socket
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.core.errors import BadRequest, EngineCrashed, EngineError, ModelLoadFailed, OrchestratorError
from orchestrator.core.types import ChatRequest
from orchestrator.modelhost import wire
from orchestrator.modelhost.places import Places
from orchestrator.modelhost.store import StoredModel
from orchestrator.modelhost.threads import Pace

log = logging.getLogger(__name__)

CRASHED = (
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, "
    "check ollama server logs for details"
)
SILENCE_S = 120.0  # a child that computes and says nothing for so long hangs; it reports every second
GOODBYE_S = 5.0  # for a child to end when it is told to
VECTORS_AT_ONCE = 8
LARGEST_MAIL = 8 * 1024**2  # bytes of an answer that its reader has yet to take
_ROOT = Path(__file__).resolve().parent.parent.parent
_PASSED_ON = ("LD_LIBRARY_PATH", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


class Runner:
    """A loaded model. `users`, `idle` and `places` are kept by whoever hands it out."""

    def __init__(self, model: StoredModel, context: int, slots: int, on_death: Callable[[Runner], None]) -> None:
        self.model, self.context, self.slots = model, context, slots
        self.size = model.header.memory(context, slots)  # bytes
        # Vectors are made in turn, a batch of each: a short list is not to wait for long ones to end.
        self.places = Places(VECTORS_AT_ONCE if "embedding" in model.capabilities else slots)
        self.users = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self.is_retiring = False  # takes nobody new, and ends when it is idle
        self.is_alive = False
        self.last_used = time.monotonic()
        self.keep_alive_s: float | None = None  # as somebody asked for it last; None: nobody did
        self.expires_at = float("inf")  # seconds since the epoch
        self.expiry: asyncio.TimerHandle | None = None
        self.threads, self.rates, self.tokens_per_s, self.collapses = 0, dict[int, float](), 0.0, 0
        self._on_death = on_death
        self._heard = time.monotonic()
        self._ids = itertools.count(1)
        self._mail: dict[int, _Mailbox] = {}
        self._last_words: deque[str] = deque(maxlen=30)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._process.pid

    async def start(self, pace: Pace, *, timeout_s: float, memory: int) -> None:
        """Start the child and wait until it can be asked.

        pace    threads and what is known of them; 0 threads: let it measure.
        memory  bytes of its own it may take at most; 0: any.
        Raises ModelLoadFailed with the reason; no process is left over then.
        """
        await self._spawn()
        try:
            if memory:
                with contextlib.suppress(ProcessLookupError):
                    resource.prlimit(self._process.pid, resource.RLIMIT_DATA, (memory, memory))
            model = self.model
            template = model.template if model.runs_template else ""
            load = wire.Load(str(model.weights), self.context, self.slots, pace.threads, pace.tokens_per_s, template)
            async with asyncio.timeout(timeout_s or None):
                self._writer.write(wire.frame(load))
                said = await wire.from_child(self._reader)
            if isinstance(said, wire.LoadFailed):
                raise ModelLoadFailed(f"{self.model.name} cannot be loaded: {said.message}")
            if not isinstance(said, wire.Ready):
                raise ModelLoadFailed(f"{self.model.name} cannot be loaded: its process says what nobody asked")
        except TimeoutError:
            await self.stop(at_once=True)
            raise ModelLoadFailed(f"{self.model.name} was not loaded within {timeout_s:g} s") from None
        except (EOFError, OSError, ValueError) as error:
            await self.stop(at_once=True)
            why = f"its process ended ({_ending(self._process.returncode)}): {self._tail()}"
            raise ModelLoadFailed(f"{self.model.name} cannot be loaded: {why}") from error
        except BaseException:
            await self.stop(at_once=True)
            raise
        self.threads, self.rates = said.threads, said.rates
        self.is_alive = True
        self._tasks.append(asyncio.create_task(self._read()))

    async def preview(self, request: ChatRequest) -> wire.Preview | None:
        """What the model would be given to answer `request`."""
        async with contextlib.aclosing(self.ask(request, 0, is_preview=True)) as lines:
            return wire.preview_from_line(b"".join([line async for line in lines]))

    async def ask(self, request: ChatRequest, load_ns: int, *, is_preview: bool = False) -> AsyncGenerator[bytes, None]:
        """Yield the answer as lines of JSON, several at a time when they come faster than they are taken.

        Closing the iterator stops the work within one token.
        """
        number, mail = next(self._ids), _Mailbox()
        model = self.model
        ask = wire.Ask(number, request, dict(model.parameters), model.system, model.messages, load_ns, is_preview)
        try:
            data = wire.frame(ask)
        except ValueError as error:
            raise BadRequest(str(error)) from error
        if not self.is_alive:
            raise EngineCrashed(CRASHED)
        self._mail[number] = mail
        try:
            self._writer.write(data)
            is_end = False
            while not is_end:
                try:
                    async with asyncio.timeout(SILENCE_S):
                        lines, is_end = await mail.take()
                except TimeoutError:
                    self._suspect()
                    continue
                yield lines
        finally:
            if self._mail.pop(number, None) and not mail.is_complete and self.is_alive:
                self._writer.write(wire.frame(wire.Cancel(number)))

    async def stop(self, *, at_once: bool = False) -> None:
        """End the child and wait until it is gone; answers that run are lost."""
        if self.expiry:
            self.expiry.cancel()
        self.is_alive = False
        self._writer.close()  # it ends when it hears this
        if at_once:
            self._kill()
        try:
            async with asyncio.timeout(GOODBYE_S):
                await self._process.wait()
        except TimeoutError:
            self._kill()
            await self._process.wait()
        self._lose()
        mine = asyncio.current_task()
        for task in self._tasks:
            if task is not mine:
                await asyncio.wait({task}, timeout=GOODBYE_S)

    async def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    *(
                        sys.executable,
                        "-P",
                        "-m",
                        "orchestrator.modelhost.child",
                        str(theirs.fileno()),
                        str(os.getpid()),
                    ),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    env=_environment(),
                    cwd="/",
                )
        except OSError as error:
            ours.close()
            raise ModelLoadFailed(f"{self.model.name} cannot be loaded: no process can be started: {error}") from error
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        self._tasks.append(asyncio.create_task(self._overhear()))

    async def _read(self) -> None:
        """Hand what the child says to whoever asked, until it is gone."""
        try:
            while True:
                self._deliver(await wire.from_child(self._reader))
                self._heard = time.monotonic()
        except (EOFError, OSError, ValueError) as error:
            if not isinstance(error, EOFError):
                log.error("The process of %s cannot be understood and is ended: %s", self.model.name, error)
        was_alive, self.is_alive = self.is_alive, False
        if was_alive:
            self._kill()
            self._lose()
            code = await self._process.wait()
            self._writer.close()
            await asyncio.wait({self._tasks[0]}, timeout=1)  # what it wrote last
            log.error("The process of %s ended (%s): %s", self.model.name, _ending(code), self._tail())
            self._on_death(self)

    def _suspect(self) -> None:
        """Someone waits and hears nothing. A child that works reports every second; one that does not hangs."""
        if time.monotonic() - self._heard >= SILENCE_S:
            log.error("The process of %s has been silent for %g s and is ended", self.model.name, SILENCE_S)
            self._kill()  # which is noticed where it is read

    def _deliver(self, message: wire.FromChild) -> None:
        if isinstance(message, wire.Pulse):
            self.tokens_per_s, self.threads = message.tokens_per_s, message.threads
            self.collapses = message.collapses
        elif isinstance(message, wire.Piece | wire.Refused):
            mail = self._mail.get(message.id)
            if mail is None:
                return  # nobody listens any more
            if isinstance(message, wire.Refused):
                mail.fail(wire.error_of(message.kind, message.message))
            else:
                mail.put(message.line, is_last=message.is_last)

    async def _overhear(self) -> None:
        """Keep the last lines of the child's standard error."""
        assert self._process.stderr is not None  # it was asked for
        while line := await self._process.stderr.read(4096):
            self._last_words.extend(line.decode(errors="replace").splitlines())

    def _lose(self) -> None:
        for mail in self._mail.values():
            mail.fail(EngineCrashed(CRASHED))

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def _tail(self) -> str:
        return " / ".join(line for line in list(self._last_words)[-4:] if line.strip())[-600:] or "it said nothing"


class _Mailbox:
    """Lines of one answer, between the child and whoever reads them."""

    def __init__(self) -> None:
        self.is_complete = False  # the child will say no more about it
        self._lines: list[bytes] = []
        self._size = 0
        self._error: OrchestratorError | None = None
        self._arrived = asyncio.Event()

    def put(self, line: bytes, *, is_last: bool) -> None:
        if self._error:
            return
        self._lines.append(line)
        self._size += len(line)
        self.is_complete = is_last
        if self._size > LARGEST_MAIL and len(self._lines) > 1:  # one alone is no backlog
            self._error = EngineError("the answer was not read as fast as it was made")
        self._arrived.set()

    def fail(self, error: OrchestratorError) -> None:
        if not self.is_complete:
            self.is_complete, self._error = True, error
            self._arrived.set()

    async def take(self) -> tuple[bytes, bool]:
        """What has arrived, and whether that was all. Raises the error once what came before it is taken."""
        await self._arrived.wait()
        self._arrived.clear()
        lines, self._lines, self._size = self._lines, [], 0
        if self._error and not lines:
            raise self._error
        if self._error:
            self._arrived.set()
        return b"".join(line + b"\n" for line in lines), self.is_complete and not self._error


def _environment() -> Mapping[str, str]:
    """Nothing of the host's but where libraries are; keys and secrets stay out."""
    passed: dict[str, Any] = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # Without the last one, ggml would start a debugger on itself when it fails.
    return {"PYTHONPATH": str(_ROOT), "LANG": "C.UTF-8", "GGML_NO_BACKTRACE": "1", **passed}


def _ending(code: int | None) -> str:
    if code is None:
        return "it still runs"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
