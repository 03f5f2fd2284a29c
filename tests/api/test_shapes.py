"""The file says what answers look like: whatever an engine says, and to the last field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given

from orchestrator.api import anthropic, ollama, openai
from orchestrator.api.replies import to_json
from orchestrator.api.responses import ResponseForm
from orchestrator.api.responses_schemas import ResponsesBody, echo
from orchestrator.core.errors import EngineCrashed, OrchestratorError, RateLimited
from orchestrator.core.types import Chunk, Done, TokenLogprob, ToolCall, Usage
from tests.api.test_round_trip import ANSWERS, DIALECTS, Stamps, put_together
from tests.shapes import DOCUMENT, faults, misfits

AGAIN = {"model": "m", **echo(ResponsesBody(model="m", tools=[{"type": "function", "name": "a"}], temperature=0.5))}
LOGPROB = TokenLogprob(token="a", logprob=-1.0, bytes=(97,), top=(TokenLogprob(token="b", logprob=-2.0),))
EVERYTHING = [
    Chunk(thinking="Hm."),
    Chunk(text="a", logprobs=(LOGPROB,)),
    Chunk(tool_calls=(ToolCall(id="call_1", name="look", arguments={"at": {"x": [1]}}),)),
    Chunk(done=Done(reason="length", usage=Usage(prompt_tokens=1, completion_tokens=2), context=(1, 2))),
]


def form(path: str) -> Any:
    return ResponseForm(Stamps, AGAIN, {}) if path == "/v1/responses" else DIALECTS[path].form(Stamps)  # type: ignore[arg-type]  # values


def streamed(path: str, chunks: list[Chunk]) -> bytes:
    writer = form(path)
    return b"".join([frame for chunk in chunks for frame in writer.of_chunk(chunk)]) + DIALECTS[path].last


def kind_of_stream(path: str) -> str:
    return "application/x-ndjson" if path.startswith("/api/") else "text/event-stream"


@pytest.mark.parametrize("path", DIALECTS)
@given(chunks=ANSWERS)
def test_whatever_an_engine_says_is_sent_in_the_shape_the_file_has(path: str, chunks: list[Chunk]) -> None:
    whole = to_json(form(path).of_reply(put_together(chunks)))
    assert faults("POST", path, 200, "application/json", whole) == []
    assert faults("POST", path, 200, kind_of_stream(path), streamed(path, chunks)) == []


@pytest.mark.parametrize("error", [OrchestratorError("no"), RateLimited("slower"), EngineCrashed()])
@pytest.mark.parametrize("path", DIALECTS)
def test_what_breaks_off_ends_in_the_shape_the_file_has(path: str, error: OrchestratorError) -> None:
    ends = {
        "/api/chat": ollama.error_line,
        "/api/generate": ollama.error_line,
        "/v1/chat/completions": openai.error_event,
        "/v1/completions": openai.error_event,
        "/v1/messages": lambda error: anthropic.error_event("req_1", error),
    }
    writer = form(path)
    begun = b"".join(writer.of_chunk(Chunk(text="a")))
    end = writer.failed(error) if path == "/v1/responses" else ends[path](error)
    assert faults("POST", path, 200, kind_of_stream(path), begun + end) == []


def spoilt(value: Any) -> Iterator[Any]:
    """`value` with one object that has a field too many, or one too few; each object in turn.

    Not in what is free to hold anything: arguments, and what of the question is said again.
    """
    if isinstance(value, dict):
        yield value | {"odd": 1}
        for name in value.keys() & {"model", "type", "object", "token", "index"}:
            yield {other: one for other, one in value.items() if other != name}
        for name, inner in value.items():
            if name not in {"arguments", "input", "tools", "text", "metadata", "top_logprobs"}:
                yield from (value | {name: bad} for bad in spoilt(inner))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from ([*value[:place], bad, *value[place + 1 :]] for bad in spoilt(inner))


@pytest.mark.parametrize("path", DIALECTS)
def test_a_field_too_many_or_too_few_is_seen(path: str) -> None:
    whole = orjson.loads(to_json(form(path).of_reply(put_together(EVERYTHING))))
    cases = list(spoilt(whole))
    assert len(cases) >= 4
    for bad in cases:
        assert faults("POST", path, 200, "application/json", json.dumps(bad).encode()), bad
    kind = kind_of_stream(path)
    item = DOCUMENT["paths"][path]["post"]["responses"]["200"]["content"][kind]["x-itemSchema"]
    frames = streamed(path, EVERYTHING).decode().split("\n")
    for frame in frames:
        data = frame.removeprefix("data: ")
        if data.startswith("{"):
            assert misfits(item, json.loads(data)) == []
            for bad in spoilt(json.loads(data)):
                assert misfits(item, bad), bad


def test_what_is_no_stream_is_seen() -> None:
    assert faults("POST", "/api/chat", 200, "application/x-ndjson", b"")
    assert faults("POST", "/api/chat", 200, "application/x-ndjson", b"{}\n{")
    assert faults("POST", "/v1/completions", 200, "text/event-stream", b"id: 1\ndata: {}\n\n")
    assert faults("POST", "/v1/completions", 200, "text/plain", b"{}")
    assert faults("POST", "/v1/completions", 400, "application/json", b'{"error": "no"}')
    assert faults("HEAD", "/api/tags", 200, "application/json", b"{}")
    assert not faults("GET", "/healthz", 200, "application/json", b'{"status": "ok"}')
