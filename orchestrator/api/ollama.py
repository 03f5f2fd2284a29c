"""Ollama's dialect: chunks as it writes them."""

from __future__ import annotations

from typing import Any

from orchestrator.api.frames import to_line
from orchestrator.api.stamps import Stamps
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.types import ChatRequest, Chunk, Done, Reply, TokenLogprob, ToolCall


def line(value: dict[str, Any]) -> bytes:
    """One line of NDJSON."""
    return to_line(value) + b"\n"


def error_line(error: OrchestratorError) -> bytes:
    """What a stream that broke off ends with."""
    return line({"error": str(error)})


class ChatForm:
    """The objects of /api/chat."""

    def __init__(self, stamps: Stamps, asked_model: str) -> None:
        self._stamps, self._model = stamps, asked_model
        self._calls = 0

    def of_chunk(self, chunk: Chunk) -> list[bytes]:
        """The chunk as lines."""
        return [line(self._object(chunk.text, chunk.thinking, chunk.tool_calls, chunk.logprobs, chunk.done))]

    def of_reply(self, reply: Reply) -> dict[str, Any]:
        """The whole answer as one object."""
        return self._object(reply.text, reply.thinking, reply.tool_calls, reply.logprobs, reply.done)

    def _object(
        self,
        text: str,
        thinking: str,
        calls: tuple[ToolCall, ...],
        logprobs: tuple[TokenLogprob, ...],
        done: Done | None,
    ) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if thinking:
            message["thinking"] = thinking
        if calls:
            message["tool_calls"] = [self._call(call) for call in calls]
        value = {
            "model": self._model,
            "created_at": self._stamps.created_at,
            "message": message,
            "done": done is not None,
        }
        if done:
            value["done_reason"] = done.reason
        if logprobs:
            value["logprobs"] = [logprob_to_wire(logprob) for logprob in logprobs]
        if done and done.reason not in {"load", "unload"}:
            value |= metrics(done, self._stamps.total_ns)
        return value

    def _call(self, call: ToolCall) -> dict[str, Any]:
        index = self._calls
        self._calls += 1
        function = {"index": index, "name": call.name, "arguments": call.arguments}
        return {"id": call.id, "function": function}


class GenerateForm:
    """The objects of /api/generate."""

    def __init__(self, stamps: Stamps, asked_model: str, *, is_raw: bool) -> None:
        self._stamps, self._model, self._is_raw = stamps, asked_model, is_raw

    def of_chunk(self, chunk: Chunk) -> list[bytes]:
        """The chunk as lines."""
        return [line(self._object(chunk.text, chunk.thinking, chunk.logprobs, chunk.done))]

    def of_reply(self, reply: Reply) -> dict[str, Any]:
        """The whole answer as one object."""
        return self._object(reply.text, reply.thinking, reply.logprobs, reply.done)

    def _object(
        self, text: str, thinking: str, logprobs: tuple[TokenLogprob, ...], done: Done | None
    ) -> dict[str, Any]:
        value: dict[str, Any] = {"model": self._model, "created_at": self._stamps.created_at, "response": text}
        if thinking:
            value["thinking"] = thinking
        value["done"] = done is not None
        if done:
            value["done_reason"] = done.reason
            if done.context and not self._is_raw:
                value["context"] = done.context
            if done.reason not in {"load", "unload"}:
                value |= metrics(done, self._stamps.total_ns)
        if logprobs:
            value["logprobs"] = [logprob_to_wire(logprob) for logprob in logprobs]
        return value


class PreviewForm:
    """The object of either endpoint that shows the prompt, which comes as the text of an answer, in place of one."""

    def __init__(self, stamps: Stamps, asked: ChatRequest, *, is_chat: bool) -> None:
        self._stamps, self._asked, self._is_chat = stamps, asked, is_chat

    def of_chunk(self, chunk: Chunk) -> list[bytes]:
        """Nothing is streamed."""
        return []

    def of_reply(self, reply: Reply) -> dict[str, Any]:
        """The whole as one object."""
        about: dict[str, Any] = {"rendered_template": reply.text}
        if images := sum(len(message.images) for message in self._asked.messages):
            about["image_count"] = images
        nothing = {"message": {"role": "assistant", "content": ""}} if self._is_chat else {"response": ""}
        common = {"model": self._asked.model, "created_at": self._stamps.created_at}
        return common | nothing | {"done": False, "_debug_info": about}


def metrics(done: Done, total_ns: int) -> dict[str, int]:
    """Counts, and durations in nanoseconds. Zeros are left out, so durations are 1 at least: clients want them."""
    usage = done.usage
    values = {
        "total_duration": total_ns,
        "load_duration": max(usage.load_ns, 1),
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": max(usage.prompt_ns, 1),
        "eval_count": usage.completion_tokens,
        "eval_duration": max(usage.eval_ns, 1),
    }
    return {name: value for name, value in values.items() if value}


def logprob_to_wire(logprob: TokenLogprob) -> dict[str, Any]:
    """One token and how likely it was."""
    value: dict[str, Any] = {"token": logprob.token, "logprob": logprob.logprob, "bytes": list(logprob.bytes)}
    if logprob.top:
        value["top_logprobs"] = [
            {"token": other.token, "logprob": other.logprob, "bytes": list(other.bytes)} for other in logprob.top
        ]
    return value
