"""What the processes say to each other."""

import asyncio
import socket
import struct

import pytest

from orchestrator.core.errors import BadRequest, Busy, EngineCrashed, EngineError, OrchestratorError
from orchestrator.core.types import ChatRequest, Chunk, Done, Message, TokenLogprob, ToolCall, Usage
from orchestrator.modelhost import wire

REQUEST = ChatRequest(
    model="tiny",
    messages=(
        Message(role="user", content="é", images=("aGk=",)),
        Message(role="assistant", tool_calls=(ToolCall(id="1", name="f", arguments={"a": [1, None]}),)),
    ),
    context=(1, 2),
    tools=({"type": "function"},),
    format={"type": "object"},
    options={"stop": ["x"], "temperature": 0.5},
    keep_alive_s=-1.0,
)


def test_a_request_arrives_as_it_was_sent():
    assert wire.from_frame(wire.to_frame(REQUEST)) == REQUEST


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x80", b"\x91" * 100_000, wire.to_frame(REQUEST)[:-3]])
def test_what_is_not_a_request_is_refused(data: bytes):
    with pytest.raises(BadRequest, match="not a request"):
        wire.from_frame(data)


@pytest.mark.parametrize(
    "chunk",
    [
        Chunk(text="hé\n"),
        Chunk(thinking="hm"),
        Chunk(tool_calls=(ToolCall(id="1", name="f", arguments={"error": 1}),)),
        Chunk(
            text="a",
            logprobs=(TokenLogprob(token="a", logprob=-0.5, bytes=(97,), top=(TokenLogprob(token="b", logprob=-1),)),),
        ),
        Chunk(done=Done(reason="length", usage=Usage(prompt_tokens=3), context=(1, 2))),
        Chunk(done=Done(reason="stop", stop_string="é\nEND")),
    ],
)
def test_a_chunk_arrives_as_it_was_sent(chunk: Chunk):
    line = wire.to_line(chunk)
    assert b"\n" not in line
    assert wire.from_line(line) == chunk


@pytest.mark.parametrize(
    "error", [BadRequest("no"), Busy("later", retry_after_s=2.5), EngineCrashed("gone"), OrchestratorError("odd")]
)
def test_an_error_arrives_as_it_was_sent(error: OrchestratorError):
    with pytest.raises(type(error), match=str(error)) as caught:
        wire.from_line(wire.to_error(error))
    assert type(caught.value) is type(error)
    assert caught.value.retry_after_s == error.retry_after_s


def test_a_preview_arrives_as_it_was_sent():
    preview = wire.Preview("a\né", 3)
    assert wire.preview_from_line(wire.preview_to_line(preview)) == preview
    assert wire.preview_from_line(b"null") is None


def test_an_error_of_an_unknown_kind_is_the_engines():
    assert type(wire.error_of("news", "x")) is EngineError


def test_the_host_and_a_child_understand_each_other():
    ask = wire.Ask(7, REQUEST, {"top_k": 3}, "", ({"role": "user", "content": "hi"},), 5, is_preview=True)
    here, there = socket.socketpair()
    with here, there:
        for message in (wire.Load("w", 4096, 4, 0, 0.0, "{{ .Prompt }}"), ask, wire.Cancel(7)):
            here.sendall(wire.frame(message))
            assert wire.to_child(there) == message
        here.close()
        with pytest.raises(EOFError):
            wire.to_child(there)


async def test_a_frame_that_claims_too_much_is_not_read():
    reader = asyncio.StreamReader()
    reader.feed_data(struct.pack(">I", 2**32 - 1))
    with pytest.raises(ValueError, match="sent a message of"):
        await wire.from_child(reader)


async def test_what_is_not_a_message_is_an_error():
    reader = asyncio.StreamReader()
    reader.feed_data(struct.pack(">I", 3) + b"\xc1\xc1\xc1")
    with pytest.raises(ValueError, match="MessagePack"):
        await wire.from_child(reader)


def test_a_part_of_an_answer_that_is_too_long_becomes_its_end(monkeypatch: pytest.MonkeyPatch):
    part, pulse = wire.Piece(7, b"x" * 200), wire.Pulse(1.0, 1, 0)
    assert wire.child_frame(part) == wire.frame(part)
    monkeypatch.setattr(wire, "LARGEST_FRAME", 120)
    refused = wire.Refused(7, "engine_error", "a message of 232 bytes is longer than 120")
    assert wire.child_frame(part)[4:] == wire._encode(refused)
    monkeypatch.setattr(wire, "LARGEST_FRAME", 8)
    with pytest.raises(ValueError, match="longer than 8"):
        wire.child_frame(pulse)
