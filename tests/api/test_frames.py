"""Nothing that is said tears a frame or adds one, whoever reads: strictly, or as the official clients do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import anthropic as anthropic_client
import httpx
import openai as openai_client
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api import anthropic, ollama, openai
from orchestrator.api.anthropic import MessageForm
from orchestrator.api.completions import TextForm
from orchestrator.api.openai import CompletionForm
from orchestrator.api.replies import Form, to_json
from orchestrator.api.responses import ResponseForm
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.types import ChatRequest, Chunk, Done, ToolCall, Usage
from tests.api.test_round_trip import DIALECTS, Stamps, agree, events, expected, put_together
from tests.engines.test_any_stream import CUTS, cut

ENDS_OF_LINES = ("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")
LIES = (
    *("data: [DONE]\n\n", "data: {}\n\n", "event: error\ndata: {}\n\n", "id: 1\n", "retry: 1\n", ": ", "\n\n"),
    *('"}\n{"done": true}\n', '{"error": "no"}', "[DONE]", "\0", "\ufeff", "\ud83d", "\ude00", "\\ud800", "\\u000a"),
)
TEXTS = st.lists(st.sampled_from([*ENDS_OF_LINES, *LIES]) | st.text(st.characters(), max_size=5), max_size=5).map(
    "".join
)
VALUES = st.recursive(
    TEXTS | st.none() | st.integers(-(2**53), 2**53), lambda inner: st.dictionaries(TEXTS, inner, max_size=2)
)
CALLS = st.builds(ToolCall, id=TEXTS, name=TEXTS, arguments=st.dictionaries(TEXTS, VALUES, max_size=2))
CHUNKS = st.lists(
    TEXTS.filter(bool).map(lambda text: Chunk(text=text))
    | TEXTS.filter(bool).map(lambda text: Chunk(thinking=text))
    | CALLS.map(lambda call: Chunk(tool_calls=(call,))),
    max_size=4,
)
END = Chunk(done=Done(reason="stop", usage=Usage(prompt_tokens=1, completion_tokens=2)))


def form(path: str, model: str) -> Form:
    asked = ChatRequest(model=model)
    made: dict[str, Any] = {
        "/api/chat": lambda: ollama.ChatForm(Stamps, model),  # type: ignore[arg-type]  # values
        "/api/generate": lambda: ollama.GenerateForm(Stamps, model, is_raw=False),  # type: ignore[arg-type]
        "/v1/chat/completions": lambda: CompletionForm(Stamps, asked, wants_usage=True),  # type: ignore[arg-type]
        "/v1/completions": lambda: TextForm(Stamps, ChatRequest(model=model, logprobs=True), wants_usage=True),  # type: ignore[arg-type]
        "/v1/responses": lambda: ResponseForm(Stamps, {"model": model}, {}),  # type: ignore[arg-type]
        "/v1/messages": lambda: MessageForm(Stamps, model, 1),  # type: ignore[arg-type]
    }
    writer: Form = made[path]()
    return writer


def failure(path: str, writer: Any, error: OrchestratorError) -> bytes:
    if path == "/v1/responses":
        return bytes(writer.failed(error))
    if path == "/v1/messages":
        return anthropic.error_event("req_1", error)
    return ollama.error_line(error) if path.startswith("/api/") else openai.error_event(error)


def as_sent(text: str) -> str:
    """What of a text UTF-8 can hold."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def sendable(value: Any) -> Any:
    if isinstance(value, str):
        return as_sent(value)
    return {as_sent(name): sendable(one) for name, one in value.items()} if isinstance(value, dict) else value


def as_sent_chunk(chunk: Chunk) -> Chunk:
    calls = tuple(
        ToolCall(id=as_sent(call.id), name=as_sent(call.name), arguments=sendable(call.arguments))
        for call in chunk.tool_calls
    )
    return Chunk(text=as_sent(chunk.text), thinking=as_sent(chunk.thinking), tool_calls=calls, done=chunk.done)


def by_clients(path: str, pieces: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """The frames as the client that people use for this dialect takes them from the pieces that arrive."""
    if path.startswith("/api/"):
        # ollama's client reads lines so.
        response = httpx.Response(200, content=iter(pieces))
        yield from (("message", line) for line in response.iter_lines())
        return
    decoder: Any = (
        anthropic_client._streaming.SSEDecoder() if path == "/v1/messages" else openai_client._streaming.SSEDecoder()
    )
    for one in decoder.iter_bytes(iter(pieces)):
        yield one.event or "message", one.data


def strictly(path: str, data: bytes) -> list[tuple[str, str]]:
    """Every line that anybody takes for one is a line of ours."""
    if path.startswith("/api/"):
        return [("message", line) for line in data.decode().splitlines()]
    return events(data)


def frames_of(writer: Form, chunks: list[Chunk]) -> list[bytes]:
    return [frame for chunk in chunks for frame in writer.of_chunk(chunk)]


@pytest.mark.parametrize("path", DIALECTS)
@given(chunks=CHUNKS, model=TEXTS, cuts=CUTS)
def test_an_answer_is_read_as_it_was_said(path: str, chunks: list[Chunk], model: str, cuts: list[int]) -> None:
    dialect = DIALECTS[path]
    whole = [*chunks, END]
    data = b"".join(frames_of(form(path, model), whole)) + dialect.last
    assert list(by_clients(path, cut(data, cuts))) == strictly(path, data)
    agree(dialect.of_stream(data), expected(put_together([as_sent_chunk(chunk) for chunk in whole])))
    reply = put_together(whole)
    value = json.loads(to_json(form(path, model).of_reply(reply)))
    right = expected(reply)
    right.text, right.thinking = as_sent(right.text), as_sent(right.thinking or "")
    right.calls = [(as_sent(one), as_sent(name), sendable(given)) for one, name, given in right.calls or ()]
    agree(dialect.of_whole(value), right)
    assert value["model"] == as_sent(model)


@pytest.mark.parametrize("path", DIALECTS)
def test_however_long_it_is(path: str) -> None:
    text = "".join([*ENDS_OF_LINES, *LIES]) * 5_000
    call = ToolCall(id="a", name=text, arguments={text: text})
    test_an_answer_is_read_as_it_was_said.hypothesis.inner_test(  # type: ignore[attr-defined]  # what it is made of
        path, [Chunk(text=text), Chunk(thinking=text), Chunk(tool_calls=(call,))], text, [10**5, 10**6]
    )


@pytest.mark.parametrize("path", DIALECTS)
@given(text=TEXTS.filter(bool), words=TEXTS.filter(bool), cuts=CUTS)
def test_what_breaks_off_ends_in_one_frame_more(path: str, text: str, words: str, cuts: list[int]) -> None:
    writer = form(path, "m")
    begun = b"".join(frames_of(writer, [Chunk(text=text)]))
    data = begun + failure(path, writer, OrchestratorError(words))
    found = list(by_clients(path, cut(data, cuts)))
    assert found == strictly(path, data)
    assert len(found) == len(strictly(path, begun)) + 1
    value = json.loads(found[-1][1])
    error = value["response"]["error"] if path == "/v1/responses" else value["error"]
    assert (error if isinstance(error, str) else error["message"]) == as_sent(words)
