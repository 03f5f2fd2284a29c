"""A request as rules see it."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b
from importlib import import_module
from typing import TYPE_CHECKING, Any

from orchestrator.catalogue import Called
from orchestrator.core.trouble import Trouble
from orchestrator.core.types import Caller, ChatRequest
from orchestrator.ledger.estimate import about
from orchestrator.modelhost.names import as_listed
from routing.analysis.types import Analysis
from routing.rules.facts import ANALYSIS, FACTS, MOST_CONVERSATION, MOST_TEXT, Facts, Format

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

log = logging.getLogger(__name__)
_trouble = Trouble(log, "To analyse questions", "rules and the router go by what else is known of them")
ANALYSE = "routing.analysis.analyse"
ANALYSED = frozenset(name for name, fact in FACTS.items() if fact.is_analysed)


def facts_of(
    request: ChatRequest,
    caller: Caller,
    *,
    at: float,
    needs: Collection[str] = (),
    budget_left: float = 1.0,
    analysis: Analysis | None = None,
    called: Called | None = None,
) -> Facts:
    """Everything that can be known of a request before anybody is asked.

    at         seconds since the epoch.
    needs      what rules ask for. The whole conversation, what is left of budgets, and what an analysis tells are
               looked up only where one does: `untold` says which were not.
    analysis   of its text, where somebody looked at it.
    called     what the model is called that was asked for. None: nobody looked; it is told by what the caller wrote.
    """
    called = called or Called(as_listed(request.model))
    conversation, is_cut = everything_said(request) if "conversation" in needs else (None, False)
    untold = {"budget_left"} - set(needs) | ({ANALYSIS} if analysis is None and ANALYSED.isdisjoint(needs) else set())
    temperature = request.options.get("temperature")
    return Facts(
        model=called.name.removesuffix(":latest"),
        aliases=called.aliases,
        places_of=called.places_of,
        dialect=request.dialect,
        endpoint=request.endpoint,
        tenant=caller.tenant,
        team=caller.team,
        key=caller.key_name,
        tags=frozenset((*caller.tags, *request.tags)),
        tools=bool(request.tools),
        images=any(message.images for message in request.messages),
        stream=request.stream,
        thinking=bool(request.think),
        embedding=request.inputs is not None,
        format=_format(request),
        tokens=about(request),
        turns=max(len(request.messages), 1),
        cap=request.cap or 0,
        temperature=float(temperature) if isinstance(temperature, int | float) else 1.0,
        budget_left=budget_left,
        at=at,
        text=clipped(said_last(request)),
        conversation=conversation,
        is_cut=is_cut,
        language=analysis.language if analysis else "",
        task=analysis.task if analysis else "",
        scores=scores_of(analysis) if analysis else {},
        sticky=conversation_of(request, caller),
        request=request.request_id,
        untold=frozenset(untold),
    )


def with_analysis(facts: Facts, analysis: Analysis) -> Facts:
    """Facts of a request that was analysed after rules were asked, of which none asked for that."""
    told = facts.untold - {ANALYSIS}
    return replace(facts, language=analysis.language, task=analysis.task, scores=scores_of(analysis), untold=told)


async def analysis_of(request: ChatRequest, vector: npt.NDArray[np.float32] | None = None) -> Analysis:
    """What the question asks of a model; of a long text its head and tail are read.

    vector  of what was said last, as 32-bit floats, where there is one.
    """
    # Only here, and beside: it brings numpy, a tenth of a second and 25 MB which most workers can do without.
    analysing: Any = sys.modules.get(ANALYSE) or await asyncio.to_thread(import_module, ANALYSE)
    found: Analysis = analysing.analyse(
        said_last(request),
        system=_system(request),
        turns=sum(message.role == "user" for message in request.messages) or 1,
        has_tools=bool(request.tools),
        has_images=any(message.images for message in request.messages),
        vector=vector,
    )
    return found


async def analysed_if_possible(
    request: ChatRequest, notes: list[str], vector: npt.NDArray[np.float32] | None = None
) -> Analysis | None:
    """The same for a request on its way, which no fault of the analysis ends; `notes` say that it was not looked at."""
    try:
        found = await analysis_of(request, vector)
    except Exception as error:  # noqa: BLE001  # whatever it is, requests go on
        _trouble.met(error)
        notes.append(f"The question could not be analysed: {type(error).__name__}.")
        return None
    _trouble.over()
    return found


def conversation_of(request: ChatRequest, caller: Caller) -> str:
    """The same word for every turn of a conversation: it begins with the same words, of the same caller."""
    first = next((message.content for message in request.messages if message.role == "user"), said_last(request))
    said = f"{caller.tenant_id} {caller.key_id} {len(first)} {first}{_system(request)}"
    return blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def scores_of(analysis: Analysis) -> dict[str, float]:
    """The numbers of an analysis, by the names that rules have for them."""
    return {one.name: one.score for one in analysis.dimensions} | {"complexity": analysis.complexity}


def said_last(request: ChatRequest) -> str:
    """What the caller said last: the last message of a user, the prompt, or the texts to be embedded."""
    if request.inputs is not None:
        return "\n".join(request.inputs)
    if request.prompt is not None:
        return request.prompt
    return next((message.content for message in reversed(request.messages) if message.role == "user"), "")


def everything_said(request: ChatRequest) -> tuple[str, bool]:
    """All words that a model would be given, and whether there is more than that.

    Of what is longer than rules read, that is the beginning and the end. What is said in pictures, and in the tokens of
    an earlier answer, cannot be read: for the latter it counts as cut.
    """
    pieces = list(_pieces(request))
    size = sum(map(len, pieces)) + len(pieces)
    if size <= MOST_CONVERSATION:
        return "\n".join(pieces), bool(request.context)
    half = MOST_CONVERSATION // 2
    head, tail = _first(pieces, half), _first(reversed(pieces), half)
    return "\n".join(("\n".join(head)[:half], "\n".join(reversed(tail))[-half:])), True


def _first(pieces: Iterable[str], enough: int) -> list[str]:
    """The first of the pieces, until they are `enough` characters."""
    taken, size = list[str](), 0
    for piece in pieces:
        taken.append(piece)
        size += len(piece) + 1
        if size > enough:
            break
    return taken


def _pieces(request: ChatRequest) -> Iterator[str]:
    yield from (request.template, *(request.inputs or ()), request.prompt or "")
    for message in request.messages:
        yield from (message.content, message.thinking, message.tool_name, message.tool_call_id)
        for call in message.tool_calls:
            yield from (call.id, call.name)
            yield from _words(call.arguments)
    yield request.suffix
    for offered in request.tools:
        yield from _words(offered)
    if not isinstance(request.format, str):
        yield from _words(request.format)
    yield from _words(request.options.get("stop"))


def _words(value: object) -> Iterator[str]:
    """All texts in a JSON value, the names of its fields too."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple):
            left += one


def clipped(text: str) -> str:
    """The head and the tail of a long text."""
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT // 2]}\n{text[-MOST_TEXT // 2 :]}"


def _system(request: ChatRequest) -> str:
    return "\n".join(message.content for message in request.messages if message.role == "system")


def _format(request: ChatRequest) -> Format:
    if not request.format:
        return "text"
    return "json" if request.format == "json" else "schema"
