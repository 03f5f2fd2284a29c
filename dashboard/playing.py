"""One question to two models at once, as a page asks it: through the same way as every caller's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NamedTuple

from django.http import QueryDict

from dashboard import formats
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.ids import hex_id
from orchestrator.core.tasks import end
from orchestrator.core.types import CacheControl, Caller, ChatRequest, Message
from orchestrator.ledger.stats import FROM_CACHE
from orchestrator.ledger.writer import Entry
from orchestrator.pipeline import answer
from orchestrator.wiring import parts

log = logging.getLogger(__name__)
COLUMNS = ("a", "b")
TAG = "playground"
LONGEST_TEXT, LONGEST_MODEL = 20_000, 255  # characters
MOST_TOKENS = 32_768
TOKENS = 512  # unless somebody says otherwise: enough to see, and bounded
PATIENCE_S = 120.0  # for one answer
MOST_WAITING = 64  # pieces that wait for the browser to take them
ALIKE = 1.15  # times as long is about as long


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the form asks, with what is wrong in it by field."""

    text: str = ""
    system: str = ""
    models: Mapping[str, str] = field(default_factory=dict)  # by column; an empty one asks nobody
    tenant: str = ""  # its number
    is_fresh: bool = False  # go past the cache
    most_tokens: str = str(TOKENS)
    faults: Mapping[str, str] = field(default_factory=dict)


class Piece(NamedTuple):
    """Something to show in a column."""

    column: str
    text: str = ""
    played: Played | None = None  # with the last one


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What became of the question in one column."""

    asked: str
    text: str
    entry: Entry
    error: str = ""

    @property
    def is_answered(self) -> bool:
        """Whether there is an answer."""
        return not self.error

    @property
    def tokens_a_second(self) -> float | None:
        """How fast it was written, by a model that was asked; None where that says nothing."""
        entry = self.entry
        if entry.first_s is None or entry.tier not in {"miss", "bypass"} or entry.usage.completion_tokens < 2:
            return None
        return (entry.usage.completion_tokens - 1) / max(entry.total_s - entry.first_s, 1e-6)

    @property
    def saved_microusd(self) -> int | None:
        """What the cache saved, where that is known."""
        return self.entry.saved.microusd if self.entry.saved else None


def read(form: QueryDict) -> Question:
    """The question of a form."""
    faults: dict[str, str] = {}
    text, system = form.get("question", "").strip(), form.get("system", "").strip()
    models = {column: form.get(column, "").strip() for column in COLUMNS}
    if not text:
        faults["question"] = "Type a question."
    for name, value in (("question", text), ("system", system)):
        if len(value) > LONGEST_TEXT:
            faults[name] = f"At most {LONGEST_TEXT:,} characters; these are {len(value):,}."
    if not any(models.values()):
        faults["a"] = "Name a model, or auto."
    for column, name in models.items():
        if len(name) > LONGEST_MODEL:
            faults[column] = f"A model's name has at most {LONGEST_MODEL} characters."
    most = form.get("most_tokens", "").strip() or str(TOKENS)
    if not (most.isascii() and most.isdecimal() and 1 <= int(most[:9]) <= MOST_TOKENS):
        faults["most_tokens"] = f"A whole number from 1 to {MOST_TOKENS:,}."
    return Question(
        text=text,
        system=system,
        models=models,
        tenant=form.get("tenant", ""),
        is_fresh=form.get("fresh") == "1",
        most_tokens=most,
        faults=faults,
    )


async def play(question: Question, caller: Caller, address: str) -> AsyncGenerator[Piece, None]:
    """Ask every model that is named, at once, and yield pieces as they come; the last of a column says how it went.

    Whoever stops listening stops the answers.
    """
    pieces: asyncio.Queue[Piece] = asyncio.Queue(MOST_WAITING)
    asking = [
        asyncio.create_task(
            _ask(column, _request(question, model, address), caller, pieces), name=f"playground {column}"
        )
        for column, model in question.models.items()
        if model
    ]
    left = len(asking)
    try:
        while left:
            piece = await pieces.get()
            left -= piece.played is not None
            yield piece
    finally:
        await end(asking)


def _request(question: Question, model: str, address: str) -> ChatRequest:
    messages = [Message(role="user", content=question.text)]
    if question.system:
        messages.insert(0, Message(role="system", content=question.system))
    return ChatRequest(
        model=model,
        messages=tuple(messages),
        options={"num_predict": int(question.most_tokens)},
        stream=True,
        control=CacheControl(read=not question.is_fresh),
        tags=(TAG,),
        endpoint="/dashboard/playground/",
        request_id=hex_id(32),
        address=address,
    )


async def _ask(column: str, request: ChatRequest, caller: Caller, pieces: asyncio.Queue[Piece]) -> None:
    text: list[str] = []
    entry = parts().ledger.begin(request, caller)  # until there is an answer with one of its own
    error = ""
    try:
        async with asyncio.timeout(PATIENCE_S):
            begun = await answer(request, caller, parts())
            entry = begun.entry
            async with aclosing(begun.chunks) as chunks:
                async for chunk in chunks:
                    if said := chunk.text:
                        text.append(said)
                        await pieces.put(Piece(column, said))
    except OrchestratorError as fault:
        error = formats.sentence(str(fault))
    except TimeoutError:
        error = f"It was not done within {PATIENCE_S:g} s, and was stopped."
    except Exception:
        log.exception("the playground's question %s failed", request.request_id)
        error = f"Internal error; the log has more under {request.request_id}."
    await pieces.put(Piece(column, played=Played(asked=request.model, text="".join(text), entry=entry, error=error)))


def compared(played: Sequence[Played]) -> str:
    """Both in a sentence: who was faster, who was cheaper. Without two answers there is nothing to compare."""
    answered = [one for one in played if one.is_answered]
    if not answered:
        return "Nobody answered." if played else ""
    if len(played) == 1:
        return f"{_name(answered[0])} answered."
    if len(answered) == 1:
        missing = next(one for one in played if not one.is_answered)
        return f"{_name(answered[0])} answered, {_name(missing)} did not."
    return f"{_faster(answered)} {_cheaper(answered)}"


def _faster(played: Sequence[Played]) -> str:
    kept = [one for one in played if one.entry.tier in FROM_CACHE]
    if len(kept) == len(played):
        return "Both came from cache."
    if kept:
        return f"{_name(kept[0])} came from cache."
    quick, slow = sorted(played, key=lambda one: one.entry.total_s)
    times = slow.entry.total_s / max(quick.entry.total_s, 1e-6)
    if times < ALIKE:
        return "Both took about as long."
    shown = f"{times:.1f}" if times < 10 else formats.count(times)
    return f"{_name(quick)} was {shown} times as fast."


def _cheaper(played: Sequence[Played]) -> str:
    costs = [one.entry.cost_microusd for one in played]
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return "What one of them cost is unknown."
    if not any(known):
        return "Neither cost anything."
    cheap, dear = sorted(played, key=lambda one: one.entry.cost_microusd or 0)
    more = (dear.entry.cost_microusd or 0) - (cheap.entry.cost_microusd or 0)
    return f"{_name(dear)} cost ${more / 1e6:,.6f} more." if more else "Both cost the same."


def _name(one: Played) -> str:
    return one.entry.model or one.asked
