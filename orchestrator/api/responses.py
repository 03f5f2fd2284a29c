"""OpenAI's newer dialect: /v1/responses. Nothing is stored: each request brings its whole conversation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from ninja import Router

from orchestrator.api.calls import controls
from orchestrator.api.frames import typed_event
from orchestrator.api.ollama import logprob_to_wire
from orchestrator.api.openai import JSON
from orchestrator.api.replies import EVENTS, Wire, begin, readable, respond, to_json
from orchestrator.api.responses_schemas import ResponsesBody, echo, read_tools, to_request
from orchestrator.api.stamps import HOLES, Live, Stamps
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.types import Chunk, Done, Reply, TokenLogprob, ToolCall, Usage

router = Router(tags=["OpenAI"])
REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
Step = tuple[str, dict[str, Any]]  # an event's type, and what it holds


@router.post("/responses", summary="One turn of a conversation, as OpenAI's newer clients ask for it")
async def responses(request: HttpRequest, body: ResponsesBody) -> HttpResponseBase:
    """Answer the input; streamed as server-sent events when `stream` is true. Nothing is stored."""
    asked = to_request(body, controls(request))
    again = {"model": asked.model, **echo(body)}
    namespaces = {tool.name: tool.namespace for tool in read_tools(body) if tool.namespace}
    begun = await begin(request, asked)
    sent = ResponseForm(Live(begun.entry), again, namespaces)

    def form(stamps: Stamps) -> ResponseForm:
        # What breaks off is told by the form that knows how far it came.
        return ResponseForm(stamps, again, namespaces) if stamps is HOLES else sent

    return await respond(request, begun, form, Wire(sent.failed, EVENTS, JSON), is_streamed=asked.stream)


class ResponseForm:
    """The objects of /v1/responses, all with one id.

    again       what of the request every answer says again.
    namespaces  of the functions that have one, by name.
    """

    def __init__(self, stamps: Stamps, again: Mapping[str, Any], namespaces: Mapping[str, str]) -> None:
        self._stamps = stamps
        self._created = stamps.created
        self._again = again
        self._namespaces = namespaces
        self._has_begun = False
        self._number = 0  # of the next event
        self._whole: list[dict[str, Any]] = []  # items
        self._open: Writing | None = None  # the item after those

    def of_reply(self, reply: Reply) -> dict[str, Any]:
        """The whole answer as one object: what its stream would end with."""
        *_, (_, last) = [step for chunk in reply.chunks() for step in self._steps(chunk)]
        response: dict[str, Any] = last["response"]
        return response

    def of_chunk(self, chunk: Chunk) -> list[bytes]:
        """The chunk as events, sent at once."""
        frames = self._numbered(self._steps(chunk))
        return [frames] if frames else []

    def failed(self, error: OrchestratorError) -> bytes:
        """What a stream that broke off ends with, holding what there is."""
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        told = {"error": {"code": code, "message": readable(str(error))}}
        unfinished = [self._open.item("incomplete")] if self._open else []
        response = self._response("failed", self._whole + unfinished) | told
        return self._numbered([*self._begun(), ("response.failed", {"response": response})])

    def _numbered(self, steps: Iterable[Step]) -> bytes:
        frames = []
        for kind, value in steps:
            frames.append(typed_event(kind, {"sequence_number": self._number, **value}))
            self._number += 1
        return b"".join(frames)

    def _steps(self, chunk: Chunk) -> Iterator[Step]:
        yield from self._begun()
        if chunk.thinking:
            yield from self._more(Thinking, readable(chunk.thinking))
        if chunk.text or chunk.logprobs:
            yield from self._more(Saying, readable(chunk.text), [_logprob(one) for one in chunk.logprobs])
        for call in chunk.tool_calls:
            yield from self._called(call)
        if chunk.done:
            yield from self._ended(chunk.done)

    def _begun(self) -> Iterator[Step]:
        if not self._has_begun:
            self._has_begun = True
            for kind in ("response.created", "response.in_progress"):
                yield kind, {"response": self._response("in_progress", [])}

    def _more(self, kind: type[Writing], text: str, logprobs: Sequence[Any] = ()) -> Iterator[Step]:
        """More of the item of that kind; of a new one, when another is open."""
        if not isinstance(self._open, kind):
            yield from self._closed()
            self._open = kind(self._stamps.id, len(self._whole))
            yield from self._open.opened()
        yield self._open.more(text, logprobs)

    def _closed(self) -> Iterator[Step]:
        if self._open:
            yield from self._open.closed()
            self._whole.append(self._open.item("completed"))
            self._open = None

    def _called(self, call: ToolCall) -> Iterator[Step]:
        """A call is an item that comes whole."""
        yield from self._closed()
        place = {"output_index": len(self._whole)}
        arguments = to_json(readable(dict(call.arguments))).decode()
        item = {
            "id": f"fc_{self._stamps.id}_{len(self._whole)}",
            "type": "function_call",
            "status": "completed",
            "call_id": readable(call.id),
            "name": readable(call.name),
            "arguments": arguments,
        }
        if call.name in self._namespaces:
            item["namespace"] = self._namespaces[call.name]
        self._whole.append(item)
        yield "response.output_item.added", {**place, "item": item | {"status": "in_progress", "arguments": ""}}
        place = {"item_id": item["id"], **place}
        yield "response.function_call_arguments.delta", {**place, "delta": arguments}
        yield "response.function_call_arguments.done", {**place, "name": item["name"], "arguments": arguments}
        yield "response.output_item.done", {"output_index": place["output_index"], "item": item}

    def _ended(self, done: Done) -> Iterator[Step]:
        yield from self._closed()
        if not any(item["type"] in {"message", "function_call"} for item in self._whole):
            yield from self._more(Saying, "")
            yield from self._closed()
        ended = {"completed_at": self._stamps.completed, "usage": _usage(done.usage)}
        if done.reason in REASONS:
            ended["incomplete_details"] = {"reason": REASONS[done.reason]}
        yield "response.completed", {"response": self._response("completed", self._whole) | ended}

    def _response(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"resp_{self._stamps.id}",
            "object": "response",
            "created_at": self._created,
            "completed_at": None,
            "status": status,
            "incomplete_details": None,
            "error": None,
            **self._again,
            "output": output,
            "usage": None,
        }


class Writing(ABC):
    """An item of text while it is written."""

    prefix = ""

    def __init__(self, stamp: str, index: int) -> None:
        self._id = f"{self.prefix}_{stamp}_{index}"
        self._index = index
        self._texts: list[str] = []
        self._logprobs: list[Any] = []

    @abstractmethod
    def item(self, status: str) -> dict[str, Any]:
        """As it is so far."""

    def opened(self) -> Iterator[Step]:
        """The events it begins with."""
        yield "response.output_item.added", {"output_index": self._index, "item": self.item("in_progress")}

    @abstractmethod
    def more(self, text: str, logprobs: Sequence[Any]) -> Step:
        """The event that brings the next piece."""

    def closed(self) -> Iterator[Step]:
        """The events it ends with."""
        yield "response.output_item.done", {"output_index": self._index, "item": self.item("completed")}


class Thinking(Writing):
    """What the model thinks; its summary is all of it."""

    prefix = "rs"

    def item(self, status: str) -> dict[str, Any]:
        """As it is so far; it has no status."""
        text = "".join(self._texts)
        summary = [{"type": "summary_text", "text": text}] if text else []
        return {"id": self._id, "type": "reasoning", "summary": summary, "encrypted_content": text}

    def more(self, text: str, logprobs: Sequence[Any]) -> Step:
        """A delta."""
        self._texts.append(text)
        return "response.reasoning_summary_text.delta", {**self._place(), "delta": text}

    def closed(self) -> Iterator[Step]:
        """All of it again."""
        yield "response.reasoning_summary_text.done", {**self._place(), "text": "".join(self._texts)}
        yield from super().closed()

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._id, "output_index": self._index, "summary_index": 0}


class Saying(Writing):
    """What the model says: a message of one part."""

    prefix = "msg"

    def item(self, status: str) -> dict[str, Any]:
        """As it is so far; one that has just begun has no part yet."""
        content = [] if status == "in_progress" else [self._part()]
        return {"id": self._id, "type": "message", "status": status, "role": "assistant", "content": content}

    def opened(self) -> Iterator[Step]:
        """The message, and its part."""
        yield from super().opened()
        yield "response.content_part.added", {**self._place(), "part": self._part()}

    def more(self, text: str, logprobs: Sequence[Any]) -> Step:
        """A delta."""
        self._texts.append(text)
        self._logprobs += logprobs
        return "response.output_text.delta", {**self._place(), "delta": text, "logprobs": logprobs}

    def closed(self) -> Iterator[Step]:
        """The text, the part, and the message again."""
        part = self._part()
        said = {"text": part["text"], "logprobs": part["logprobs"]}
        yield "response.output_text.done", {**self._place(), **said}
        yield "response.content_part.done", {**self._place(), "part": part}
        yield from super().closed()

    def _part(self) -> dict[str, Any]:
        text = "".join(self._texts)
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(self._logprobs)}

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._id, "output_index": self._index, "content_index": 0}


def _logprob(one: TokenLogprob) -> dict[str, Any]:
    value: dict[str, Any] = readable(logprob_to_wire(one))
    return {"top_logprobs": [], **value}


def _usage(usage: Usage) -> dict[str, Any]:
    """Tokens."""
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": prompt + completion,
    }
