"""OpenAI's older dialect: /v1/completions.

A prompt is one message of a user, as it is to /api/generate: the same question has the same answer there.
"""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpRequest, HttpResponseBase
from ninja import Router

from orchestrator.api.calls import controls
from orchestrator.api.frames import event
from orchestrator.api.ollama import logprob_to_wire
from orchestrator.api.openai import WIRE, usage_to_wire
from orchestrator.api.replies import begin, readable, respond
from orchestrator.api.schemas import Count, Ignored, OpenAIAsking
from orchestrator.api.stamps import Stamps
from orchestrator.core.errors import BadRequest, ModelNotFound
from orchestrator.core.types import ChatRequest, Chunk, Message, Reply, TokenLogprob, Usage

router = Router(tags=["OpenAI"])
MOST_TOP_LOGPROBS = 20
NOTHING_USED = usage_to_wire(Usage())


class TextBody(OpenAIAsking):
    """POST /v1/completions."""

    prompt: str | list[Any] | None = None
    suffix: str | None = None
    logprobs: int | None = None
    best_of: Count = None
    echo: Annotated[Any, Ignored((False,))] = None


@router.post("/completions", summary="Complete a prompt, as OpenAI's older clients ask for it")
async def completions(request: HttpRequest, body: TextBody) -> HttpResponseBase:
    """Answer a prompt; streamed as server-sent events when `stream` is true."""
    asked = to_request(body, controls(request))
    begun = await begin(request, asked)
    return await respond(
        request,
        begun,
        lambda stamps: TextForm(stamps, asked, wants_usage=body.wants_usage),
        WIRE,
        is_streamed=asked.stream,
    )


def to_request(body: TextBody, common: dict[str, Any]) -> ChatRequest:
    """The request in our words. Raises BadRequest, ModelNotFound."""
    if not body.model:
        raise ModelNotFound("model '' not found")
    if not 0 <= (body.logprobs or 0) <= MOST_TOP_LOGPROBS:
        raise BadRequest(f"logprobs must be between 0 and {MOST_TOP_LOGPROBS}")
    return ChatRequest(
        model=body.model,
        messages=(Message(role="user", content=_prompt(body.prompt)),),
        suffix=body.suffix or "",
        options=body.options,
        logprobs=body.logprobs is not None,
        top_logprobs=body.logprobs or 0,
        ignored=body.ignored,
        stream=bool(body.stream),
        dialect="openai",
        **common,
    )


def _prompt(given: str | list[Any] | None) -> str:
    if isinstance(given, list):
        if not all(isinstance(one, str) for one in given):
            raise BadRequest("prompt must be text; token ids are not taken, since each model has its own")
        if len(given) > 1:
            raise BadRequest(f"prompt is a list of {len(given)} texts; send a request for each of them")
        given = given[0] if given else ""
    if not given:
        raise BadRequest("prompt is required: text, or a list of one")
    return given


class TextForm:
    """The objects of /v1/completions, all with one id. It has no word for thinking."""

    def __init__(self, stamps: Stamps, request: ChatRequest, *, wants_usage: bool) -> None:
        self._wants_usage = wants_usage  # in a stream
        self._id = f"cmpl-{stamps.id}"
        self._created = stamps.created
        self._request = request
        self._said = 0  # characters so far

    def of_reply(self, reply: Reply) -> dict[str, Any]:
        """The whole answer as one object."""
        choice = self._choice(reply.text, reply.logprobs, reply.done.reason)
        return self._object([choice]) | {"usage": usage_to_wire(reply.done.usage)}

    def of_chunk(self, chunk: Chunk) -> list[bytes]:
        """The chunk as events. What is thought meanwhile is an empty one: whoever waits sees that it goes on."""
        reason = chunk.done.reason if chunk.done else None
        nothing_yet = {"usage": NOTHING_USED} if self._wants_usage else {}
        events = [event(self._object([self._choice(chunk.text, chunk.logprobs, reason)]) | nothing_yet)]
        if chunk.done and self._wants_usage:
            events.append(event(self._object([]) | {"usage": usage_to_wire(chunk.done.usage)}))
        return events

    def _choice(self, text: str, logprobs: tuple[TokenLogprob, ...], reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "text": readable(text), "finish_reason": reason}
        if self._request.logprobs:
            choice["logprobs"] = self._logprobs(logprobs)
        return choice

    def _logprobs(self, logprobs: tuple[TokenLogprob, ...]) -> dict[str, Any]:
        """Twice: as the older clients read them, and as Ollama writes them."""
        offsets = []
        for one in logprobs:
            offsets.append(self._said)
            self._said += len(one.token)
        return {
            "tokens": [readable(one.token) for one in logprobs],
            "token_logprobs": [one.logprob for one in logprobs],
            "top_logprobs": [{readable(other.token): other.logprob for other in one.top} for one in logprobs],
            "text_offset": offsets,
            "content": [readable(logprob_to_wire(one)) for one in logprobs],
        }

    def _object(self, choices: list[Any]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "text_completion",
            "created": self._created,
            "model": self._request.model,
            "system_fingerprint": "fp_ollama",
            "choices": choices,
        }
