"""POST /v1/completions."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api.test_openai import events
from tests.contract.facts import PROMPT
from tests.fakes import FakeEngine

PATH = "/v1/completions"


@pytest.mark.parametrize(
    ("field", "value", "option", "taken"),
    [
        ("max_tokens", 5, "num_predict", 5),
        ("seed", 7, "seed", 7),
        ("stop", "a", "stop", ["a"]),
        ("stop", ["a", "b"], "stop", ["a", "b"]),
        ("temperature", 0.5, "temperature", 0.5),
        ("top_p", 0.5, "top_p", 0.5),
        ("frequency_penalty", 0.5, "frequency_penalty", 0.5),
        ("presence_penalty", 0.5, "presence_penalty", 0.5),
    ],
)
async def test_each_field_is_an_option(
    client: httpx.AsyncClient, engine: FakeEngine, field: str, value: Any, option: str, taken: Any
) -> None:
    assert (await client.post(PATH, json=PROMPT | {field: value})).status_code == 200
    assert engine.asked[-1].options == {option: taken}


async def test_a_whole_answer_has_openais_keys(client: httpx.AsyncClient) -> None:
    value = (await client.post(PATH, json=PROMPT)).json()
    assert list(value) == ["id", "object", "created", "model", "system_fingerprint", "choices", "usage"]
    assert value["id"].startswith("cmpl-")
    assert (value["object"], value["model"]) == ("text_completion", "tiny")
    assert value["choices"] == [{"index": 0, "text": "four", "finish_reason": "stop"}]
    assert value["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


async def test_logprobs_is_a_number(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    (choice,) = (await client.post(PATH, json=PROMPT | {"logprobs": 2})).json()["choices"]
    assert "logprobs" in choice
    assert (engine.asked[-1].logprobs, engine.asked[-1].top_logprobs) == (True, 2)


async def test_the_reason_rides_on_the_last_chunk_of_text(client: httpx.AsyncClient) -> None:
    *chunks, done = events(await client.post(PATH, json=PROMPT | {"stream": True}))
    assert done == "[DONE]"
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "four"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert not any("usage" in chunk for chunk in chunks)


async def test_with_usage_every_chunk_has_zeros_and_one_more_has_the_numbers(client: httpx.AsyncClient) -> None:
    body = PROMPT | {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, usage, _ = events(await client.post(PATH, json=body))
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert [chunk["usage"] for chunk in chunks] == [zeros] * len(chunks)
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 9
