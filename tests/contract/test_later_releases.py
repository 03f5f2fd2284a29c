"""What came with releases after 0.33, whose contract is served: not there, and the docs say so."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.test_ollama import lines
from tests.api.test_openai import events
from tests.contract.facts import HELLO, Differs, Fact, Scene, refused

PAGE = "differences.md"
DECISION = {"model": "tiny", "state": "x", "questions": {"ok": {"type": "choice"}}}


async def counts(scene: Scene) -> bool:
    """Whether an answer from cache says how much of its prompt was cached."""
    await scene.client.post("/api/chat", json=HELLO)
    return "prompt_eval_cached_count" in lines(await scene.client.post("/api/chat", json=HELLO))[-1]


async def details(scene: Scene) -> bool:
    await scene.client.post("/v1/chat/completions", json=HELLO)
    usage = (await scene.client.post("/v1/chat/completions", json=HELLO)).json()["usage"]
    return "prompt_tokens_details" in usage


async def read_tokens(scene: Scene) -> bool:
    body = HELLO | {"max_tokens": 5}
    await scene.client.post("/v1/messages", json=body)
    return "cache_read_input_tokens" in (await scene.client.post("/v1/messages", json=body)).json()["usage"]


async def timings(scene: Scene) -> bool:
    body = HELLO | {"stream": True, "stream_options": {"include_usage": True}}
    return "timings" in events(await scene.client.post("/v1/chat/completions", json=body))[-2]


async def shows_thinking(scene: Scene) -> Any:
    value = (await scene.client.post("/api/show", json={"model": "openai/big"})).json()
    return "thinking" in value


def is_there(path: str) -> Any:
    async def look(scene: Scene) -> bool:
        return (await scene.client.post(path, json={})).status_code != 404

    return look


CACHED = Differs(False, PAGE, "`prompt_eval_cached_count` and its fellows under `/v1`")
FACTS = [
    Fact("0.33.3: a last line counts the cached tokens of its prompt", counts, True, CACHED),
    Fact("0.33.3: so does OpenAI's usage", details, True, CACHED),
    Fact("0.33.3: so does Anthropic's usage", read_tokens, True, CACHED),
    Fact("0.35: there is /v1/systemone", is_there("/v1/systemone"), True, Differs(False, PAGE, "`/v1/systemone`")),
    Fact("0.35.1: the usage chunk has timings", timings, True, Differs(False, PAGE, "`timings`")),
    Fact(
        "0.40: a model may have levels of thinking of its own",
        refused("/api/chat", HELLO | {"model": "openai/big", "think": "deep"}),
        (200, None),
        Differs(
            (400, 'invalid think value: "deep" (must be "high", "medium", "low", "max", true, or false)'),
            PAGE,
            "levels of thinking that a model defines",
        ),
    ),
    Fact(
        "0.40: show lists them",
        shows_thinking,
        True,
        Differs(False, PAGE, "levels of thinking that a model defines"),
    ),
    Fact(
        "0.40.8: there is /v1/audio/speech",
        is_there("/v1/audio/speech"),
        True,
        Differs(False, PAGE, "`/v1/audio/speech`"),
    ),
]


@pytest.mark.parametrize("fact", FACTS, ids=str)
async def test_what_came_later_is_as_the_docs_say(fact: Fact, scene: Scene) -> None:
    await fact.check(scene)
