"""/api/admin/v1/decisions, /analyze and /decide: why who was asked was asked, and who would be. Each needs `see usage`.

The last two ask nobody, and nothing of what they are sent is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal, TypeVar

from django.http import HttpRequest, HttpResponseBase
from ninja import Path, Router
from pydantic import Field

from orchestrator.api.bounds import LONGEST_MODEL, LONGEST_TAG, MOST_TAGS, check_question
from orchestrator.api.calls import caller_of, request_id
from orchestrator.api.managing import acted, told
from orchestrator.choosing.explaining import explain
from orchestrator.choosing.facts import analysis_of, said_last
from orchestrator.choosing.trying import tried
from orchestrator.core.errors import BadRequest, Busy
from orchestrator.core.permissions import Permission
from orchestrator.core.types import ChatRequest, Dialect, Message
from orchestrator.wiring import parts
from routing.analysis.types import Analysis
from routing.rules.document import Part

T = TypeVar("T")
router = Router(tags=["Management"])
MOST_TEXT = 100_000  # characters
MOST_MESSAGES = 200
DEADLINE_S = 10.0
RequestId = Annotated[str, Path(max_length=64)]


class TurnSaid(Part):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"] = "user"
    content: Annotated[str, Field(max_length=MOST_TEXT)]


class AnalyzeBody(Part):
    """A question, as one text or as a conversation."""

    text: Annotated[str, Field(max_length=MOST_TEXT)] = ""
    messages: list[TurnSaid] = Field(default_factory=list, max_length=MOST_MESSAGES)
    has_tools: bool = Field(False, description="Functions are offered to the model.")


class DecideBody(AnalyzeBody):
    """A request as it might come, of the key that asks this."""

    model: Annotated[str, Field(max_length=LONGEST_MODEL)] = "auto"
    dialect: Dialect = "ollama"
    endpoint: Annotated[str, Field(max_length=64)] = "/api/chat"
    tags: Annotated[list[Annotated[str, Field(max_length=LONGEST_TAG)]], Field(max_length=MOST_TAGS)] = Field(
        default_factory=list
    )
    stream: bool = False
    json_format: bool = Field(False, description="The answer is to be JSON.")
    most_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(None, description="Of the answer.")


@router.get("/decisions/{request_id}", summary="Why a model was asked")
async def decision(request: HttpRequest, request_id: RequestId) -> HttpResponseBase:
    """What rules said, whom the router weighed and how, who was tried, and whether the same inputs decide the same now.

    Decisions are kept for requests that a rule or the router had a part in, and for a sample of the others.
    """
    return told(await acted(request, lambda by: explain(request_id, by.must(Permission.SEE_USAGE))))


@router.post("/analyze", summary="How hard a question is")
async def analyze(request: HttpRequest, question: AnalyzeBody) -> HttpResponseBase:
    """Its task, its language, its size, and six numbers from 0 to 1, each with the reasons it came about by.

    It is looked at as when the router chooses: with its vector, where that is there in time; else `notes` say why not.
    """
    return told(asdict(await _in_time(_analysed(_asked(request, question)))))


@router.post("/decide", summary="Who would be asked")
async def would_ask(request: HttpRequest, question: DecideBody) -> HttpResponseBase:
    """What the rules that hold say of such a request, and whom the router would choose. Nobody is asked."""
    asked = _asked(
        request,
        question,
        model=question.model,
        dialect=question.dialect,
        endpoint=question.endpoint,
        tags=tuple(question.tags),
        stream=question.stream,
        format="json" if question.json_format else None,
        options={"num_predict": question.most_tokens} if question.most_tokens else {},
    )
    check_question(asked)
    return told(await _in_time(tried(asked, caller_of(request), parts())))


async def _analysed(asked: ChatRequest) -> Analysis:
    """What the router would go by."""
    judged = await parts().router.judged(said_last(asked), parts().local)
    found = await analysis_of(asked, judged.vector)
    return replace(found, notes=(*found.notes, *judged.notes))


async def _in_time(work: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await work
    except TimeoutError:
        raise Busy("It could not be looked at in time; try again shortly.", retry_after_s=1) from None


def _asked(request: HttpRequest, question: AnalyzeBody, **fields: Any) -> ChatRequest:
    if sum(len(said.content) for said in question.messages) + len(question.text) > MOST_TEXT:
        raise BadRequest(f"The question has more than {MOST_TEXT:,} characters.")
    messages = [Message(role=said.role, content=said.content) for said in question.messages]
    if question.text:
        messages.append(Message(role="user", content=question.text))
    if not messages:
        raise BadRequest("Say `text` or `messages`.")
    return ChatRequest(
        **{"model": "auto"} | fields,
        messages=tuple(messages),
        tools=({"type": "function"},) if question.has_tools else (),
        request_id=request_id(request),
    )
