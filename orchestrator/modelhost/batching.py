"""Continuous batching: every step decodes one token of each running answer and a piece of a waiting prompt.

Answers begin and end at any time without the others noticing. A prompt is taken in pieces, as large
as fit into a fraction of a second, so that running answers do not stall meanwhile. A slot keeps what
it has computed; the next question that begins alike starts from there.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from orchestrator.core.types import Chunk, Done, StopReason, TokenLogprob, Usage
from orchestrator.modelhost.llama import LARGEST_BATCH, Llama
from orchestrator.modelhost.prompt import Question
from orchestrator.modelhost.sampling import logprob

FIRST_PIECE = 64  # tokens of a prompt, before its pace is known
PIECE_S, PIECE_ALONE_S = 0.1, 0.4  # how long a step with a piece of a prompt may take, with and without other answers


@dataclass(slots=True)
class Slot:
    """Room for one answer in the model's memory."""

    number: int
    held: list[int] = field(default_factory=list)  # the tokens computed in it
    is_free: bool = True

    def shared(self, tokens: list[int]) -> int:
        """How many tokens at the start it has computed already, of all but the last."""
        count = 0
        for mine, theirs in zip(self.held, tokens[:-1], strict=False):
            if mine != theirs:
                break
            count += 1
        return count


@dataclass(slots=True)
class Answer:
    """A question that has a slot."""

    question: Question
    slot: Slot
    taken: int  # tokens of the prompt that are computed
    started_ns: int
    first_ns: int = 0  # when its first token was chosen
    written: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)  # of tokens whose text is held back
    ahead: list[int] = field(default_factory=list)  # what it writes next, whatever the model would
    row: int = -1  # where its logits are in the batch of this step

    @property
    def is_writing(self) -> bool:
        """Whether its whole prompt is computed."""
        return self.taken == len(self.question.tokens)


Send = Callable[[int, Chunk], None]
Fail = Callable[[int, str], None]


class Batcher:
    """Decodes questions side by side. `send` gets each chunk, `fail` the reason when one cannot be answered."""

    def __init__(self, model: Llama, send: Send, fail: Fail) -> None:
        self.model, self._send, self._fail = model, send, fail
        self.slots = [Slot(number) for number in range(model.slots)]
        self.answers: list[Answer] = []
        self.waiting: deque[Question] = deque()
        self.written = 0  # tokens, since the start
        self._prompt_rate = 0.0  # tokens per second

    @property
    def is_busy(self) -> bool:
        """Whether another step would do anything."""
        return bool(self.answers or self.waiting)

    def add(self, question: Question) -> None:
        """Answer this as soon as a slot is free."""
        self.waiting.append(question)

    def cancel(self, id: int) -> None:
        """Stop answering; its slot is free at once."""
        for answer in self.answers:
            if answer.question.id == id:
                self._release(answer)
                return
        for question in self.waiting:
            if question.id == id:
                self.waiting.remove(question)
                question.sampler.close()
                return

    def step(self) -> tuple[int, float]:
        """Decode once and send what came of it. Returns how many tokens were written, when nothing
        else was done (otherwise 0), and how many seconds it took.
        """
        self._admit()
        writing, rows = self._place_writers()
        piece = self._place_prompts(rows, is_alone=not writing)
        if not rows + piece:
            return 0, 0.0
        start = time.perf_counter()
        try:
            self.model.decode(rows + piece)
        except RuntimeError as error:
            self._give_up(str(error))
            return 0, 0.0
        for answer in [answer for answer in self.answers if answer.row >= 0]:
            self._write(answer)
        took = time.perf_counter() - start
        if piece:
            self._prompt_rate = piece / took if not self._prompt_rate else 0.7 * self._prompt_rate + 0.3 * piece / took
        return (0, took) if piece else (rows, took)

    def _admit(self) -> None:
        """Give free slots to who waits longest; each the slot that knows most of its prompt."""
        free = [slot for slot in self.slots if slot.is_free]
        while free and self.waiting:
            question = self.waiting.popleft()
            shared, slot = max(((slot.shared(question.tokens), slot) for slot in free), key=lambda pair: pair[0])
            free.remove(slot)
            if not self.model.forget(slot.number, shared):  # a recurrent model cannot go back a little
                self.model.forget(slot.number)
                shared = 0
            del slot.held[shared:]
            slot.is_free = False
            self.answers.append(Answer(question, slot, shared, time.perf_counter_ns()))

    def _place_writers(self) -> tuple[int, int]:
        """Put the last token of every running answer into the batch; returns how many run, and rows used."""
        row = 0
        for answer in list(self.answers):
            answer.row = -1
            if not answer.is_writing:
                continue
            if len(answer.slot.held) >= answer.question.context and not self._shift(answer):
                self._finish(answer, "length")
                continue
            token = answer.written[-1]
            self.model.put(row, token, len(answer.slot.held), answer.slot.number, wants_logits=True)
            answer.slot.held.append(token)
            answer.row = row
            row += 1
        return row, row

    def _place_prompts(self, row: int, *, is_alone: bool) -> int:
        """Fill the batch with pieces of prompts, first come first served; returns how many tokens."""
        room = min(LARGEST_BATCH - row, self._piece(is_alone=is_alone))
        placed = 0
        for answer in self.answers:
            if answer.is_writing or placed >= room:
                continue
            tokens, slot = answer.question.tokens, answer.slot
            end = min(answer.taken + min(room - placed, answer.question.chunk), len(tokens))
            for position in range(answer.taken, end):
                is_last = position == len(tokens) - 1
                self.model.put(row + placed, tokens[position], position, slot.number, wants_logits=is_last)
                placed += 1
            slot.held.extend(tokens[answer.taken : end])
            answer.taken = end
            if answer.is_writing:
                answer.row = row + placed - 1
        return placed

    def _piece(self, *, is_alone: bool) -> int:
        if not self._prompt_rate:
            return FIRST_PIECE
        return max(16, int(self._prompt_rate * (PIECE_ALONE_S if is_alone else PIECE_S)))

    def _shift(self, answer: Answer) -> bool:
        """Forget half of what lies after the start, so that there is room to go on."""
        question, slot = answer.question, answer.slot
        gone = (len(slot.held) - question.keep) // 2
        if (
            not question.may_shift
            or gone < 1
            or not self.model.forget(slot.number, question.keep, question.keep + gone)
        ):
            return False
        self.model.move(slot.number, question.keep + gone, -gone)
        del slot.held[question.keep : question.keep + gone]
        return True

    def _write(self, answer: Answer) -> None:
        """Choose the next token of an answer and send the text that is certain."""
        question, row = answer.question, answer.row
        if not answer.first_ns:
            answer.first_ns = time.perf_counter_ns()
            if question.cap == 0:
                self._finish(answer, "length")
                return
        try:
            token = self._next(answer)
        except ValueError as error:
            self._fail(question.id, str(error))
            self._release(answer)
            return
        self.written += 1
        answer.written.append(token)
        if self.model.is_end(token):
            self._finish(answer, "stop")
            return
        if question.logprobs:
            answer.logprobs.append(logprob(self.model, row, token, question.top_logprobs))
        text = question.out.feed(self.model.piece(token))
        self._tell(answer, question.reader.feed(text) if text else [])
        if question.reader.has_told_all and not question.out.is_holding:
            answer.logprobs.clear()  # nobody is told of the form
        if question.out.stopped_by:
            answer.logprobs.clear()  # what is left of them is about the stop string
            self._finish(answer, "stop")
        elif question.reader.is_over:
            self._finish(answer, "stop")
        elif len(answer.written) >= question.cap:
            self._finish(answer, "length")

    @staticmethod
    def _next(answer: Answer) -> int:
        """Raises ValueError when the grammar allows no token."""
        question = answer.question
        if question.reader.wants_answer and not answer.ahead:
            answer.ahead = list(question.opening)
        if answer.ahead:
            return answer.ahead.pop(0)
        return question.sampler.sample(answer.row, is_free=question.reader.is_thinking)

    def _tell(self, answer: Answer, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            if chunk.thinking and not answer.question.shows_thinking:
                answer.logprobs.clear()  # nobody is told of what nobody sees
                continue
            if (chunk.text or chunk.thinking) and answer.logprobs:
                chunk = replace(chunk, logprobs=tuple(answer.logprobs))
                answer.logprobs.clear()
            self._send(answer.question.id, chunk)

    def _finish(self, answer: Answer, reason: StopReason) -> None:
        question, now = answer.question, time.perf_counter_ns()
        rest = question.out.flush()
        self._tell(answer, (question.reader.feed(rest) if rest else []) + question.reader.flush())
        usage = Usage(
            prompt_tokens=len(question.tokens),
            completion_tokens=len(answer.written),
            load_ns=question.load_ns,
            prompt_ns=max(1, answer.first_ns - answer.started_ns),
            eval_ns=max(1, now - answer.first_ns),
        )
        stopped_by = question.out.stopped_by
        done = Done(
            reason=reason,
            usage=usage,
            context=(*question.tokens, *answer.written),
            stop_string=stopped_by if stopped_by in question.callers_stops else "",
        )
        self._send(question.id, Chunk(done=done, logprobs=tuple(answer.logprobs)))
        self._release(answer)

    def _release(self, answer: Answer) -> None:
        self.answers.remove(answer)
        answer.slot.is_free = True
        answer.question.sampler.close()

    def _give_up(self, why: str) -> None:
        """llama.cpp failed: nobody knows what its memory holds, so all of it is forgotten."""
        for answer in list(self.answers):
            self._fail(answer.question.id, why)
            self._release(answer)
        for slot in self.slots:
            self.model.forget(slot.number)
            slot.held.clear()
