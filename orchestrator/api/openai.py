"""OpenAI's dialect: /v1/chat/completions and /v1/models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from ninja import Router

from orchestrator.api.body import read_object
from orchestrator.api.calls import caller_of, controls
from orchestrator.api.frames import event
from orchestrator.api.ollama import logprob_to_wire
from orchestrator.api.replies import EVENTS, Wire, begin, json_response, respond, to_json
from orchestrator.api.schemas import CompletionBody, OpenAIMessage, check_image
from orchestrator.api.stamps import Stamps
from orchestrator.core.errors import (
    BadRequest,
    BudgetSpent,
    ContextTooLong,
    ModelNotFound,
    OrchestratorError,
    PriceUnknown,
)
from orchestrator.core.types import ChatRequest, Chunk, Message, Model, Reply, TokenLogprob, ToolCall, Usage
from orchestrator.modelhost.names import Name
from orchestrator.routes import MOST_SHOWN, find, how_to_reach, may_ask
from orchestrator.wiring import parts
from routing.router import AUTO

router = Router(tags=["OpenAI"])
JSON = "application/json"
DATA_URI = re.compile(r"data:(?:image/(?:jpeg|jpg|png|webp))?;base64,")
EFFORTS: dict[str, bool | str] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "max",
    "xhigh": "max",
    "ultra": "max",
}
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
NO_QUOTA = "insufficient_quota"  # OpenAI's word where money is short; its type is the same
CODES: dict[type[OrchestratorError], str] = {
    BudgetSpent: NO_QUOTA,
    ContextTooLong: "context_length_exceeded",  # clients look for it, and come again with less
    PriceUnknown: PriceUnknown.kind,
}


@router.post("/chat/completions", summary="One turn of a conversation")
async def chat_completions(request: HttpRequest, body: CompletionBody) -> HttpResponseBase:
    """Answer the last message; streamed as server-sent events when `stream` is true."""
    asked = to_request(body, controls(request))
    begun = await begin(request, asked)
    return await respond(
        request,
        begun,
        lambda stamps: CompletionForm(stamps, asked, wants_usage=body.wants_usage),
        WIRE,
        is_streamed=asked.stream,
    )


@router.get("/models", summary="The models that can be asked")
async def models(request: HttpRequest) -> HttpResponseBase:
    """List every model that may be asked, local and cloud."""
    caller = caller_of(request)
    found = may_ask(await parts().catalogue.models(), caller)
    data = [_model(model.name, model) for model in (may_ask([AUTO], caller) + found if found else [])]
    return json_response({"object": "list", "data": data}, content_type=JSON)


@router.get("/models/{path:name}", summary="One model")
async def model(request: HttpRequest, name: str) -> HttpResponseBase:
    """Describe one model, under the name as it was asked for."""
    found = await find(name, caller_of(request), parts())
    if found is None:
        raise ModelNotFound(f"model '{name[:MOST_SHOWN]}' not found{how_to_reach(name, parts())}")
    return json_response(_model(name, found), content_type=JSON)


def _model(name: str, model: Model) -> dict[str, Any]:
    owner = model.engine if model.is_remote else Name.parse(model.name).namespace
    return {"id": name, "object": "model", "created": int(model.modified_at), "owned_by": owner}


def to_request(body: CompletionBody, common: dict[str, Any]) -> ChatRequest:
    """The request in our words. Raises BadRequest."""
    if not body.model:
        raise BadRequest("model is required")
    if not body.messages:
        raise BadRequest("[] is too short - 'messages'")
    if not 0 <= (body.top_logprobs or 0) <= 20:
        raise BadRequest("top_logprobs must be between 0 and 20")
    return ChatRequest(
        model=body.model,
        messages=_messages(body.messages),
        tools=tuple(body.tools or ()),
        format=_format(body),
        think=read_effort((body.reasoning.effort if body.reasoning else None) or body.reasoning_effort),
        options=body.options,
        logprobs=bool(body.logprobs),
        top_logprobs=body.top_logprobs or 0 if body.logprobs else 0,
        ignored=body.ignored,
        stream=bool(body.stream),
        dialect="openai",
        **common,
    )


def _format(body: CompletionBody) -> str | dict[str, Any] | None:
    wanted = body.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return "json"
    schema = (wanted.json_schema or {}).get("schema")
    if wanted.type != "json_schema" or not isinstance(schema, dict):
        raise BadRequest("response_format must be text, json_object, or json_schema with a schema")
    return schema


def read_effort(effort: str | None) -> bool | str | None:
    """How much to think, in our words. Raises BadRequest."""
    if not effort:
        return None
    if effort not in EFFORTS:
        raise BadRequest(f"invalid reasoning value: '{effort[:40]}' (must be one of {', '.join(EFFORTS)})")
    return EFFORTS[effort]


def _messages(wire: list[OpenAIMessage]) -> tuple[Message, ...]:
    """The conversation; a tool's answer finds the tool's name by the id of its call."""
    tool_names: dict[str, str] = {}
    messages = []
    for turn in wire:
        role = {"developer": "system"}.get(turn.role.lower(), turn.role.lower())
        if role not in {"system", "user", "assistant", "tool"}:
            raise BadRequest(f"invalid role {turn.role[:40]!r}; it is one of system, developer, user, assistant, tool")
        if turn.content is None and not turn.tool_calls:
            raise BadRequest("invalid message content type: <nil>")
        text, images = _content(turn.content, role)
        calls = tuple(
            read_call(call.id or "", call.function.name, call.function.arguments) for call in turn.tool_calls or ()
        )
        tool_names |= {call.id: call.name for call in calls}
        messages.append(
            Message(
                role=role,  # type: ignore[arg-type]  # checked above
                content=text,
                thinking=turn.reasoning or turn.reasoning_content or "",
                images=images,
                tool_calls=calls,
                tool_name=turn.name or tool_names.get(turn.tool_call_id or "", "") if role == "tool" else "",
                tool_call_id=turn.tool_call_id or "",
            )
        )
    return tuple(messages)


def read_call(id: str, name: str, arguments: str) -> ToolCall:
    """The call; its arguments come as the text of an object. Raises BadRequest."""
    try:
        return ToolCall(id=id, name=name, arguments=read_object(arguments or "{}"))
    except ValueError:
        raise BadRequest("invalid tool call arguments: they must be the text of a JSON object") from None


def _content(content: str | list[dict[str, Any]] | None, role: str) -> tuple[str, tuple[str, ...]]:
    if content is None or isinstance(content, str):
        return content or "", ()
    texts, images = [], []
    for part in content:
        match part:
            case {"type": "text", "text": str(text)} | {"type": "refusal", "refusal": str(text)}:
                texts.append(text)
            case {"type": "image_url", "image_url": str(url)} | {"type": "image_url", "image_url": {"url": str(url)}}:
                images.append(read_image(url))
            case _:
                raise BadRequest("invalid message format: a part is text, or image_url with a data URI")
    return joined(texts, role), tuple(images)


def joined(texts: Sequence[str], role: str) -> str:
    """The text of a turn that came in parts: paragraphs, as in Ollama. A model's own are pieces of one text."""
    return ("" if role == "assistant" else "\n\n").join(texts)


def read_image(url: str) -> str:
    """The picture in a data URI, as base64, or its address where those are fetched. Raises BadRequest."""
    if url.startswith(("http://", "https://")):
        if settings.FETCH_IMAGES:
            return url  # it is fetched when the request is charged
        raise BadRequest("image URLs are not currently supported, please use base64 encoded data instead")
    prefix = DATA_URI.match(url)
    if prefix is None:
        raise BadRequest("invalid image input")
    try:
        return check_image(url[prefix.end() :])
    except ValueError:
        raise BadRequest("invalid image input") from None


class CompletionForm:
    """The objects of /v1/chat/completions, all with one id."""

    def __init__(self, stamps: Stamps, request: ChatRequest, *, wants_usage: bool) -> None:
        self._wants_usage = wants_usage  # at the end of a stream
        self._id = f"chatcmpl-{stamps.id}"
        self._created = stamps.created
        self._request = request
        self._has_begun = False
        self._called = 0

    def of_reply(self, reply: Reply) -> dict[str, Any]:
        """The whole answer as one object."""
        message: dict[str, Any] = {"role": "assistant", "content": reply.text}
        if reply.thinking:
            message["reasoning"] = reply.thinking
        if reply.tool_calls:
            message["tool_calls"] = _calls(reply.tool_calls)
        choice = {"index": 0, "message": message, "finish_reason": _reason(reply.done.reason, bool(reply.tool_calls))}
        if self._request.logprobs:
            choice["logprobs"] = _logprobs(reply.logprobs)
        return self._object("chat.completion", [choice]) | {"usage": usage_to_wire(reply.done.usage)}

    def of_chunk(self, chunk: Chunk) -> list[bytes]:
        """The chunk as events."""
        events = [event(value) for value in self._deltas(chunk)]
        if chunk.done and self._wants_usage:
            events.append(event(self._object("chat.completion.chunk", []) | {"usage": usage_to_wire(chunk.done.usage)}))
        return events

    def _deltas(self, chunk: Chunk) -> list[dict[str, Any]]:
        values = []
        if chunk.thinking:
            values.append(self._delta({"content": "", "reasoning": chunk.thinking}))
        if chunk.text or chunk.logprobs:
            values.append(self._delta({"content": chunk.text}, chunk.logprobs))
        if chunk.tool_calls:
            values.append(self._delta({"content": "", "tool_calls": _calls(chunk.tool_calls, self._called)}))
            self._called += len(chunk.tool_calls)
        if chunk.done:
            if not self._has_begun:
                values.append(self._delta({"content": ""}))
            choice = {"index": 0, "delta": {}, "finish_reason": _reason(chunk.done.reason, self._called > 0)}
            values.append(self._object("chat.completion.chunk", [choice]))
        return values

    def _delta(self, delta: dict[str, Any], logprobs: tuple[TokenLogprob, ...] = ()) -> dict[str, Any]:
        if not self._has_begun:
            delta = {"role": "assistant", **delta}
            self._has_begun = True
        choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": None}
        if self._request.logprobs:
            choice["logprobs"] = _logprobs(logprobs)
        return self._object("chat.completion.chunk", [choice])

    def _object(self, kind: str, choices: list[Any]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._request.model,
            "system_fingerprint": "fp_ollama",
            "choices": choices,
        }


def error_value(error: OrchestratorError) -> dict[str, Any]:
    """The error as OpenAI's clients read it."""
    code = next((code for kind, code in CODES.items() if isinstance(error, kind)), None)
    kind = NO_QUOTA if code == NO_QUOTA else ERROR_TYPES.get(error.status, "api_error")
    return {"error": {"message": str(error), "type": kind, "param": None, "code": code}}


def error_event(error: OrchestratorError) -> bytes:
    """What a stream that broke off ends with; OpenAI's clients raise it."""
    return event(error_value(error))


WIRE = Wire(error_event, EVENTS, JSON, b"data: [DONE]\n\n")


def _reason(reason: str, has_called: bool) -> str:
    return "tool_calls" if has_called and reason == "stop" else reason


def usage_to_wire(usage: Usage) -> dict[str, Any]:
    """Tokens; what a provider read from its cache and thought unseen, where it told."""
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    wire: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    if usage.cached_tokens:
        wire["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens:
        wire["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return wire


def _calls(calls: tuple[ToolCall, ...], before: int = 0) -> list[dict[str, Any]]:
    """They go on counting after those that came before: clients put pieces of one index together."""
    return [
        {
            "id": call.id,
            "index": index,
            "type": "function",
            "function": {"name": call.name, "arguments": to_json(call.arguments).decode()},
        }
        for index, call in enumerate(calls, before)
    ]


def _logprobs(logprobs: tuple[TokenLogprob, ...]) -> dict[str, Any]:
    return {"content": [logprob_to_wire(logprob) for logprob in logprobs]}
