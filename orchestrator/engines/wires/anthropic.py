"""Anthropic's protocol: POST v1/messages, answered as typed events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import orjson

from orchestrator.core.errors import BadRequest, EngineError, Unsupported
from orchestrator.core.extras import TIER, told_in
from orchestrator.core.types import JSON, ChatRequest, Chunk, Message, StopReason, Usage
from orchestrator.engines.wires.base import (
    CHATS,
    MOST_WORDS,
    ODD,
    Ask,
    Offer,
    Reader,
    Said,
    Vectors,
    as_count,
    as_text,
    broken_off,
    form_in_words,
    function_of,
    moment,
    picture_kind,
    plain,
    refusal,
    system_text,
    with_call_ids,
)
from orchestrator.engines.wires.by_name import (
    ADAPTIVE,
    CLAUDES,
    CLAUDES_THINKING,
    NEVER_SILENT,
    NO_SCHEMA,
    SILENT_AT_FIRST,
    SILENT_UNASKED,
    WAYS,
    WAYS_NOT_TO_THINK,
)
from orchestrator.engines.wires.strict_schema import can_be_said, strict

VERSION = "2023-06-01"
OPTIONS = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "stop": "stop_sequences"}
WARMEST = 1.0
REASONS: dict[str, StopReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}

# `max_tokens` is required. A caller without a cap gets what the model can, up to what fits into a deadline.
MOST_OUTPUT = 32_000
GUESSED_OUTPUT = 8_192

ALL_EFFORTS = "all efforts"  # it knows `max` as well
BUDGETS = {"low": 2_048, "medium": 8_192, "high": 16_384, "max": 30_000}
LEAST_BUDGET = 1_024

# A marked prefix costs a quarter more once and a tenth from then on. Shorter ones are not kept, marked or not.
MARKED_FROM_BYTES = 4_096
MARK = {"type": "ephemeral"}

ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
OPENING = "…"  # what the user said before the assistant's first turn: somebody has to have begun, with some words


class Anthropic:
    """Messages, thinking, tools and pictures; no embeddings."""

    takes = frozenset({"stop unless blank", "num_predict", "format", "think", "effort", "truncate", "shift"})
    takes |= {f"{option} unless thinking" for option in WAYS}
    takes_for_vectors: frozenset[str] = frozenset()
    listing = "v1/models?limit=1000"
    probe = ""
    tells = True

    def headers(self, key: str) -> dict[str, str]:
        """The key, and the version of the protocol that is spoken."""
        return {"anthropic-version": VERSION} | ({"x-api-key": key} if key else {})

    def canonical(self, name: str) -> str:
        """As it is."""
        return name

    def chat(self, request: ChatRequest, offer: Offer) -> Ask:
        """The question. Raises BadRequest when there is none, or no room to think."""
        most = request.cap or min(offer.most_output or GUESSED_OUTPUT, MOST_OUTPUT)
        most = min(most, offer.most_output or most)  # more than it can is refused
        system, turns = system_text(request.messages), _turns(request.messages)
        if not turns:
            turns, system = [{"role": "user", "content": [{"type": "text", "text": system}]}], ""
            if not turns[0]["content"][0]["text"].strip():
                raise BadRequest(f"{offer.name} needs a message that says something")
        body: dict[str, Any] = {"model": offer.name, "max_tokens": most, "messages": turns}
        grammar, in_words = _form(request.format, offer)
        system = "\n\n".join(filter(None, [system, in_words]))
        if system:
            body["system"] = [{"type": "text", "text": system}]
        if request.tools:
            body["tools"] = [_tool(function_of(tool)) for tool in request.tools]
        for ours, theirs in OPTIONS.items():
            if ours in request.options:
                body[theirs] = request.options[ours]
        if body.get("temperature", 0) > WARMEST:
            body["temperature"] = WARMEST
        if grammar:
            body["output_config"] = {"format": {"type": "json_schema", "schema": grammar}}
        _think(body, request, offer)
        _mark(body)
        return Ask(path="v1/messages", body=body | {"stream": True})

    def answer(self) -> AnthropicAnswer:
        """A reader for one answer."""
        return AnthropicAnswer()

    def embeddings(self, request: ChatRequest, name: str) -> Sequence[Ask]:
        """There are none."""
        raise Unsupported("this model does not support embeddings")

    def vectors(self, body: bytes) -> Vectors:
        """There are none."""
        raise Unsupported("this model does not support embeddings")

    def offers(self, body: bytes) -> list[Offer]:
        """The list of models, with what each can do where it says so."""
        entries = orjson.loads(body)["data"]
        return [self._offer(entry) for entry in entries if isinstance(entry.get("id"), str) and entry["id"]]

    def _offer(self, entry: dict[str, Any]) -> Offer:
        offer = replace(
            self.guess(entry["id"]),
            context_length=as_count(entry.get("max_input_tokens")),
            most_output=as_count(entry.get("max_tokens")),
            modified_at=moment(entry.get("created_at")),
        )
        able = entry.get("capabilities")
        if not isinstance(able, dict):
            return offer
        capabilities = {"completion", "tools"}
        capabilities |= {"vision"} if _is_supported(able, "image_input") else set()
        capabilities |= {"thinking"} if _is_supported(able, "thinking") else set()
        traits = {ADAPTIVE} if _is_supported(able, "thinking", "types", "adaptive") else set()
        traits |= offer.traits & WAYS_NOT_TO_THINK
        traits |= {ALL_EFFORTS} if _is_supported(able, "effort", "max") else set()
        if "structured_outputs" in able:
            traits |= set() if _is_supported(able, "structured_outputs") else {NO_SCHEMA}
        else:
            traits |= offer.traits & {NO_SCHEMA}
        return replace(offer, capabilities=frozenset(capabilities), traits=frozenset(traits))

    def guess(self, name: str) -> Offer:
        """By its name: who speaks this protocol and is not of Anthropic knows budgets only."""
        row, thinking = CLAUDES.row(name), CLAUDES_THINKING.row(name)
        traits = frozenset(row.traits | thinking.traits)
        return Offer(name=name, capabilities=CHATS - thinking.cannot, traits=traits, takes=row.of(self.takes))

    def said(self, body: bytes) -> Said:
        """`{"type": "error", "error": {"type": …, "message": …}}`."""
        try:
            error = orjson.loads(body)["error"]
            words, kind = str(error["message"])[:MOST_WORDS], error["type"]
        except ODD:
            return plain(body)
        return refusal(words, kind, is_about_key=kind == "authentication_error")


def _is_supported(able: Any, *path: str) -> bool:
    for name in path:
        able = able.get(name) if isinstance(able, dict) else None
    return isinstance(able, dict) and able.get("supported") is True


def _form(format: str | Mapping[str, JSON] | None, offer: Offer) -> tuple[Any, str]:
    """The form of the answer: a schema that is kept to, or else what is asked for in words."""
    if isinstance(format, Mapping) and NO_SCHEMA not in offer.traits and can_be_said(format):
        return strict(format), ""
    return None, form_in_words(format)


def _turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The conversation: one turn for all that one side says in a row, and nothing empty, which is refused."""
    turns: list[dict[str, Any]] = []
    for message in with_call_ids(messages):
        if message.role == "system":
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _result(message) if message.role == "tool" else _blocks(message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    for turn in turns:  # what tools answered comes first in its turn, whatever was said meanwhile
        turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    if turns and turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [{"type": "text", "text": OPENING}]})
    if turns and turns[-1]["role"] == "assistant":
        last = turns[-1]["content"][-1]
        if last["type"] == "text":  # the answer goes on from here, and may not go on from a space
            last["text"] = last["text"].rstrip()
    return turns


def _blocks(message: Message) -> list[dict[str, Any]]:
    """What was said, shown and called. Thoughts stay here: they are only taken back with their signature."""
    blocks: list[dict[str, Any]] = []
    if message.content.strip():
        blocks.append({"type": "text", "text": message.content})
    blocks += [_picture(image) for image in message.images]
    for call in message.tool_calls:
        blocks.append({"type": "tool_use", "id": _id(call.id), "name": call.name, "input": dict(call.arguments)})
    return blocks


def _result(message: Message) -> list[dict[str, Any]]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(message.tool_call_id)}
    if content := _blocks(replace(message, tool_calls=())):
        block["content"] = content
    return [block]


def _id(id: str) -> str:
    """The id of a call, of the only form that is taken; another's id becomes the same one wherever it stands."""
    return id if ID.fullmatch(id) else f"toolu_{blake2b(id.encode('utf-8', 'replace'), digest_size=12).hexdigest()}"


def _picture(image: str) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": picture_kind(image), "data": image}}


def _tool(function: Mapping[str, JSON]) -> dict[str, Any]:
    schema = function.get("parameters")
    tool = {
        "name": function.get("name"),
        "input_schema": {"type": "object"} | (dict(schema) if isinstance(schema, Mapping) else {"properties": {}}),
    }
    return tool | ({"description": function["description"]} if function.get("description") else {})


def _think(body: dict[str, Any], request: ChatRequest, offer: Offer) -> None:
    """How much to think, in the way this model knows."""
    if request.think is None:
        return
    if request.think is False:
        _do_not_think(body, offer.traits)
        return
    level = request.think if isinstance(request.think, str) else ""
    if ADAPTIVE in offer.traits:
        body["thinking"] = {"type": "adaptive", "display": "summarized"}
        if level:
            effort = "high" if level == "max" and ALL_EFFORTS not in offer.traits else level
            _exert(body, effort)
    elif not _is_within_a_turn(body["messages"]):
        most = body["max_tokens"]
        if most <= LEAST_BUDGET:
            raise BadRequest(
                f"{offer.name} needs `num_predict` over {LEAST_BUDGET} to think; raise it, or do not think"
            )
        budget = max(min(BUDGETS.get(level, BUDGETS["medium"]), most // 2), LEAST_BUDGET)
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _do_not_think(body: dict[str, Any], traits: Set[str]) -> None:
    """Nothing, or as little as this model can."""
    if NEVER_SILENT in traits:
        _exert(body, "low")
    elif SILENT_AT_FIRST in traits:
        body["thinking"] = {"type": "between_tools"}
    elif SILENT_UNASKED not in traits:
        body["thinking"] = {"type": "disabled"}


def _exert(body: dict[str, Any], effort: str) -> None:
    body["output_config"] = body.get("output_config", {}) | {"effort": effort}


def _is_within_a_turn(turns: Sequence[dict[str, Any]]) -> bool:
    """Whether the answer goes on with what it began: its thoughts, signed, would have to be shown to think on."""
    last = turns[-1]
    return last["role"] == "assistant" or any(block["type"] == "tool_result" for block in last["content"])


def _mark(body: dict[str, Any]) -> None:
    """Mark what will come again for the provider's own cache: long tools and system text; a run of tool calls.

    The next question of a run begins with all of this one, and comes as soon as the tools are done.
    """
    system, tools, turns = body.get("system", []), body.get("tools", []), body["messages"]
    size = sum(len(block["text"]) for block in system)
    if size < MARKED_FROM_BYTES and tools:
        size += len(json.dumps(tools))
    if size >= MARKED_FROM_BYTES:
        (system or tools)[-1]["cache_control"] = MARK
    if turns and turns[-1]["content"][-1]["type"] == "tool_result":
        turns[-1]["content"][-1]["cache_control"] = MARK


class AnthropicAnswer(Reader):
    """Reads typed events: one message, of blocks that are opened, filled and closed one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._has_begun = False
        self._next = 0  # the index of the next block
        self._open = ""  # the kind of the block that is being filled
        self._call: dict[str, Any] = {}
        self._arguments: list[str] = []
        self._is_held = False  # the call is closed, and what follows tells whether it is whole
        self._stop: str | None = None
        self._matched = ""  # the stop sequence
        self._counts: dict[str, int] = {}
        self._for_an_hour = 0  # of those written to the provider's cache

    @property
    def is_underway(self) -> bool:
        """As in `Answer`; a block is passed on when it is whole, if it is a call."""
        return self._next > 0

    def take(self, event: dict[str, Any]) -> Iterable[Chunk]:
        """Read one event. Kinds that are not known are to be ignored, as the protocol says."""
        match event["type"]:
            case "error":
                error = event["error"]
                raise broken_off(str(error["message"]), error["type"])
            case "message_start":
                self._in_order(not self._has_begun)
                self._has_begun = True
                self._is_called(event["message"].get("id"))
                self._count(event["message"].get("usage"), is_first=True)
            case "content_block_start":
                yield from self._opened(event)
            case "content_block_delta":
                self._in_order(bool(self._open) and event["index"] == self._next - 1)
                yield from self._delta(event["delta"])
            case "content_block_stop":
                self._in_order(bool(self._open) and event["index"] == self._next - 1)
                yield from self._closed()
            case "message_delta":
                self._in_order(self._has_begun and not self._open)
                self._stop = event["delta"].get("stop_reason") or self._stop
                self._matched = as_text(event["delta"].get("stop_sequence")) or self._matched
                self._count(event.get("usage"))
            case "message_stop":
                self._in_order(self._stop is not None and not self._open)
                if REASONS.get(self._stop or "") == "stop":  # other ends come in the middle of a call, too
                    yield from self._released()
                self._end()

    def _in_order(self, is_so: bool) -> None:
        if not is_so:
            raise EngineError("The provider sent an event out of order.")

    def _opened(self, event: dict[str, Any]) -> Iterable[Chunk]:
        self._in_order(self._has_begun and not self._open and self._stop is None and event["index"] == self._next)
        yield from self._released()
        block = event["content_block"]
        self._next += 1
        self._open = as_text(block["type"])
        match self._open:
            case "text" if block.get("text"):
                yield Chunk(text=as_text(block["text"]))
            case "thinking" if block.get("thinking"):
                yield Chunk(thinking=as_text(block["thinking"]))
            case "tool_use":
                self._call, self._arguments = block, []

    def _delta(self, delta: dict[str, Any]) -> Iterable[Chunk]:
        match self._open, delta["type"]:
            case "text", "text_delta":
                text = as_text(delta["text"])
                if text:
                    yield Chunk(text=text)
            case "thinking", "thinking_delta":
                thinking = as_text(delta["thinking"])
                if thinking:
                    yield Chunk(thinking=thinking)
            case "tool_use", "input_json_delta":
                self._arguments.append(self._wrote(as_text(delta["partial_json"])))
            case _, "text_delta" | "thinking_delta":
                raise EngineError("The provider sent a piece that does not belong into its block.")

    def _closed(self) -> Iterable[Chunk]:
        kind, self._open = self._open, ""
        if kind != "tool_use":
            return
        # No part of an object is an object: what reads as one is whole. Nothing at all may be, or not have come yet.
        try:
            arguments = orjson.loads("".join(self._arguments))
        except ValueError:
            self._is_held = True
            return
        yield self._called(self._call.get("id"), self._call.get("name"), arguments)

    def _released(self) -> Iterable[Chunk]:
        """The call that was held back: it was whole, so without arguments, or is none."""
        if self._is_held:
            self._is_held = False
            arguments = None if "".join(self._arguments).strip() else self._call.get("input") or {}
            yield self._called(self._call.get("id"), self._call.get("name"), arguments)

    def _count(self, usage: object, *, is_first: bool = False) -> None:
        """Counts so far. What was written to the provider's cache or read from it was part of the question, too."""
        if not isinstance(usage, dict):
            return
        for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"):
            if as_count(usage.get(name)) and not (is_first and name == "output_tokens"):  # that is still to come
                self._counts[name] = as_count(usage[name])
        written = usage.get("cache_creation")
        if isinstance(written, dict):
            self._for_an_hour = as_count(written.get("ephemeral_1h_input_tokens")) or self._for_an_hour
        used = usage.get("server_tool_use")
        searches = as_count(used.get("web_search_requests")) if isinstance(used, dict) else 0
        answered = self._counts.get("output_tokens", 0)
        self.usage = Usage(
            prompt_tokens=sum(self._counts.values()) - answered,
            completion_tokens=answered,
            cached_tokens=self._counts.get("cache_read_input_tokens", 0),
            cache_write_tokens=self._counts.get("cache_creation_input_tokens", 0),
            cache_write_1h_tokens=self._for_an_hour,
            ref=self.usage.ref,
            extras=told_in(usage.get(TIER), searches) or self.usage.extras,
        )

    def _end(self) -> None:
        if self._stop not in REASONS:  # half an answer, for all we know: `pause_turn` is one
            raise EngineError(
                f"The provider ended its answer with {str(self._stop)[:MOST_WORDS]!r}, which is no end known here."
            )
        self._reason = REASONS[self._stop]
        self._stop_string = self._matched if self._stop == "stop_sequence" else ""
        self.is_over = True
