"""POST /api/generate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from orchestrator.core.types import Chunk, TokenLogprob
from tests.api.test_ollama import lines
from tests.contract.facts import PROMPT
from tests.fakes import FakeEngine
from tests.product import Product

PATH = "/api/generate"
LOCAL = {"model": "smollm2:135m", "prompt": "Say: one two three", "options": {"temperature": 0, "num_predict": 4}}
BEFORE = ["model", "created_at", "response"]
COUNTS = ["total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"]
HE = TokenLogprob(token="He", logprob=-0.1, bytes=(72, 101), top=(TokenLogprob(token="He", logprob=-0.1, bytes=(72,)),))


def scripted(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, *chunks: Chunk) -> None:
    """These come before what the engine says anyway."""
    chat = engine.chat

    async def with_chunks(request: Any, model: Any) -> AsyncIterator[Chunk]:
        for chunk in chunks:
            yield chunk
        async for chunk in chat(request, model):
            yield chunk

    monkeypatch.setattr(engine, "chat", with_chunks)


async def test_the_keys_of_a_line_come_in_ollamas_order(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(cloud, monkeypatch, Chunk(thinking="Hm"), Chunk(text="He", logprobs=(HE,)))
    body = PROMPT | {"model": "openai/big", "logprobs": True, "top_logprobs": 1}
    thinking, spoken, *_, last = lines(await client.post(PATH, json=body))
    assert list(thinking) == [*BEFORE, "thinking", "done"]
    assert list(spoken) == [*BEFORE, "done", "logprobs"]
    assert list(last) == [*BEFORE, "done", "done_reason", "context", *COUNTS]
    whole = (await client.post(PATH, json=body | {"stream": False})).json()
    assert list(whole) == [*BEFORE, "thinking", "done", "done_reason", "context", *COUNTS, "logprobs"]


async def test_a_line_always_has_a_response_and_says_whether_it_is_the_last(client: httpx.AsyncClient) -> None:
    *pieces, last = lines(await client.post(PATH, json=PROMPT))
    assert [piece["response"] for piece in pieces] == ["fo", "ur"]
    assert [piece["done"] for piece in pieces] == [False, False]
    assert not any("done_reason" in piece for piece in pieces)
    assert (last["response"], last["done"], last["done_reason"]) == ("", True, "stop")


async def test_an_answer_that_is_cut_says_length(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.reason = "length"
    assert lines(await client.post(PATH, json=PROMPT))[-1]["done_reason"] == "length"


async def test_a_whole_answer_is_the_last_line_with_all_of_the_text(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(cloud, monkeypatch, Chunk(thinking="H"), Chunk(thinking="m"), Chunk(text="He", logprobs=(HE,)))
    body = PROMPT | {"model": "openai/big", "stream": False, "logprobs": True, "top_logprobs": 1}
    value = (await client.post(PATH, json=body)).json()
    assert (value["response"], value["thinking"], value["done"]) == ("Hefour", "Hm", True)
    assert len(value["logprobs"]) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_context_is_on_the_last_line_but_not_of_a_raw_prompt(client: httpx.AsyncClient, stream: bool) -> None:
    *before, last = lines_or_one(await client.post(PATH, json=PROMPT | {"stream": stream}))
    assert last["context"] == [1, 2, 3]
    assert not any("context" in line for line in before)
    assert "context" not in lines_or_one(await client.post(PATH, json=PROMPT | {"stream": stream, "raw": True}))[-1]


def lines_or_one(response: httpx.Response) -> list[dict[str, Any]]:
    return lines(response) if "ndjson" in response.headers["Content-Type"] else [response.json()]


@pytest.mark.parametrize("extra", [{}, {"prompt": ""}, {"prompt": None}, {"images": ["AAAA"]}, {"system": "Be brief."}])
@pytest.mark.parametrize("stream", [True, False])
async def test_without_a_prompt_the_model_is_loaded_and_one_object_says_so(
    client: httpx.AsyncClient, cloud: FakeEngine, engine: FakeEngine, extra: dict[str, Any], stream: bool
) -> None:
    engine.model = replace(engine.model, capabilities=frozenset({"completion", "vision"}))
    response = await client.post(PATH, json={"model": "tiny", "stream": stream, **extra})
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    value = response.json()
    assert list(value) == [*BEFORE, "done", "done_reason"]
    assert (value["response"], value["done"], value["done_reason"]) == ("", True, "load")
    assert (engine.loaded, engine.calls) == (["tiny:latest"], 0)


@pytest.mark.parametrize("keep_alive", [0, "0", "0s"])
@pytest.mark.parametrize("is_loaded", [True, False])
@pytest.mark.parametrize("more", [{}, {"think": True}, {"raw": True, "system": "x"}])
async def test_with_a_keep_alive_of_zero_it_is_unloaded_before_anything_else_is_looked_at(
    client: httpx.AsyncClient, engine: FakeEngine, keep_alive: object, is_loaded: bool, more: dict[str, Any]
) -> None:
    engine.loaded = ["tiny:latest"] if is_loaded else []
    value = (await client.post(PATH, json={"model": "tiny", "keep_alive": keep_alive, **more})).json()
    assert list(value) == [*BEFORE, "done", "done_reason"]
    assert (value["response"], value["done_reason"], engine.loaded) == ("", "unload", [])


BAD_RAW = {"raw": True, "system": "x"}
RAW, LOGPROBS = "raw mode does not support template, system, or context", "top_logprobs must be between 0 and 20"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"model": "", "keep_alive": "x", "top_logprobs": 21}, 400, 'time: invalid duration "x"'),
        ({"model": "", "top_logprobs": 21}, 400, LOGPROBS),
        ({"model": "", **BAD_RAW}, 404, "model '' not found"),
        ({"model": "nobody", **BAD_RAW, "think": True}, 404, "model 'nobody' not found"),
        ({"model": "a b", **BAD_RAW}, 400, "invalid model name"),
        ({"model": "tiny", **BAD_RAW, "think": True, "suffix": "x"}, 400, RAW),
        ({"model": "tiny", "prompt": "", **BAD_RAW}, 400, RAW),
        ({"model": "tiny", "prompt": "", "think": True}, 400, '"tiny" does not support thinking'),
    ],
)
async def test_of_several_mistakes_the_first_in_ollamas_order_is_told(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, said: str
) -> None:
    response = await client.post(PATH, json=PROMPT | body)
    assert (response.status_code, response.json()) == (status, {"error": said})


@pytest.mark.parametrize("extra", [{"width": 512}, {"height": 512}, {"steps": 4}])
async def test_fields_for_pictures_that_are_made_are_ignored(client: httpx.AsyncClient, extra: dict[str, Any]) -> None:
    assert (await client.post(PATH, json=PROMPT | extra)).status_code == 200


async def test_a_logprob_has_its_token_its_bytes_and_the_likeliest_others(
    client: httpx.AsyncClient, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(cloud, monkeypatch, Chunk(text="He", logprobs=(HE,)))
    body = PROMPT | {"model": "openai/big", "logprobs": True, "top_logprobs": 1}
    (told,) = lines(await client.post(PATH, json=body))[0]["logprobs"]
    other = {"token": "He", "logprob": -0.1, "bytes": [72]}
    assert told == {"token": "He", "logprob": -0.1, "bytes": [72, 101], "top_logprobs": [other]}


@pytest.mark.parametrize("count", [0, 3])
def test_a_real_model_tells_one_logprob_a_token_with_as_many_others_as_asked_for(product: Product, count: int) -> None:
    body = LOCAL | {"logprobs": True, "top_logprobs": count}
    answer = lines(httpx.post(product.base_url + PATH, json=body, timeout=60))
    told = [one for line in answer for one in line.get("logprobs", [])]
    assert len(told) == answer[-1]["eval_count"] == 4
    assert "".join(line["response"] for line in answer) == "".join(one["token"] for one in told)
    for one in told:
        assert bytes(one["bytes"]).decode(errors="replace") == one["token"]
        others = [other["logprob"] for other in one.get("top_logprobs", [])]
        assert len(others) == count
        assert others == sorted(others, reverse=True)


def test_a_real_answer_goes_on_from_its_context(product: Product) -> None:
    with httpx.Client(base_url=product.base_url, timeout=60) as client:
        first = client.post(PATH, json=LOCAL | {"stream": False}).json()
        assert first["done_reason"] == "length"
        assert len(first["context"]) == first["prompt_eval_count"] + first["eval_count"]
        more = client.post(PATH, json=LOCAL | {"stream": False, "context": first["context"]}).json()
    assert more["context"][: len(first["context"])] == first["context"]
    assert more["prompt_eval_count"] > first["prompt_eval_count"]
