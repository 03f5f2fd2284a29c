"""Whatever a provider sends, however it is cut: an answer that can be written, or an error; never a part as all."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from contextlib import aclosing
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.replies import to_json
from orchestrator.core.clock import Clock
from orchestrator.core.errors import EngineError, OrchestratorError
from orchestrator.core.presets import OPENAI
from orchestrator.core.types import ChatRequest, Chunk, Message, Model, Reply, ReplyBuilder, Usage
from orchestrator.engines.cloud import CloudEngine
from orchestrator.engines.wires import openai_vectors, vectors
from orchestrator.engines.wires.openai import OpenAI
from tests.api.test_round_trip import DIALECTS
from tests.api.test_shapes import form, kind_of_stream, streamed
from tests.engines.deadlines import DEADLINES
from tests.engines.test_lines import Pieces
from tests.shapes import faults

MODEL = Model(name="openai/m", digest="", engine="openai", remote_name="m")
QUESTION = ChatRequest(model="openai/m", messages=(Message(role="user", content="hi"),))
WORDS = ("choices", "delta", "content", "reasoning", "reasoning_content", "tool_calls", "finish_reason", "usage")
INNER = (
    "index",
    "id",
    "function",
    "name",
    "arguments",
    "logprobs",
    "token",
    "logprob",
    "bytes",
    "top_logprobs",
    "error",
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["stop", "length", "nan", "inf", "-1", "9" * 30, "{}", "[]", '{"a": 1}', "\u2028", "[DONE]"])
)
NAMES = st.sampled_from([*WORDS, *INNER, "prompt_tokens", "completion_tokens"]) | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
TOKENS = st.fixed_dictionaries(
    {"token": SCALARS, "logprob": SCALARS}, optional={"bytes": VALUES, "top_logprobs": VALUES}
)
CALLS = st.fixed_dictionaries({}, optional={"index": SCALARS, "id": SCALARS, "function": VALUES})
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "delta": VALUES
        | st.fixed_dictionaries(
            {},
            optional={
                "content": SCALARS,
                "reasoning": SCALARS,
                "tool_calls": st.lists(CALLS, max_size=2) | VALUES,
            },
        ),
        "finish_reason": SCALARS,
        "logprobs": st.fixed_dictionaries({"content": st.lists(TOKENS, max_size=2)}) | VALUES,
    },
)
EVENTS = VALUES | st.fixed_dictionaries(
    {"choices": st.lists(CHOICES, max_size=2)},
    optional={"usage": st.dictionaries(NAMES, SCALARS, max_size=3) | VALUES, "error": VALUES},
)
LINES = (
    EVENTS.map(lambda value: b"data: " + json.dumps(value).encode())
    | EVENTS.map(lambda value: b"data:" + json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    | st.binary(max_size=30)
    | st.binary(max_size=30).map(lambda data: b"data: " + data)
    | st.sampled_from([b"", b": comment", b"data: [DONE]", b"data:", b"event: error", b"\r", b"data: {}"])
)
CUTS = st.lists(st.integers(0, 3000), max_size=6)


class Handing:
    """A connection on which one body comes, in pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def send(self, method: str, path: str, content: bytes | None = None) -> httpx.Response:
        return httpx.Response(200, stream=Pieces(self._pieces))

    def shown(self, words: str) -> str:
        return words


def cut(body: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(place, len(body)) for place in cuts), len(body)]
    return [body[a:b] for a, b in pairwise(places)]


async def heard(pieces: list[bytes]) -> tuple[list[Chunk], Reply | OrchestratorError]:
    """The pieces that were passed on, and how it ended."""
    engine = CloudEngine("openai", Handing(pieces), DEADLINES, Clock(), 10**6, OpenAI(), OPENAI)  # type: ignore[arg-type]  # it sends
    found: list[Chunk] = []
    builder = ReplyBuilder("m")
    try:
        async with aclosing(engine.chat(QUESTION, MODEL)) as chunks:
            async for chunk in chunks:
                found.append(chunk)
                builder.add(chunk)
    except OrchestratorError as error:
        assert builder.reply() is None, "what failed was not called whole before"
        return found, error
    reply = builder.reply()
    assert reply is not None, "an answer that ends without an error is whole"
    return found, reply


@given(st.lists(LINES, max_size=8), CUTS, st.sampled_from([b"\n", b"\r\n", b"\n\n"]))
async def test_it_is_an_answer_that_every_dialect_can_write_or_an_error(
    lines: list[bytes], cuts: list[int], end: bytes
) -> None:
    body = end.join(lines)
    chunks, ended = await heard(cut(body, cuts))
    again, ended_again = await heard([body])
    assert "".join(chunk.text for chunk in chunks) == "".join(chunk.text for chunk in again)
    assert type(ended) is type(ended_again)
    if isinstance(ended, OrchestratorError):
        assert isinstance(ended, EngineError)
        assert str(ended) == str(ended_again)
        chunks = chunks if chunks and not chunks[-1].done else []
    for path in DIALECTS:
        if isinstance(ended, Reply):
            whole = to_json(form(path).of_reply(ended))
            assert faults("POST", path, 200, "application/json", whole) == []
            assert faults("POST", path, 200, kind_of_stream(path), streamed(path, chunks)) == []
        elif chunks:
            frames = streamed(path, chunks).removesuffix(b"data: [DONE]\n\n")
            assert not frames or faults("POST", path, 200, kind_of_stream(path), frames) == []


PIECES = st.lists(st.text(min_size=1, max_size=10), min_size=1, max_size=4)


@given(PIECES, st.data())
async def test_what_is_cut_off_is_never_called_whole(pieces: list[str], data: st.DataObject) -> None:
    events = [{"choices": [{"delta": {"content": piece}, "finish_reason": None}]} for piece in pieces]
    call = {"index": 0, "id": "call_1", "function": {"name": "look", "arguments": '{"at": "it"}'}}
    events.append({"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": None}]})
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    before = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    body = before + b"data: %b\n\ndata: [DONE]\n\n" % json.dumps(end).encode()
    place = data.draw(st.integers(0, len(body)))
    _, ended = await heard(cut(body[:place], data.draw(CUTS)))
    is_said = len(before) + len(b"data: ") + len(json.dumps(end))  # from here on the provider has told the end
    if place < is_said:
        assert isinstance(ended, EngineError)
    elif isinstance(ended, Reply):
        assert ended.text == "".join(pieces)
        assert [(one.name, one.arguments) for one in ended.tool_calls] == [("look", {"at": "it"})]
    else:
        assert body[:place].rpartition(b"\n")[2].startswith(b"data:"), "a torn mark of the end"


def event(**choice: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {}, **choice}]}).encode() + b"\n\n"


STOP = event(finish_reason="stop")
DEEP = '{"a":' * 300 + "1" + "}" * 300
TOKEN = {"token": "a", "logprob": -1.0}


@pytest.mark.parametrize(
    "odd",
    [
        event(logprobs={"content": [TOKEN | {"logprob": "nan"}]}),
        event(logprobs={"content": [TOKEN | {"logprob": "-inf"}]}),
        event(logprobs={"content": [TOKEN | {"bytes": ["9" * 30]}]}),
        event(logprobs={"content": [TOKEN | {"bytes": [1e30]}]}),
        event(delta={"tool_calls": [{"function": {"name": "look", "arguments": DEEP}}]}),
        event(delta={"tool_calls": [{"function": {"name": "look", "arguments": '"\\ud800"'}}]}),
        event(delta={"content": "\ud83d"}),
        event(logprobs={"content": 5}),
        event(delta={"tool_calls": 5}),
    ],
)
async def test_what_cannot_be_written_is_an_error_of_the_provider(odd: bytes) -> None:
    _, ended = await heard([odd, STOP])
    assert isinstance(ended, EngineError)


async def test_a_count_that_is_no_number_is_none() -> None:
    _, ended = await heard([event(delta={"content": "a"}), STOP, b'data: {"usage": {"prompt_tokens": true}}\n\n'])
    assert isinstance(ended, Reply)
    assert ended.done.usage.prompt_tokens is not True
    assert faults("POST", "/api/chat", 200, "application/json", to_json(form("/api/chat").of_reply(ended))) == []


VECTORS = st.binary(max_size=12).map(lambda data: b64encode(data).decode()) | VALUES
LISTS = st.fixed_dictionaries(
    {"data": st.lists(st.fixed_dictionaries({"index": SCALARS, "embedding": VECTORS}), max_size=3)},
    optional={"usage": VALUES},
)


def _chunk(body: bytes, count: int) -> Chunk:
    found = openai_vectors.read(body)
    return vectors.to_chunk(found.vectors, count, Usage(prompt_tokens=found.tokens, prompt_ns=1))


@given(
    (LISTS | VALUES).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40),
    st.integers(1, 3),
)
def test_a_list_of_vectors_is_whole_or_an_error(body: bytes, count: int) -> None:
    try:
        chunk = _chunk(body, count)
    except EngineError:
        return
    assert len(chunk.vectors) == count
    for vector in chunk.vectors:
        numbers = struct.unpack(f"<{len(vector) // 4}f", vector)
        assert numbers
        assert all(abs(number) < float("inf") for number in numbers), "JSON has no word for it"
    assert chunk.done
    assert type(chunk.done.usage.prompt_tokens) is int


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_a_vector_that_json_cannot_hold_is_an_error(odd: float) -> None:
    vector = b64encode(struct.pack("<2f", 1.0, odd)).decode()
    with pytest.raises(EngineError):
        _chunk(json.dumps({"data": [{"index": 0, "embedding": vector}]}).encode(), 1)
