"""What a child process does: it reads requests, turns them into tokens, and decodes them together.

Three threads: one reads what the host says, one turns requests into tokens, and the main one decodes.
llama.cpp lets go of the interpreter while it computes, so the other two do not hold it up.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.errors import BadRequest, EngineError, OrchestratorError
from orchestrator.core.types import Chunk
from orchestrator.modelhost import wire
from orchestrator.modelhost.batching import Batcher
from orchestrator.modelhost.go_chat import GoChat
from orchestrator.modelhost.llama import Llama, silence
from orchestrator.modelhost.prompt import GoneError, Question, prepare, preview
from orchestrator.modelhost.template import ChatTemplate
from orchestrator.modelhost.threads import Governor, Pace, candidates, choose, usable_cores

PULSE_S = 1.0
MEASURING_S = 4.0  # the most that measuring the threads may take altogether


@dataclass(frozen=True, slots=True)
class _Shown:
    """A preview, written out: whatever could go wrong with it has not."""

    id: int
    frame: bytes


class Session:
    """One loaded model and the connection to the host."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._asked: queue.SimpleQueue[wire.Ask] = queue.SimpleQueue()  # bounded by the host, as is the next
        self._inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._preparing: set[int] = set()
        self._cancelled: set[int] = set()  # some of those

    def run(self, load: wire.Load) -> None:
        """Answer until the host hangs up, which ends the process."""
        silence()
        try:
            model = Llama(
                Path(load.weights), context=load.context, slots=load.slots, threads=load.threads or usable_cores()
            )
            template = GoChat(load.template) if load.template else self._of_file(model)
        except (ValueError, MemoryError) as error:
            self._send(wire.LoadFailed(str(error) or "there is not enough memory"))
            return
        rates = {} if load.threads else self._measure(model)
        threads = load.threads or choose(rates, usable_cores())
        model.set_threads(threads)
        pace = Pace(threads, rates.get(threads, load.tokens_per_s))
        self._model, self._template = model, template
        self._batcher = Batcher(model, self._tell, self._refuse)
        self._governor = Governor(pace, model.set_threads, time.monotonic)
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._prepare, daemon=True).start()
        self._send(wire.Ready(threads, rates))
        self._work()

    @staticmethod
    def _of_file(model: Llama) -> ChatTemplate:
        return ChatTemplate(model.chat_template, bos=model.bos, eos=model.eos)

    @staticmethod
    def _measure(model: Llama) -> dict[int, float]:
        start, rates = time.monotonic(), {}
        for threads in candidates(usable_cores()):
            rates[threads] = model.pace(threads)
            if time.monotonic() - start > MEASURING_S:
                break
        return rates

    def _listen(self) -> None:
        """Hand on what the host says."""
        try:
            while True:
                message = wire.to_child(self._connection)
                if isinstance(message, wire.Ask):
                    self._preparing.add(message.id)
                    self._asked.put(message)
                else:
                    self._inbox.put(message)
        except (EOFError, OSError):
            os._exit(0)  # the host is gone or wants this to be; nothing here is worth a farewell

    def _prepare(self) -> None:
        """Turn requests into tokens, away from the thread that decodes."""
        while True:
            self._inbox.put(self._prepared(self._asked.get()))

    def _prepared(self, ask: wire.Ask) -> Question | _Shown | wire.Refused:
        """What comes of a request; never an error, which would be the end of this thread and of all who wait for it."""

        def is_wanted() -> bool:
            return ask.id not in self._cancelled

        try:
            if not ask.is_preview:
                return prepare(self._model, self._template, ask, is_wanted)
            said = wire.preview_to_line(preview(self._model, self._template, ask, is_wanted))
            return _Shown(ask.id, wire.frame(wire.Piece(ask.id, said, is_last=True)))
        except GoneError:
            return wire.Refused(ask.id, EngineError.kind, "nobody listens any more")
        except OrchestratorError as error:
            return wire.Refused(ask.id, error.kind, str(error))
        except (ValueError, MemoryError) as error:
            return wire.Refused(ask.id, BadRequest.kind, str(error) or "there is not enough memory for it")
        except Exception as error:  # noqa: BLE001
            traceback.print_exc(file=sys.stderr)  # the host keeps its last lines
            return wire.Refused(ask.id, EngineError.kind, f"the prompt could not be made ({type(error).__name__})")

    def _work(self) -> None:
        """Decode while there is something to decode, and wait for the host otherwise."""
        since, written = time.monotonic(), 0
        while True:
            if not self._batcher.is_busy:
                self._take(self._inbox.get())
                since, written = time.monotonic(), self._batcher.written
            while not self._inbox.empty():
                self._take(self._inbox.get())
            answers, took = self._batcher.step()
            if answers:
                self._governor.note(answers, took)
            elapsed = time.monotonic() - since
            if elapsed >= PULSE_S:
                rate = (self._batcher.written - written) / elapsed
                self._send(wire.Pulse(rate, self._governor.threads, self._governor.collapses))
                since, written = time.monotonic(), self._batcher.written

    def _take(self, message: object) -> None:
        if isinstance(message, wire.Cancel):
            if message.id in self._preparing:
                self._cancelled.add(message.id)
            else:
                self._batcher.cancel(message.id)
        elif isinstance(message, Question | _Shown | wire.Refused):
            self._preparing.discard(message.id)
            is_wanted = message.id not in self._cancelled
            self._cancelled.discard(message.id)
            match message:
                case Question() if is_wanted:
                    self._batcher.add(message)
                case Question():
                    message.sampler.close()
                case _Shown() if is_wanted:
                    self._write(message.frame)
                case wire.Refused() if is_wanted:
                    self._send(message)

    def _tell(self, id: int, chunk: Chunk) -> None:
        self._send(wire.Piece(id, wire.to_line(chunk), chunk.done is not None))

    def _refuse(self, id: int, why: str) -> None:
        self._send(wire.Refused(id, "engine_error", why))

    def _send(self, message: wire.FromChild) -> None:
        self._write(wire.child_frame(message))

    def _write(self, frame: bytes) -> None:
        try:
            with self._sending:
                self._connection.sendall(frame)
        except OSError:
            os._exit(0)  # the host is gone
