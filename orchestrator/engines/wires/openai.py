"""OpenAI's chat protocol, which most providers speak."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import orjson

from orchestrator.core.errors import EngineError
from orchestrator.core.extras import TIER, told_in
from orchestrator.core.ids import call_id
from orchestrator.core.types import ChatRequest, Chunk, Message, StopReason, TokenLogprob, ToolCall, Usage
from orchestrator.engines.wires import openai_vectors
from orchestrator.engines.wires.base import (
    CHATS,
    EMBEDS,
    MOST_TOOL_CALLS,
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
    check_depth,
    picture_kind,
    plain,
    refusal,
    with_call_ids,
)
from orchestrator.engines.wires.closed_schema import is_closed
from orchestrator.engines.wires.prices import price_in

# Ours → theirs. What has no counterpart there (top_k, num_ctx …) is not asked for: see `takes`.
OPTIONS = {
    "num_predict": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "stop": "stop",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
# What providers say of a good end, in whatever case. Any other word may stand after half an answer.
REASONS: dict[str, StopReason] = {
    **dict.fromkeys(("stop", "tool_calls", "function_call", "eos", "eos_token", "stop_sequence", "end_turn"), "stop"),
    **dict.fromkeys(("length", "model_length", "max_tokens"), "length"),
    "content_filter": "content_filter",
}
# What lists of models call the length of a context: OpenRouter and Together, Groq, vLLM, Mistral and LM Studio,
# llama-server, which tells the one it serves or else the one that the model knows.
LENGTHS = ("context_length", "context_window", "max_model_len", "max_context_length", "n_ctx", "n_ctx_train")
HEARD = "Done."  # the turn of an assistant that Mistral wants between a tool's answer and the user
# Lists seldom say which is which; this is how models for vectors are called.
MAKES_VECTORS = re.compile(r"embed|minilm|mpnet|(^|[/_-])(bge|e5|gte|sfr|uae)[_-]")


class OpenAI:
    """Chat completions and embeddings."""

    # A provider never cuts a question, nor forgets a part of it meanwhile: `truncate` and `shift` can only be off.
    takes = frozenset({*OPTIONS, "format", "effort", "logprobs", "top_logprobs", "truncate", "shift"})
    takes_for_vectors = frozenset({"truncate"})
    listing = "models"
    probe = ""
    tells = False

    def headers(self, key: str) -> dict[str, str]:
        """The key."""
        return {"Authorization": f"Bearer {key}"} if key else {}

    def canonical(self, name: str) -> str:
        """As it is."""
        return name

    def chat(self, request: ChatRequest, offer: Offer) -> Ask:
        """The question."""
        return Ask(path="chat/completions", body=to_wire(request, offer))

    def answer(self) -> WireAnswer:
        """A reader for one answer."""
        return WireAnswer()

    def embeddings(self, request: ChatRequest, name: str) -> Sequence[Ask]:
        """All at once."""
        return [Ask(path="embeddings", body=openai_vectors.to_wire(request, name))]

    def vectors(self, body: bytes) -> Vectors:
        """The vectors in their order, whatever order they came in."""
        return openai_vectors.read(body)

    def offers(self, body: bytes) -> list[Offer]:
        """The list of models; what else it tells differs from provider to provider, and some tell nothing."""
        value = orjson.loads(body)
        entries = value if isinstance(value, list) else value["data"]
        return [self._offer(entry) for entry in entries if isinstance(entry.get("id"), str)]

    def _offer(self, entry: dict[str, Any]) -> Offer:
        offer = self.guess(entry["id"])
        told = entry | about if isinstance(about := entry.get("meta"), dict) else entry
        length = next(filter(None, (as_count(told.get(name)) for name in LENGTHS)), 0)
        able = _told(entry) or offer.capabilities
        most = as_count(told.get("max_completion_tokens")) or offer.most_output  # Groq tells
        return replace(offer, capabilities=able, context_length=length, most_output=most, price=price_in(entry))

    def guess(self, name: str) -> Offer:
        """By its name: providers do not say which model makes vectors, but all name theirs so."""
        return Offer(name=name, capabilities=EMBEDS if MAKES_VECTORS.search(name.lower()) else CHATS)

    def said(self, body: bytes) -> Said:
        """`{"error": {"message": …, "code": …}}`, or something like it: `{"object": "error", "message": …}`."""
        try:
            value = orjson.loads(body)
            error = value.get("error", value)
            words = self.words(error)
        except ODD:
            return plain(body)
        if not isinstance(error, dict):
            return refusal(words)
        return refusal(words, error.get("code"), error.get("type"), param=error.get("param"))

    def words(self, error: object) -> str:
        """What it says of an error. Raises one of `ODD` when that is none."""
        return _words(error)


class Mistral(OpenAI):
    """Mistral's form of it, which refuses fields that it does not know."""

    takes = OpenAI.takes - {"logprobs", "top_logprobs", "effort"}

    def chat(self, request: ChatRequest, offer: Offer) -> Ask:
        """The question, with a seed under its other name, and ids of the one form that is taken."""
        body = to_wire(replace(request, logprobs=False, think=None), offer)
        del body["stream_options"]  # it counts without being asked to
        if "seed" in body:
            body["random_seed"] = body.pop("seed")
        for message in body["messages"]:
            for call in message.get("tool_calls", ()):
                call["id"] = _nine(call["id"])
            if "tool_call_id" in message:
                message["tool_call_id"] = _nine(message["tool_call_id"])
        body["messages"] = _in_turn(body["messages"])
        last = body["messages"][-1] if body["messages"] else {}
        return Ask(path="chat/completions", body=body, begun=as_text(last.get("content")) if "prefix" in last else "")

    def answer(self) -> MistralAnswer:
        """A reader for one answer."""
        return MistralAnswer()


def _in_turn(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same in an order that is taken: what tools answered is heard before the user speaks.

    An answer that was begun is marked as such, and one that says nothing yet is left out.
    """
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] == "user" and turns and turns[-1]["role"] == "tool":
            turns.append({"role": "assistant", "content": HEARD})
        turns.append(message)
    if turns and turns[-1]["role"] == "assistant" and not turns[-1].get("tool_calls"):
        begun = turns.pop()
        turns += [begun | {"prefix": True}] if begun["content"] else []
    return turns


def _nine(id: str) -> str:
    """An id of nine letters or digits; another's id becomes the same one wherever it stands."""
    return id if re.fullmatch(r"[a-zA-Z0-9]{9}", id) else blake2b(id.encode("utf-8", "replace")).hexdigest()[:9]


def _told(entry: Mapping[str, Any]) -> frozenset[str]:
    """What a list says that a model can do; nothing where it does not say."""
    able = {"completion"}
    match entry:
        case {"type": "embedding"}:  # Together
            return EMBEDS
        case {"capabilities": {"completion_chat": True, **told}}:  # Mistral
            able |= {"tools"} if told.get("function_calling") else set()
            able |= {"vision"} if told.get("vision") else set()
            return frozenset(able)
        case {"supported_parameters": [*known], "architecture": {"input_modalities": [*inputs]}}:  # OpenRouter
            able |= {"tools"} if "tools" in known else set()
            able |= {"thinking"} if "reasoning" in known else set()
            able |= {"vision"} if "image" in inputs else set()
            return frozenset(able)
    return frozenset()


def _words(error: object) -> str:
    """The provider's own words, shortened."""
    return str(error["message"] if isinstance(error, dict) else error)[:MOST_WORDS]


def to_wire(request: ChatRequest, offer: Offer) -> dict[str, Any]:
    """The request as the provider takes it, with no higher cap than the model has by itself: some refuse that."""
    body: dict[str, Any] = {
        "model": offer.name,
        "messages": [message_to_wire(message) for message in with_call_ids(request.messages)],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    for ours, theirs in OPTIONS.items():
        if ours in request.options and not (ours == "num_predict" and request.cap is None):
            body[theirs] = request.options[ours]
    if "max_tokens" in body and offer.most_output:
        body["max_tokens"] = min(body["max_tokens"], offer.most_output)
    if request.tools:
        body["tools"] = list(request.tools)
    if request.format == "json":
        body["response_format"] = {"type": "json_object"}
    elif request.format:
        schema = {"name": "answer", "schema": request.format, "strict": is_closed(request.format)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if isinstance(request.think, str):
        body["reasoning_effort"] = {"max": "high"}.get(request.think, request.think)
    if request.logprobs:
        body["logprobs"] = True
        body["top_logprobs"] = request.top_logprobs
    return body


def message_to_wire(message: Message) -> dict[str, Any]:
    """One turn as the provider takes it."""
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.images:
        wire["content"] = [{"type": "text", "text": message.content}] + [
            {"type": "image_url", "image_url": {"url": f"data:{picture_kind(image)};base64,{image}"}}
            for image in message.images
        ]
    if message.tool_calls:
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        wire["tool_call_id"] = message.tool_call_id
    return wire


class WireAnswer(Reader):
    """Reads one streamed answer, event by event."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: dict[int, dict[str, str]] = {}  # of tool calls
        self._is_refused = False  # by the model, in words of its own

    @property
    def is_underway(self) -> bool:
        """As in `Answer`; calls of tools are passed on at the end only."""
        return super().is_underway or bool(self._parts)

    def data(self, line: bytes) -> bytes:
        """The JSON in a line; the word that ends it all is none."""
        data = line[5:].strip() if line.startswith(b"data:") else b""
        if data == b"[DONE]":
            self.is_over = True
            return b""
        return data

    def take(self, event: dict[str, Any]) -> Iterable[Chunk]:
        """Read one event."""
        choice = (event.get("choices") or [{}])[0]
        # Older servers of vLLM put nothing around it.
        if error := event.get("error") or choice.get("error") or (event if event.get("object") == "error" else None):
            codes = (error.get("code"), error.get("type")) if isinstance(error, dict) else ()
            raise broken_off(self.words(error), *codes)
        self._is_called(event.get("id"))
        if isinstance(usage := event.get("usage") or choice.get("usage"), dict):  # Moonshot has it in the choice
            self.usage = replace(self.counted(usage), ref=self.usage.ref, extras=self.usage.extras)
        if (extras := told_in(event.get(TIER))) and extras != self.usage.extras:
            self.usage = replace(self.usage, extras=extras)
        delta = choice.get("delta") or {}
        if reason := choice.get("finish_reason"):
            self._reason = _reason(reason)
        self._take_calls(delta.get("tool_calls") or [])
        logprobs = _logprobs(choice.get("logprobs"))
        refusal = as_text(delta.get("refusal"))
        self._is_refused |= bool(refusal)
        text = delta.get("content") or refusal
        thinking = delta.get("reasoning") or delta.get("reasoning_content") or ""
        if not isinstance(text, str) or not isinstance(thinking, str):
            raise EngineError("The provider sent content that is not text.")
        if text or thinking or logprobs:
            yield Chunk(text=text, thinking=thinking, logprobs=logprobs)

    def words(self, error: object) -> str:
        """As of a refusal."""
        return _words(error)

    def counted(self, usage: dict[str, Any]) -> Usage:
        """The counts in it. Thoughts are part of the answer, or come on top of it where the total says so."""
        asked, answered = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
        details = asked if isinstance(asked, dict) else {}
        thought = as_count(answered.get("reasoning_tokens")) if isinstance(answered, dict) else 0
        prompt, completion = as_count(usage.get("prompt_tokens")), as_count(usage.get("completion_tokens"))
        if thought and usage.get("total_tokens") == prompt + completion + thought:
            completion += thought
        # The second is DeepSeek's, the third Moonshot's.
        cached = details.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or usage.get("cached_tokens")
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            cached_tokens=as_count(cached),
            cache_write_tokens=as_count(details.get("cache_write_tokens")),
            reasoning_tokens=thought,
        )

    def _take_calls(self, calls: list[dict[str, Any]]) -> None:
        for part in calls:
            call = self._parts.setdefault(self._place(part), {"id": "", "name": "", "arguments": ""})
            if len(self._parts) > MOST_TOOL_CALLS:
                raise EngineError(f"The provider called more than {MOST_TOOL_CALLS} tools at once.")
            function = part.get("function") or {}
            call["id"] = str(part.get("id") or call["id"])
            call["name"] += function.get("name") or ""
            call["arguments"] += self._wrote(function.get("arguments") or "")

    def _place(self, part: dict[str, Any]) -> int:
        """Which call a part belongs to. Without an index a new id begins a call, or a name without an id."""
        if part.get("index") is not None:
            return int(part["index"])
        last = max(self._parts, default=-1)
        if known := part.get("id"):
            return next((place for place, call in self._parts.items() if call["id"] == str(known)), last + 1)
        return last + 1 if (part.get("function") or {}).get("name") else max(last, 0)

    def end(self, *, prompt_ns: int, eval_ns: int) -> Chunk:
        """The last chunk, with the tool calls: only the end says that they are whole."""
        if self._is_refused and self._reason:
            self._reason = "content_filter"
        return replace(super().end(prompt_ns=prompt_ns, eval_ns=eval_ns), tool_calls=tuple(self._tool_calls()))

    def _tool_calls(self) -> Iterator[ToolCall]:
        places = sorted(self._parts)
        for place in places:
            call = self._parts[place]
            is_cut = self._reason != "stop" and place == places[-1]
            try:
                arguments = orjson.loads(call["arguments"] or ("" if is_cut else "{}"))
            except ValueError:
                if is_cut:  # it was being written when the answer had to end
                    break
                arguments = None
            if not isinstance(arguments, dict) or not call["name"]:
                raise EngineError("The provider called a tool with arguments that are not a JSON object.")
            check_depth(arguments)
            yield ToolCall(id=call["id"] or call_id(), name=call["name"], arguments=arguments)


class MistralAnswer(WireAnswer):
    """Reads what models that think send: content in pieces of several kinds."""

    def take(self, event: dict[str, Any]) -> Iterable[Chunk]:
        """Read one event."""
        for choice in (event.get("choices") or ())[:1]:
            delta = choice.get("delta") or {}
            if isinstance(delta.get("content"), list):
                pieces = delta["content"]
                delta["reasoning"] = "".join(
                    as_text(part.get("text")) for one in pieces for part in one.get("thinking") or ()
                )
                delta["content"] = "".join(as_text(one.get("text")) for one in pieces)
        return super().take(event)


def _reason(said: object) -> StopReason:
    reason = REASONS.get(str(said).lower())
    if reason is None:
        raise EngineError(f"The provider ended its answer with '{str(said)[:MOST_WORDS]}', which is no end known here.")
    return reason


def _logprobs(wire: Any) -> tuple[TokenLogprob, ...]:
    return tuple(
        replace(_logprob(token), top=tuple(_logprob(other) for other in token.get("top_logprobs") or ()))
        for token in (wire or {}).get("content") or ()
    )


def _logprob(wire: dict[str, Any]) -> TokenLogprob:
    return as_logprob(wire["token"], wire["logprob"], wire.get("bytes") or ())
