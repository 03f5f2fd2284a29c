"""Anthropic's dialect: /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

import re
from functools import partial
from hashlib import blake2b
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from ninja import Router

from orchestrator.api.anthropic_schemas import CountBody, MessagesBody, estimate, to_count, to_request
from orchestrator.api.calls import controls, request_id
from orchestrator.api.frames import typed_event
from orchestrator.api.replies import EVENTS, Wire, begin, json_response, readable, respond, to_json
from orchestrator.api.stamps import Stamps
from orchestrator.core.errors import BudgetSpent, ContextTooLong, OrchestratorError
from orchestrator.core.types import Chunk, Done, Reply, ToolCall, Usage
from orchestrator.unasked import count

router = Router(tags=["Anthropic"])
PATH = "/v1/messages"
JSON = "application/json"
ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
TOO_LONG = "prompt is too long"
NO_MONEY = "enforced_spend_limit_reached"  # Anthropic's word for a bound on what is spent in a month
REASONS = {"length": "max_tokens", "content_filter": "refusal"}
OUR_ID = re.compile(r"[0-9a-f]{32}")


@router.post("/messages", summary="One turn of a conversation")
async def messages(request: HttpRequest, body: MessagesBody) -> HttpResponseBase:
    """Answer the last message; streamed as server-sent events when `stream` is true."""
    asked = to_request(body, controls(request))
    begun = await begin(request, asked)
    about = estimate(asked) if asked.stream else 0
    return _named(
        request,
        await respond(
            request,
            begun,
            lambda stamps: MessageForm(stamps, asked.model, about),
            _wire(request),
            is_streamed=asked.stream,
        ),
    )


@router.post("/messages/count_tokens", summary="How many tokens a conversation has")
async def count_tokens(request: HttpRequest, body: CountBody) -> HttpResponseBase:
    """What a local model that is loaded counts, and otherwise an estimate, the same for every model."""
    asked = to_count(body, controls(request))
    begun = await begin(request, asked, count)
    return _named(
        request,
        await respond(request, begun, lambda _: CountForm(estimate(asked)), _wire(request), is_streamed=False),
    )


def _named(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    response["Request-Id"] = anthropic_id(request_id(request))  # where its clients look for it
    return response


def _wire(request: HttpRequest) -> Wire:
    return Wire(partial(error_event, anthropic_id(request_id(request))), EVENTS, JSON)


class CountForm:
    """The object of /v1/messages/count_tokens; `otherwise` holds where nobody counted."""

    def __init__(self, otherwise: int) -> None:
        self._otherwise = otherwise

    def of_chunk(self, chunk: Chunk) -> list[bytes]:
        """Nothing is streamed."""
        return []

    def of_reply(self, reply: Reply) -> dict[str, Any]:
        """The count."""
        return {"input_tokens": int(reply.text) if reply.text else self._otherwise}


class MessageForm:
    """The objects of /v1/messages, all with one id.

    prompt_tokens  what a stream says of the question before it is counted.
    """

    def __init__(self, stamps: Stamps, model: str, prompt_tokens: int) -> None:
        self._id = f"msg_{stamps.id}"
        self._model = model
        self._prompt_tokens = prompt_tokens
        self._has_begun = False
        self._has_called = False
        self._index = -1  # of the last block
        self._open = ""  # the kind of the block that is being written

    def of_reply(self, reply: Reply) -> dict[str, Any]:
        """The whole answer as one object."""
        content: list[dict[str, Any]] = []
        if reply.thinking:
            content.append(_block("thinking", readable(reply.thinking)))
        if reply.text:
            content.append(_block("text", readable(reply.text)))
        content += [_call(call, readable(dict(call.arguments))) for call in reply.tool_calls]
        return self._message(content, _ended(reply.done, has_called=bool(reply.tool_calls)), _usage(reply.done.usage))

    def of_chunk(self, chunk: Chunk) -> list[bytes]:
        """The chunk as events, sent at once."""
        events = [] if self._has_begun else [self._start()]
        if chunk.thinking:
            events += self._piece("thinking", chunk.thinking)
        if chunk.text:
            events += self._piece("text", chunk.text)
        for call in chunk.tool_calls:
            events += self._called(call)
        if chunk.done:
            events += self._end(chunk.done)
        return [b"".join(events)] if events else []

    def _start(self) -> bytes:
        self._has_begun = True
        usage = Usage(prompt_tokens=self._prompt_tokens)
        message = self._message([], {"stop_reason": None, "stop_sequence": None}, _usage(usage))
        return typed_event("message_start", {"message": message})

    def _piece(self, kind: str, text: str) -> list[bytes]:
        events = []
        if self._open != kind:
            events = [*self._closed(), self._opened(_block(kind, ""))]
            self._open = kind
        return [*events, self._delta({"type": f"{kind}_delta", kind: readable(text)})]

    def _called(self, call: ToolCall) -> list[bytes]:
        """A call is a block that comes whole."""
        self._has_called = True
        arguments = to_json(readable(dict(call.arguments))).decode()
        opened = [*self._closed(), self._opened(_call(call, {}))]
        self._open = "tool_use"
        return [*opened, self._delta({"type": "input_json_delta", "partial_json": arguments}), *self._closed()]

    def _end(self, done: Done) -> list[bytes]:
        ended = {"delta": _ended(done, has_called=self._has_called), "usage": _usage(done.usage)}
        return [*self._closed(), typed_event("message_delta", ended), typed_event("message_stop", {})]

    def _opened(self, block: dict[str, Any]) -> bytes:
        self._index += 1
        return typed_event("content_block_start", {"index": self._index, "content_block": block})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return typed_event("content_block_delta", {"index": self._index, "delta": delta})

    def _closed(self) -> list[bytes]:
        if not self._open:
            return []
        self._open = ""
        return [typed_event("content_block_stop", {"index": self._index})]

    def _message(self, content: list[Any], ended: dict[str, Any], usage: dict[str, int]) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            **ended,
            "usage": usage,
        }


def _block(kind: str, text: str) -> dict[str, Any]:
    # Clients hand the signature back; nobody here reads it.
    return {"type": kind, kind: text} | ({"signature": ""} if kind == "thinking" else {})


def _call(call: ToolCall, arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": readable(call.id), "name": readable(call.name), "input": arguments}


def _ended(done: Done, *, has_called: bool) -> dict[str, Any]:
    """Why it ended; which stop string that was is known of local models."""
    if done.stop_string and done.reason == "stop" and not has_called:
        return {"stop_reason": "stop_sequence", "stop_sequence": readable(done.stop_string)}
    reason = "tool_use" if has_called else REASONS.get(done.reason, "end_turn")
    return {"stop_reason": reason, "stop_sequence": None}


def _usage(usage: Usage) -> dict[str, int]:
    return {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}


def is_anthropic(path: str) -> bool:
    """Whether who asks for `path` expects Anthropic's dialect."""
    return path == PATH or path.startswith(f"{PATH}/")


def anthropic_id(known: str) -> str:
    """The request's id as Anthropic writes it: `req_` and 24 hex digits, with which an id of ours begins."""
    digits = known[:24] if OUR_ID.fullmatch(known) else blake2b(known.encode(), digest_size=12).hexdigest()
    return f"req_{digits}"


def error_value(status: int, message: str, error_id: str, code: str = "") -> dict[str, Any]:
    """The error as Anthropic's clients read it."""
    kind = ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    error: dict[str, Any] = {"type": kind, "message": message}
    if code:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error, "request_id": error_id}


def code_of(error: OrchestratorError) -> str:
    """What tells this error from others of its type; empty where nothing has to."""
    return NO_MONEY if isinstance(error, BudgetSpent) else ""


def words_of(error: OrchestratorError) -> str:
    """What it says. A question that is too long is told so in Anthropic's words first: clients look for them."""
    said = str(error)
    is_said = not isinstance(error, ContextTooLong) or said.lower().startswith(TOO_LONG)
    return said if is_said else f"{TOO_LONG}: {said}"


def error_response(request: HttpRequest, status: int, message: str) -> HttpResponse:
    """The error as a response; clients look for its id in a header, too."""
    known = anthropic_id(request_id(request))
    response = json_response(error_value(status, message, known), status=status, content_type=JSON)
    response["Request-Id"] = known
    return response


def error_event(error_id: str, error: OrchestratorError) -> bytes:
    """What a stream that broke off ends with; Anthropic's clients raise it."""
    return typed_event("error", error_value(error.status, words_of(error), error_id, code_of(error)))
