"""What a child process that makes vectors does: it reads texts, cuts them into tokens, and runs batches of them.

Two threads: one reads what the host says, the main one computes. A request is worked in batches of about the
same length, and several requests in turn, so that a long one holds up no short one.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

from orchestrator.core.errors import BadRequest, ContextTooLong
from orchestrator.core.types import Chunk, Done, Usage
from orchestrator.modelhost import minilm, wire
from orchestrator.modelhost.options import Options

PULSE_S = 1.0
BATCH_TOKENS = 2048  # padding included: more takes memory and is no faster
TOO_LONG = "the input length exceeds the context length"


class Embedder:
    """The model: texts in, vectors out."""

    def __init__(self) -> None:
        """Raises ValueError when a file is not the right one, or cannot be loaded."""
        weights, vocabulary = minilm.checked_files()
        options = onnxruntime.SessionOptions()
        # With two, one waits for the other, spinning, and they get slower as soon as a core is taken.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
            self._tokenizer: Any = Tokenizer.from_file(str(vocabulary))
        except Exception as error:  # both libraries raise bare ones
            raise ValueError(f"{weights.name} cannot be loaded: {error}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def tokens(self, text: str) -> list[int]:
        """The text as tokens, between the two that mark its begin and end."""
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def vectors(self, tokens: Sequence[Sequence[int]]) -> list[bytes]:
        """The mean over the tokens of each, as `Chunk.vectors` has them."""
        ids: npt.NDArray[np.int64] = np.zeros((len(tokens), max(map(len, tokens))), np.int64)
        mask = np.zeros_like(ids)
        for row, one in enumerate(tokens):
            ids[row, : len(one)] = one
            mask[row, : len(one)] = 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (states,) = self._session.run(None, given)
        weights = mask[:, :, None].astype(np.float32)
        means = (states * weights).sum(1) / weights.sum(1)
        return [row.astype("<f4").tobytes() for row in means]


@dataclass(slots=True)
class _Job:
    """A request that is being worked."""

    ask: wire.Ask
    began: float = field(default_factory=time.perf_counter)
    tokens: list[list[int]] = field(default_factory=list)
    batches: deque[list[int]] = field(default_factory=deque)  # places in `tokens`
    vectors: dict[int, bytes] = field(default_factory=dict)


class EmbeddingSession:
    """The loaded model and the connection to the host."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._inbox: queue.SimpleQueue[wire.Ask | wire.Cancel] = queue.SimpleQueue()  # bounded by the host
        self._jobs: deque[_Job] = deque()

    def run(self, load: wire.Load) -> None:
        """Answer until the host hangs up, which ends the process."""
        try:
            self._model = Embedder()
        except (ValueError, MemoryError) as error:
            self._send(wire.LoadFailed(str(error) or "there is not enough memory"))
            return
        self._longest = load.context
        threading.Thread(target=self._listen, daemon=True).start()
        self._send(wire.Ready(1, {}))
        self._work()

    def _listen(self) -> None:
        """Hand on what the host says."""
        try:
            while True:
                message = wire.to_child(self._connection)
                if not isinstance(message, wire.Load):
                    self._inbox.put(message)
        except (EOFError, OSError):
            os._exit(0)  # the host is gone or wants this to be; nothing here is worth a farewell

    def _work(self) -> None:
        """Compute while there is something to compute, and wait for the host otherwise."""
        since, done = time.monotonic(), 0
        while True:
            if not self._jobs:
                self._take(self._inbox.get())
                since, done = time.monotonic(), 0
            while not self._inbox.empty():
                self._take(self._inbox.get())
            if self._jobs:
                job = self._jobs.popleft()
                done += self._step(job)
                if job.batches:
                    self._jobs.append(job)  # behind the others
                else:
                    self._tell(job)
            elapsed = time.monotonic() - since
            if elapsed >= PULSE_S:
                self._send(wire.Pulse(done / elapsed, 1, 0))
                since, done = time.monotonic(), 0

    def _take(self, message: wire.Ask | wire.Cancel) -> None:
        if isinstance(message, wire.Cancel):
            self._jobs = deque(job for job in self._jobs if job.ask.id != message.id)
            return
        try:
            self._jobs.append(self._prepared(message))
        except BadRequest as error:
            self._send(wire.Refused(message.id, error.kind, str(error)))

    def _prepared(self, ask: wire.Ask) -> _Job:
        """Raises BadRequest when a text is too long and must not be cut, or there is none."""
        if ask.request.inputs is None:
            raise BadRequest(f'"{ask.request.model}" does not support chat')
        job = _Job(ask)
        most = min(Options.resolve(ask.options, ask.request.options).num_ctx or self._longest, self._longest)
        for text in ask.request.inputs:
            ids = self._model.tokens(text)
            if len(ids) > most:
                if not ask.request.truncate:
                    raise ContextTooLong(TOO_LONG)
                ids = [*ids[: most - 1], ids[-1]]  # the mark of the end stays
            job.tokens.append(ids)
        batch: list[int] = []
        for place in sorted(range(len(job.tokens)), key=lambda place: len(job.tokens[place])):
            if batch and (len(batch) + 1) * len(job.tokens[place]) > BATCH_TOKENS:
                job.batches.append(batch)
                batch = []
            batch.append(place)
        if batch:
            job.batches.append(batch)
        return job

    def _step(self, job: _Job) -> int:
        """Work one batch of `job`; return how many tokens that were."""
        places = job.batches.popleft() if job.batches else []
        if places:
            vectors = self._model.vectors([job.tokens[place] for place in places])
            job.vectors |= dict(zip(places, vectors, strict=True))
        return sum(len(job.tokens[place]) for place in places)

    def _tell(self, job: _Job) -> None:
        tokens = sum(map(len, job.tokens))
        usage = Usage(
            prompt_tokens=tokens,
            load_ns=job.ask.load_ns,
            prompt_ns=round((time.perf_counter() - job.began) * 1e9),
        )
        vectors = tuple(job.vectors[place] for place in range(len(job.tokens)))
        chunk = Chunk(vectors=vectors, done=Done(reason="stop", usage=usage))
        self._send(wire.Piece(job.ask.id, wire.to_line(chunk), True))

    def _send(self, message: wire.FromChild) -> None:
        try:
            self._connection.sendall(wire.child_frame(message))
        except OSError:
            os._exit(0)  # the host is gone
