"""Whatever an answer holds, each dialect says all of it that it has words for, streamed or whole, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.codec import decode, encode
from cache.entries import CacheKey, Entry
from orchestrator.api import anthropic, completions, ollama, openai, responses
from orchestrator.api.replies import Form, to_json
from orchestrator.api.stamps import HOLES, Template
from orchestrator.core.types import ChatRequest, Chunk, Done, Reply, ReplyBuilder, TokenLogprob, ToolCall, Usage

# What could tear a frame, or pose as one, with anything else between.
TEXTS = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from(["\n", "\r", "\0", "\u2028", "\u2029", "\x85", '"', "\\", "%", "{", "}", "\ufeff"]),
    ),
    max_size=30,
) | st.sampled_from(
    ["\n\n", "data: [DONE]\n\n", '\n\ndata: {"error": 1}\n\n', "event: message_stop\n", '"}\n{"done": true}', "%b%s%%"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
CALLS = st.builds(
    ToolCall,
    id=st.from_regex(r"call_[a-z0-9]{8}", fullmatch=True),
    name=st.from_regex(r"[a-z_]{1,12}", fullmatch=True),
    arguments=st.dictionaries(TEXTS, VALUES, max_size=3),
)
ONE_LOGPROB = st.builds(
    TokenLogprob, token=TEXTS, logprob=st.floats(-50, 0), bytes=st.lists(st.integers(0, 255), max_size=4).map(tuple)
)
LOGPROBS = st.builds(
    TokenLogprob,
    token=TEXTS,
    logprob=st.floats(-50, 0),
    bytes=st.lists(st.integers(0, 255), max_size=4).map(tuple),
    top=st.lists(ONE_LOGPROB, max_size=2).map(tuple),
)
PIECES = st.one_of(
    st.builds(Chunk, text=TEXTS.filter(bool), logprobs=st.lists(LOGPROBS, max_size=2).map(tuple)),
    st.builds(Chunk, thinking=TEXTS.filter(bool)),
    st.builds(Chunk, tool_calls=st.lists(CALLS, min_size=1, max_size=2).map(tuple)),
)
COUNTS = st.integers(1, 10**6)
ENDS = st.builds(
    Chunk,
    done=st.builds(
        Done,
        reason=st.sampled_from(["stop", "length"]),
        usage=st.builds(Usage, prompt_tokens=COUNTS, completion_tokens=COUNTS),
        context=st.lists(st.integers(0, 10**5), max_size=3).map(tuple),
        stop_string=st.sampled_from(["", "END", "é\u2028"]),
    ),
)
ANSWERS = st.builds(lambda pieces, end: [*pieces, end], st.lists(PIECES, max_size=6), ENDS)


@dataclass
class Said:
    """What a client understood. None: its dialect has no word for it."""

    text: str = ""
    thinking: str | None = ""
    calls: list[tuple[str, str, Any]] | None = field(default_factory=list)
    logprobs: list[Any] | None = field(default_factory=list)
    reason: str = ""
    counts: tuple[int, int] = (0, 0)


class Stamps:
    """Of one copy."""

    created_at, created, completed, id, total_ns = "2026-01-01T00:00:00Z", 1, 2, "a" * 24, 7


def expected(reply: Reply) -> Said:
    usage = reply.done.usage
    return Said(
        reply.text,
        reply.thinking,
        [(call.id, call.name, call.arguments) for call in reply.tool_calls],
        [logprob(one) for one in reply.logprobs],
        reply.done.reason,
        (usage.prompt_tokens, usage.completion_tokens),
    )


def logprob(one: TokenLogprob) -> Any:
    value: dict[str, Any] = {"token": one.token, "logprob": one.logprob, "bytes": list(one.bytes)}
    return value | ({"top_logprobs": [logprob(other) for other in one.top]} if one.top else {})


def objects(data: bytes) -> list[Any]:
    """NDJSON, read as the strictest client does: every line is an object, and many characters end a line."""
    return [json.loads(line) for line in data.decode().splitlines()]


def events(data: bytes) -> list[tuple[str, str]]:
    """Server-sent events, kind and data of each. Many clients know more ends of a line than the standard does."""
    found, kind, lines = [], "message", []
    for line in data.decode().splitlines():
        name, _, value = line.partition(": ")
        if not line:
            found.append((kind, "\n".join(lines)))
            kind, lines = "message", []
        elif name == "event":
            kind = value
        else:
            assert name == "data"
            lines.append(value)
    assert not lines, "it ends with a whole event"
    return found


def ollama_said(values: Sequence[Any]) -> Said:
    said = Said()
    for place, value in enumerate(values):
        assert "error" not in value
        assert value["done"] is (place == len(values) - 1)
        message = value.get("message") or {"content": value.get("response"), "thinking": value.get("thinking", "")}
        said.text += message["content"]
        said.thinking += message.get("thinking", "")
        assert said.calls is not None
        assert said.logprobs is not None
        for call in message.get("tool_calls", ()):
            assert call["function"]["index"] == len(said.calls)
            said.calls.append((call["id"], call["function"]["name"], call["function"]["arguments"]))
        said.logprobs += value.get("logprobs", ())
    said.reason = values[-1]["done_reason"]
    said.counts = values[-1]["prompt_eval_count"], values[-1]["eval_count"]
    return said


def generate_said(values: Sequence[Any]) -> Said:
    said = ollama_said(values)
    said.calls = None
    return said


def openai_said(values: Sequence[Any]) -> Said:
    said = Said()
    assert said.calls is not None
    assert said.logprobs is not None
    for value in values:
        assert "error" not in value
        for choice in value["choices"]:
            message = choice.get("message") or choice["delta"]
            said.text += message.get("content", "")
            said.thinking += message.get("reasoning", "")
            said.calls += [
                (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
                for call in message.get("tool_calls", ())
            ]
            said.logprobs += (choice.get("logprobs") or {}).get("content", ())
            said.reason = choice["finish_reason"] or said.reason
    if said.reason == "tool_calls":
        assert said.calls
        said.reason = "stop"
    usage = values[-1]["usage"]
    said.counts = usage["prompt_tokens"], usage["completion_tokens"]
    return said


def completion_said(values: Sequence[Any]) -> Said:
    said = Said(thinking=None, calls=None)
    assert said.logprobs is not None
    for value in values:
        for choice in value["choices"]:
            said.text += choice["text"]
            said.logprobs += choice["logprobs"]["content"]
            said.reason = choice["finish_reason"] or said.reason
    usage = values[-1]["usage"]
    said.counts = usage["prompt_tokens"], usage["completion_tokens"]
    return said


def response_said(response: dict[str, Any]) -> Said:
    said = Said()
    assert said.calls is not None
    assert said.logprobs is not None
    assert said.thinking is not None
    for item in response["output"]:
        match item["type"]:
            case "reasoning":
                said.thinking += "".join(part["text"] for part in item["summary"])
            case "message":
                for part in item["content"]:
                    said.text += part["text"]
                    said.logprobs += part["logprobs"]
            case "function_call":
                said.calls.append((item["call_id"], item["name"], json.loads(item["arguments"])))
    for one in said.logprobs:
        if not one["top_logprobs"]:
            del one["top_logprobs"]
    details = response["incomplete_details"]
    said.reason = {"max_output_tokens": "length"}[details["reason"]] if details else "stop"
    said.counts = response["usage"]["input_tokens"], response["usage"]["output_tokens"]
    return said


def response_put_together(stream: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """As OpenAI's clients do it: from the deltas, which the items and the last event must agree with."""
    items: list[Any] = []
    for number, (kind, data) in enumerate(stream):
        value = json.loads(data)
        assert (value["type"], value["sequence_number"]) == (kind, number)
        match kind.removeprefix("response."):
            case "output_item.added":
                assert value["output_index"] == len(items)
                items.append("")
            case "output_text.delta" | "reasoning_summary_text.delta" | "function_call_arguments.delta":
                items[value["output_index"]] += value["delta"]
            case "output_text.done" | "reasoning_summary_text.done":
                assert value["text"] == items[value["output_index"]]
            case "function_call_arguments.done":
                assert value["arguments"] == items[value["output_index"]]
            case "output_item.done":
                items[value["output_index"]] = value["item"]
    assert kind == "response.completed"
    response: dict[str, Any] = value["response"]
    assert response["output"] == items
    return response


REASONS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length"}


def anthropic_said(message: dict[str, Any]) -> Said:
    said = Said(logprobs=None)
    assert said.calls is not None
    for block in message["content"]:
        match block["type"]:
            case "text":
                said.text += block["text"]
            case "thinking":
                said.thinking += block["thinking"]
            case "tool_use":
                said.calls.append((block["id"], block["name"], block["input"]))
    said.reason = "" if message["stop_reason"] == "tool_use" else REASONS[message["stop_reason"]]
    assert (message["stop_reason"] == "stop_sequence") == bool(message["stop_sequence"])
    said.counts = message["usage"]["input_tokens"], message["usage"]["output_tokens"]
    return said


def anthropic_put_together(stream: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """As Anthropic's clients do it."""
    message: dict[str, Any] = {}
    texts: list[str] = []
    for kind, data in stream:
        value = json.loads(data)
        assert value["type"] == kind
        match kind:
            case "message_start":
                message = value["message"]
            case "content_block_start":
                assert value["index"] == len(message["content"])
                message["content"].append(value["content_block"])
                texts = []
            case "content_block_delta":
                block, delta = message["content"][value["index"]], value["delta"]
                if delta["type"] == "input_json_delta":
                    texts.append(delta["partial_json"])
                else:
                    block[block["type"]] += delta[block["type"]]
            case "content_block_stop":
                if texts:
                    message["content"][value["index"]]["input"] = json.loads("".join(texts))
            case "message_delta":
                message |= value["delta"]
                message["usage"] = value["usage"]
            case "message_stop":
                assert (kind, data) == stream[-1]
    return message


@dataclass(frozen=True)
class Dialect:
    """How one endpoint writes, and how its clients read that."""

    form: Callable[[Any], Form]
    of_stream: Callable[[bytes], Said]
    of_whole: Callable[[Any], Said]
    last: bytes = b""


def openai_values(data: bytes) -> list[Any]:
    *values, last = [data for kind, data in events(data) if kind == "message"]
    assert last == "[DONE]"
    return [json.loads(value) for value in values]


ASKED = ChatRequest(model="m", logprobs=True)
DIALECTS = {
    "/api/chat": Dialect(
        lambda stamps: ollama.ChatForm(stamps, "m"),
        lambda data: ollama_said(objects(data)),
        lambda value: ollama_said([value]),
    ),
    "/api/generate": Dialect(
        lambda stamps: ollama.GenerateForm(stamps, "m", is_raw=False),
        lambda data: generate_said(objects(data)),
        lambda value: generate_said([value]),
    ),
    "/v1/chat/completions": Dialect(
        lambda stamps: openai.CompletionForm(stamps, ASKED, wants_usage=True),
        lambda data: openai_said(openai_values(data)),
        lambda value: openai_said([value]),
        openai.WIRE.last,
    ),
    "/v1/completions": Dialect(
        lambda stamps: completions.TextForm(stamps, ASKED, wants_usage=True),
        lambda data: completion_said(openai_values(data)),
        lambda value: completion_said([value]),
        openai.WIRE.last,
    ),
    "/v1/responses": Dialect(
        lambda stamps: responses.ResponseForm(stamps, {"model": "m"}, {}),
        lambda data: response_said(response_put_together(events(data))),
        response_said,
    ),
    "/v1/messages": Dialect(
        lambda stamps: anthropic.MessageForm(stamps, "m", 3),
        lambda data: anthropic_said(anthropic_put_together(events(data))),
        anthropic_said,
    ),
}


def agree(said: Said, right: Said) -> None:
    """Everything the dialect has a word for was said as it was."""
    for name, value in vars(said).items():
        if value is not None and not (name == "reason" and value == ""):
            assert value == getattr(right, name), name


def put_together(chunks: Sequence[Chunk]) -> Reply:
    builder = ReplyBuilder("m")
    for chunk in chunks:
        builder.add(chunk)
    reply = builder.reply()
    assert reply
    return reply


def streamed(dialect: Dialect, chunks: Sequence[Chunk], stamps: Any) -> bytes:
    form = dialect.form(stamps)
    return b"".join([frame for chunk in chunks for frame in form.of_chunk(chunk)]) + dialect.last


@pytest.mark.parametrize("path", DIALECTS)
@given(chunks=ANSWERS)
def test_streamed_or_whole_live_or_replayed_it_says_the_same(path: str, chunks: list[Chunk]) -> None:
    dialect = DIALECTS[path]
    reply = put_together(chunks)
    right = expected(reply)
    agree(dialect.of_stream(streamed(dialect, chunks, Stamps)), right)
    agree(dialect.of_whole(json.loads(to_json(dialect.form(Stamps).of_reply(reply)))), right)

    key = CacheKey("0" * 64, 1, "", "m")
    kept = decode(key, encode(Entry(key, reply, 0.0, 1.0))).reply
    assert kept == reply
    again = Template(streamed(dialect, kept.chunks(), HOLES)).fill(10**18, 5)
    agree(dialect.of_stream(again), right)
    again = Template(to_json(dialect.form(HOLES).of_reply(kept))).fill(10**18, 5)
    agree(dialect.of_whole(json.loads(again)), right)
