"""Ollama's own protocol, for an Ollama on another machine: lines of JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

import orjson

from orchestrator.core.errors import EngineError
from orchestrator.core.types import ChatRequest, Chunk, Message, StopReason, TokenLogprob, ToolCall, Usage
from orchestrator.engines.wires import vectors
from orchestrator.engines.wires.base import (
    CHATS,
    EMBEDS,
    LARGEST_COUNT,
    MOST_WORDS,
    ODD,
    Ask,
    Offer,
    Reader,
    Said,
    Vectors,
    as_count,
    as_logprob,
    as_text,
    broken_off,
    moment,
    plain,
    refusal,
)

OPTIONS = frozenset(
    {
        *("num_predict", "temperature", "top_k", "top_p", "min_p", "typical_p", "seed", "stop"),
        *("repeat_last_n", "repeat_penalty", "presence_penalty", "frequency_penalty"),
        *("num_ctx", "num_batch", "num_keep", "num_gpu", "main_gpu", "num_thread", "draft_num_predict", "use_mmap"),
    }
)
KNOWN = CHATS | EMBEDS
LONGEST_NAME = 255 - len("ollama/")  # characters; with that before it, records hold no more
LONGEST_NS = 2**62
LONGEST_KEEP_S = 10**9  # as good as for ever, and no more than its clock holds
REASONS: dict[str | None, StopReason] = {
    "stop": "stop",
    "length": "length",
    "load": "load",
    "unload": "unload",
    "": "stop",  # older servers give no reason
    None: "stop",
}


class Ollama:
    """Everything that is asked of a local model."""

    takes = OPTIONS | {"format", "think", "effort", "thinking", "raw", "context", "logprobs", "top_logprobs"}
    takes |= {"truncate", "shift", "keep_alive", "endpoint"}
    takes_for_vectors = OPTIONS | {"truncate", "keep_alive"}
    listing = "api/tags"
    probe = ""
    tells = True

    def headers(self, key: str) -> dict[str, str]:
        """The key, where one is asked for: by a proxy in front of it, or ollama.com."""
        return {"Authorization": f"Bearer {key}"} if key else {}

    def canonical(self, name: str) -> str:
        """With a tag."""
        return name if ":" in name.rpartition("/")[2] else f"{name}:latest"

    def chat(self, request: ChatRequest, offer: Offer) -> Ask:
        """The question. Raw text and token ids of an earlier answer are for the older of its two ways to ask.

        Who asks us in that way is asked for there in that way: only so it answers with token ids.
        """
        body = _common(request, offer.name)
        body |= {"stream": True}
        if request.think is not None:
            body["think"] = request.think
        if request.format:
            body["format"] = request.format
        if request.logprobs:
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        if not request.shift:
            body["shift"] = False
        if request.prompt is not None:
            return Ask(path="api/generate", body=body | {"prompt": request.prompt, "raw": True})
        if request.context or request.wants_context:
            return Ask(path="api/generate", body=body | _generated(request))
        if request.tools:
            body["tools"] = list(request.tools)
        return Ask(path="api/chat", body=body | {"messages": [_message(message) for message in request.messages]})

    def answer(self) -> OllamaAnswer:
        """A reader for one answer."""
        return OllamaAnswer()

    def embeddings(self, request: ChatRequest, name: str) -> Sequence[Ask]:
        """All at once."""
        inputs = list(request.inputs or ())
        return [Ask(path="api/embed", body=_common(request, name) | {"input": inputs})]

    def vectors(self, body: bytes) -> Vectors:
        """`{"embeddings": [[…]], "prompt_eval_count": …}`."""
        try:
            value = orjson.loads(body)
            found = [vectors.to_vector(one) for one in value["embeddings"]]
            tokens = as_count(value.get("prompt_eval_count"))
        except vectors.NO_VECTORS:
            raise vectors.none() from None
        return Vectors(vectors=tuple(found), tokens=tokens)

    def offers(self, body: bytes) -> list[Offer]:
        """What /api/tags lists; older servers do not tell what a model can do.

        What another of our kind only passes on is not listed again: two that know each other would never end.
        """
        entries = orjson.loads(body)["models"]
        return [
            self._offer(entry) for entry in entries if isinstance(entry.get("name"), str) and _is_its(entry["name"])
        ]

    def _offer(self, entry: dict[str, Any]) -> Offer:
        details = entry.get("details") or {}
        told = entry.get("capabilities")
        able = frozenset(told) & KNOWN if isinstance(told, list) else self.guess(entry["name"]).capabilities
        return Offer(
            name=entry["name"],
            capabilities=able,
            context_length=as_count(details.get("context_length")),
            version=str(entry.get("digest") or ""),
            modified_at=moment(entry.get("modified_at")),
            size=_whole(entry.get("size")),
            family=str(details.get("family") or ""),
            parameter_size=str(details.get("parameter_size") or ""),
            quantization=str(details.get("quantization_level") or ""),
        )

    def guess(self, name: str) -> Offer:
        """By its name."""
        return Offer(name=name, capabilities=EMBEDS if "embed" in name or "minilm" in name else CHATS)

    def said(self, body: bytes) -> Said:
        """`{"error": "…"}`."""
        try:
            words = str(orjson.loads(body)["error"])[:MOST_WORDS]
        except ODD:
            return plain(body)
        return refusal(words)


def _is_its(name: str) -> bool:
    """Whether it may be the server's own model, and not another's, or a word for any."""
    plain_name = name.lower()
    is_passed_on = plain_name.startswith("ollama/") or plain_name.removesuffix(":latest") == "auto"
    return 0 < len(name) <= LONGEST_NAME and not is_passed_on


def _whole(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < LONGEST_NS else 0


def _common(request: ChatRequest, name: str) -> dict[str, Any]:
    body: dict[str, Any] = {"model": name}
    if request.options:
        body["options"] = dict(request.options)
    if request.keep_alive_s is not None:
        # Whole seconds, upwards: nothing at all would unload it.
        body["keep_alive"] = ceil(min(request.keep_alive_s, LONGEST_KEEP_S)) if request.keep_alive_s >= 0 else -1
    if not request.truncate:
        body["truncate"] = False
    return body


def _generated(request: ChatRequest) -> dict[str, Any]:
    """A question as /api/generate takes it: system text, one turn, and the token ids it goes on from."""
    said = {message.role: message for message in request.messages}
    user = said.get("user", Message(role="user"))
    body: dict[str, Any] = {"prompt": user.content}
    if request.context:
        body["context"] = list(request.context)
    if user.images:
        body["images"] = list(user.images)
    return body | ({"system": said["system"].content} if "system" in said else {})


def _message(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.thinking:
        wire["thinking"] = message.thinking
    if message.images:
        wire["images"] = list(message.images)
    if message.tool_calls:
        wire["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.tool_name:
        wire["tool_name"] = message.tool_name
    if message.tool_call_id:
        wire["tool_call_id"] = message.tool_call_id
    return wire


def _call(call: ToolCall) -> dict[str, Any]:
    wire: dict[str, Any] = {"function": {"name": call.name, "arguments": dict(call.arguments)}}
    return wire | ({"id": call.id} if call.id else {})


class OllamaAnswer(Reader):
    """Reads lines of JSON, the last of which is `done`."""

    def __init__(self) -> None:
        super().__init__()
        self._context: tuple[int, ...] = ()

    def data(self, line: bytes) -> bytes:
        """The line."""
        return line.strip()

    def take(self, event: dict[str, Any]) -> Iterable[Chunk]:
        """Read one line."""
        if error := event.get("error"):
            raise broken_off(str(error))
        message = event.get("message") or {"content": event.get("response"), "thinking": event.get("thinking")}
        text, thinking = as_text(message.get("content")), as_text(message.get("thinking"))
        logprobs = tuple(_logprob(token) for token in event.get("logprobs") or ())
        if text or thinking or logprobs:
            yield Chunk(text=text, thinking=thinking, logprobs=logprobs)
        for call in message.get("tool_calls") or ():
            function = call["function"]
            yield self._called(call.get("id"), function.get("name"), function.get("arguments") or {})
        if event["done"] is True:
            self._take_end(event)

    def _take_end(self, event: Mapping[str, Any]) -> None:
        reason = event.get("done_reason")
        if reason not in REASONS:  # half an answer, for all we know
            raise EngineError(
                f"The provider ended its answer with {str(reason)[:MOST_WORDS]!r}, which is no end known here."
            )
        self._reason = REASONS[reason]
        self._context = tuple(map(_token, event.get("context") or ()))
        self.usage = Usage(
            prompt_tokens=as_count(event.get("prompt_eval_count")),
            completion_tokens=as_count(event.get("eval_count")),
            load_ns=_whole(event.get("load_duration")),
            prompt_ns=_whole(event.get("prompt_eval_duration")),
            eval_ns=_whole(event.get("eval_duration")),
        )
        self.is_over = True

    def end(self, *, prompt_ns: int, eval_ns: int) -> Chunk:
        """The last chunk, with the token ids to go on from."""
        chunk = super().end(prompt_ns=prompt_ns, eval_ns=eval_ns)
        return replace(chunk, done=replace(chunk.done, context=self._context)) if chunk.done else chunk


def _token(value: object) -> int:
    if type(value) is not int or not 0 <= value < LARGEST_COUNT:
        raise ValueError(value)
    return value


def _logprob(wire: dict[str, Any]) -> TokenLogprob:
    top = tuple(_logprob(other) for other in wire.get("top_logprobs") or ())
    return replace(as_logprob(wire["token"], wire["logprob"], wire.get("bytes") or ()), top=top)
