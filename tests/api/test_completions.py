"""OpenAI's older dialect, where its clients look."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from orchestrator.api.completions import TextForm
from orchestrator.api.frames import event
from orchestrator.core.errors import EngineError
from orchestrator.core.types import ChatRequest, Chunk, Done, Message, TokenLogprob, Usage
from tests.fakes import FakeEngine

HELLO = {"model": "tiny", "prompt": "hello"}
PATH = "/v1/completions"
NASTY = '"}\n\ndata: [DONE]\n\nevent: error\r\n\u0085\u2028\u2029\x00 é🎈'
ZERO = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
USED = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
LOGPROBS = (
    TokenLogprob(token="fo", logprob=-0.5, bytes=(102, 111), top=(TokenLogprob(token="fi", logprob=-2.5, bytes=(1,)),)),
    TokenLogprob(token="ur", logprob=-0.25, bytes=(117, 114)),
)


class Stamps:
    """Of one copy."""

    created_at, created, completed, id, total_ns = "2026-01-01T00:00:00Z", 1, 1, "a" * 24, 7


def events(response: httpx.Response) -> list[Any]:
    """The events, each on one line whatever a reader takes for the end of one."""
    assert response.headers["Content-Type"] == "text/event-stream"
    lines = response.text.splitlines()  # parts at U+2028 and its like, too
    assert set(lines[1::2]) == {""}
    data = [line.removeprefix("data: ") for line in lines[::2]]
    return [one if one == "[DONE]" else json.loads(one) for one in data]


def scripted(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, *chunks: Chunk) -> None:
    async def chat(request: ChatRequest, _: object) -> AsyncIterator[Chunk]:
        engine.calls += 1
        engine.asked.append(request)
        for chunk in chunks:
            yield chunk

    monkeypatch.setattr(engine, "chat", chat)


END = Chunk(done=Done(reason="stop", usage=Usage(prompt_tokens=7, completion_tokens=2)))


async def test_a_whole_answer(client: httpx.AsyncClient) -> None:
    response = await client.post(PATH, json=HELLO)
    assert response.headers["Content-Type"] == "application/json"
    value = response.json()
    assert list(value) == ["id", "object", "created", "model", "system_fingerprint", "choices", "usage"]
    assert (value["object"], value["model"]) == ("text_completion", "tiny")
    assert value["id"].startswith("cmpl-")
    assert value["choices"] == [{"index": 0, "text": "four", "finish_reason": "stop"}]
    assert value["usage"] == USED


async def test_the_reason_rides_on_the_last_text_of_a_stream(client: httpx.AsyncClient) -> None:
    *chunks, done = events(await client.post(PATH, json=HELLO | {"stream": True}))
    assert done == "[DONE]"
    assert [(chunk["choices"][0]["text"], chunk["choices"][0]["finish_reason"]) for chunk in chunks] == [
        ("fo", None),
        ("ur", None),
        ("", "stop"),
    ]
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert not any("usage" in chunk for chunk in chunks)


async def test_usage_is_zero_until_it_is_known_when_asked_for(client: httpx.AsyncClient) -> None:
    body = HELLO | {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last, _ = events(await client.post(PATH, json=body))
    assert [chunk["usage"] for chunk in chunks] == [ZERO] * 3
    assert (last["choices"], last["usage"]) == ([], USED)


async def test_an_answer_that_is_cut_says_so(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.reason = "length"
    value = (await client.post(PATH, json=HELLO | {"max_tokens": 2})).json()
    assert value["choices"][0]["finish_reason"] == "length"


async def test_what_breaks_off_ends_with_an_error_and_without_done(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    engine.error = EngineError("gone")
    *_, last = events(await client.post(PATH, json=HELLO | {"stream": True}))
    assert last == {"error": {"message": "gone", "type": "api_error", "param": None, "code": None}}


async def test_every_field_reaches_the_engine_in_our_words(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    body = {
        "model": "tiny",
        "prompt": ["hello"],
        "suffix": "",
        "max_tokens": 5,
        "stop": "END",
        "seed": 3,
        "temperature": 0.5,
        "top_p": 0.25,
        "frequency_penalty": 1,
        "presence_penalty": -1,
        "logprobs": 2,
        "user": "ignored",
    }
    response = await client.post(PATH, json=body)
    assert response.status_code == 200, response.text
    (asked,) = engine.asked
    assert asked.messages == (Message(role="user", content="hello"),)
    assert asked.options == {
        "num_predict": 5,
        "stop": ["END"],
        "seed": 3,
        "temperature": 0.5,
        "top_p": 0.25,
        "frequency_penalty": 1.0,
        "presence_penalty": -1.0,
    }
    assert (asked.logprobs, asked.top_logprobs, asked.dialect) == (True, 2, "openai")


async def test_the_same_question_to_generate_is_the_same_entry(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    """With everything that both can say."""
    options = {"temperature": 0.5, "seed": 3, "stop": ["END"], "top_p": 0.5, "num_predict": 9}
    ours = HELLO | {"temperature": 0.5, "seed": 3, "stop": "END", "top_p": 0.5, "max_tokens": 9}
    theirs = {"model": "tiny", "prompt": "hello", "stream": False, "options": options}
    for plain, other in ((HELLO, HELLO | {"stream": False}), (ours, theirs)):
        first = await client.post(PATH, json=plain)
        assert "fwd=miss" in first.headers["Cache-Status"]
        again = await client.post("/api/generate", json=other)
        assert again.headers["Cache-Status"] == "orchestrator; hit; detail=memory"
        assert again.json()["response"] == first.json()["choices"][0]["text"]
    assert engine.calls == 2


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_kept_by_another_dialect_is_told_again(
    client: httpx.AsyncClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """And its thinking, for which there is no word here, is not taken for the answer."""
    done = Done(reason="length", usage=Usage(prompt_tokens=7, completion_tokens=2))
    chunks = (Chunk(thinking="Hm"), Chunk(text="four", logprobs=LOGPROBS), Chunk(done=done))
    scripted(engine, monkeypatch, *chunks)
    said = [{"role": "user", "content": "hello"}]
    chat = {"model": "tiny", "messages": said, "logprobs": True, "top_logprobs": 1, "max_tokens": 2}
    await client.post("/v1/chat/completions", json=chat)
    body = HELLO | {"logprobs": 1, "max_tokens": 2, "stream": stream, "stream_options": {"include_usage": True}}
    response = await client.post(PATH, json=body)
    assert response.headers["Cache-Status"] == "orchestrator; hit; detail=memory"
    if stream:
        thought, text, end, last, _ = events(response)
        assert (thought["choices"][0]["text"], end["choices"][0]["finish_reason"]) == ("", "length")
        choice, usage = text["choices"][0], last["usage"]
    else:
        choice, usage = response.json()["choices"][0], response.json()["usage"]
        assert choice["finish_reason"] == "length"
    assert (choice["text"], usage) == ("four", USED)
    assert choice["logprobs"]["tokens"] == ["fo", "ur"]
    assert choice["logprobs"]["token_logprobs"] == [-0.5, -0.25]
    assert choice["logprobs"]["top_logprobs"] == [{"fi": -2.5}, {}]
    assert choice["logprobs"]["text_offset"] == [0, 2]
    assert [one["bytes"] for one in choice["logprobs"]["content"]] == [[102, 111], [117, 114]]
    assert engine.calls == 1


def test_offsets_go_on_from_one_piece_of_a_stream_to_the_next() -> None:
    form = TextForm(Stamps, ChatRequest(model="m", logprobs=True), wants_usage=False)  # type: ignore[arg-type]  # values
    frames = [form.of_chunk(Chunk(text=one.token, logprobs=(one,)))[0] for one in LOGPROBS]
    offsets = [json.loads(frame[6:])["choices"][0]["logprobs"]["text_offset"] for frame in frames]
    assert offsets == [[0], [2]]


@pytest.mark.parametrize("said", [NASTY, *NASTY.split(" ")])
async def test_nothing_a_model_says_tears_a_frame(client: httpx.AsyncClient, engine: FakeEngine, said: str) -> None:
    engine.pieces = (said, said)
    *chunks, done = events(await client.post(PATH, json=HELLO | {"stream": True}))
    assert done == "[DONE]"
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == said * 2
    assert (await client.post(PATH, json=HELLO)).json()["choices"][0]["text"] == said * 2


def test_half_a_surrogate_becomes_a_replacement_character() -> None:
    form = TextForm(Stamps, ChatRequest(model="m", logprobs=True), wants_usage=False)  # type: ignore[arg-type]  # values
    half = "a\ud83db"
    (frame,) = form.of_chunk(Chunk(text=half, logprobs=(TokenLogprob(token=half, logprob=-1.0),)))
    choice = json.loads(frame[6:])["choices"][0]
    assert choice["text"] == choice["logprobs"]["tokens"][0] == choice["logprobs"]["content"][0]["token"] == "a�b"


def test_an_event_is_one_line() -> None:
    frame = event({"text": NASTY})
    assert len(frame.decode().splitlines()) == 2
    assert json.loads(frame[6:]) == {"text": NASTY}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (HELLO | {"model": ""}, 404, "model '' not found"),
        ({"prompt": "hello"}, 404, "model '' not found"),
        (HELLO | {"model": "nope"}, 404, "model 'nope' not found"),
        ({"model": "tiny"}, 400, "prompt is required: text, or a list of one"),
        (HELLO | {"prompt": []}, 400, "prompt is required: text, or a list of one"),
        (HELLO | {"prompt": ["a", "b"]}, 400, "prompt is a list of 2 texts; send a request for each of them"),
        (
            HELLO | {"prompt": [1, 2]},
            400,
            "prompt must be text; token ids are not taken, since each model has its own",
        ),
        (
            HELLO | {"prompt": [[1, 2]]},
            400,
            "prompt must be text; token ids are not taken, since each model has its own",
        ),
        (
            HELLO | {"prompt": 7},
            400,
            "json: cannot unmarshal number into Go struct field CompletionRequest.prompt of type string",
        ),
        (HELLO | {"suffix": "b"}, 400, "registry.ollama.ai/library/tiny:latest does not support insert"),
        (HELLO | {"logprobs": 21}, 400, "logprobs must be between 0 and 20"),
        (HELLO | {"logprobs": -1}, 400, "logprobs must be between 0 and 20"),
        (
            HELLO | {"max_tokens": "5"},
            400,
            "json: cannot unmarshal string into Go struct field CompletionRequest.max_tokens of type int",
        ),
    ],
)
async def test_errors_have_openais_shape(
    client: httpx.AsyncClient, engine: FakeEngine, body: Any, status: int, said: str
) -> None:
    response = await client.post(PATH, json=body)
    assert response.status_code == status
    kind = {400: "invalid_request_error", 404: "not_found_error"}[status]
    assert response.json() == {"error": {"message": said, "type": kind, "param": None, "code": None}}
    assert engine.calls == 0


async def test_an_empty_body_is_eof(client: httpx.AsyncClient) -> None:
    for body in (b"", b"  "):
        response = await client.post(PATH, content=body)
        assert (response.status_code, response.json()["error"]["message"]) == (400, "EOF")


async def test_answers_and_refusals_are_recorded(client: httpx.AsyncClient, recorded: Any) -> None:
    await client.post(PATH, json=HELLO)
    await client.post(PATH, json={"model": "tiny"})
    answered, refused = await recorded(2)
    assert (answered.endpoint, answered.dialect, answered.outcome) == (PATH, "openai", "done")
    assert (refused.endpoint, refused.dialect, refused.outcome) == (PATH, "openai", "bad_request")
