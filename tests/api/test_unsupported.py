"""What a model cannot do is said to whoever asked for it, in every dialect and on every kind of answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from orchestrator import wiring
from orchestrator.capabilities import Policy
from orchestrator.models import RequestRecord
from orchestrator.parts import Parts
from tests.fakes import FakeEngine
from tests.product import Product
from tests.provider import Provider

HEADER = "X-Orchestrator-Unsupported"
TURNS = [{"role": "user", "content": "hello"}]
CHAT: dict[str, Any] = {"model": "tiny", "messages": TURNS, "stream": False}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
PICTURE = [{"role": "user", "content": "hello", "images": ["aGk="]}]
Recorded = Callable[[int], Awaitable[list[RequestRecord]]]


@pytest.fixture(autouse=True)
def engine(engine: FakeEngine) -> FakeEngine:
    """`tiny`, which knows two options and no more."""
    engine.model = replace(engine.model, takes=frozenset({"temperature", "num_predict", "shift", "truncate"}))
    return engine


@pytest.fixture
def under(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Policy], None]]:
    """A function that sets the policy."""
    yield lambda policy: monkeypatch.setattr(wiring, "_parts", replace(parts, unsupported=policy))
    monkeypatch.setattr(wiring, "_parts", parts)


async def test_misses_hits_and_streams_say_what_was_left_out_and_so_do_their_records(
    client: httpx.AsyncClient, engine: FakeEngine, recorded: Recorded
) -> None:
    asked = CHAT | {"options": {"top_k": 3, "num_ctx": 64, "temperature": 0}}
    for body, tier in ((asked, "miss; stored"), (asked, "memory"), (asked | {"stream": True}, "memory")):
        answer = await client.post("/api/chat", json=body)
        assert answer.status_code == 200
        assert answer.headers[HEADER] == "num_ctx, top_k"
        assert answer.headers["Cache-Status"].endswith(tier)
    (question,) = engine.asked
    assert question.options == {"temperature": 0}
    assert [record.unsupported for record in await recorded(3)] == ["num_ctx,top_k"] * 3


async def test_nothing_is_said_where_nothing_was_left_out(client: httpx.AsyncClient, recorded: Recorded) -> None:
    answer = await client.post("/api/chat", json=CHAT | {"options": {"temperature": 0}})
    assert HEADER not in answer.headers
    assert [record.unsupported for record in await recorded(1)] == [""]


async def test_what_is_left_out_makes_no_question_of_its_own_and_each_caller_hears_of_theirs(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    engine.gate = asyncio.Event()
    bodies = [CHAT, CHAT | {"options": {"top_k": 3}}, CHAT | {"options": {"min_p": 0.1}, "keep_alive": 5}]
    asking = [asyncio.create_task(client.post("/api/chat", json=body)) for body in bodies]
    while client_waits(asking) and len(engine.asked) < 1:
        await asyncio.sleep(0)
    engine.gate.set()
    answers = await asyncio.gather(*asking)
    assert engine.calls == 1
    assert [answer.headers.get(HEADER) for answer in answers] == [None, "top_k", "keep_alive, min_p"]
    other = await client.post("/api/chat", json=CHAT | {"options": {"top_k": 3, "temperature": 1}})
    assert engine.calls == 2, "an option that is honoured makes another question"
    assert other.headers[HEADER] == "top_k"


def client_waits(asking: list[asyncio.Task[httpx.Response]]) -> bool:
    return not any(task.done() for task in asking)


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/api/chat", {"tool_choice": "required"}, "tool_choice"),
        (
            "/api/chat",
            {"options": {"mirostat": 1, "temprature": 0, "a b": 1, "x" * 50: 1, "ü": 1}},
            f"?, a?b, mirostat, temprature, {'x' * 40}",
        ),
        ("/api/chat", {"options": {"mirostat": None}}, None),
        ("/api/chat", {"options": {"top-k": 1, "temperature ": 0}}, "temperature?, top-k"),
        (
            "/api/chat",
            {"options": {f"no{number:02}": 1 for number in range(18)}},
            ", ".join(["and 2 more", *(f"no{number:02}" for number in range(16))]),
        ),
        ("/api/chat", {"_debug_render_only": True, "options": {"top_kk": 1}}, "top_kk"),
        ("/api/chat", {"messages": [], "options": {"top_kk": 1}}, "top_kk"),
        ("/v1/messages/count_tokens", {"tool_choice": {"type": "any"}}, None),
        ("/v1/chat/completions", {"n": 1, "tool_choice": "auto", "logit_bias": {}, "parallel_tool_calls": True}, None),
        (
            "/v1/chat/completions",
            {"n": 2, "tool_choice": "none", "logit_bias": {"1": 5}, "parallel_tool_calls": False, "user": "me"},
            "logit_bias, n, parallel_tool_calls, tool_choice",
        ),
        ("/v1/completions", {"prompt": "hi", "best_of": 3, "echo": True}, "best_of, echo"),
        (
            "/v1/responses",
            {"input": "hi", "tools": [{"type": "web_search"}], "previous_response_id": "r", "metadata": {"a": "b"}},
            "previous_response_id, web_search",
        ),
        (
            "/v1/messages",
            {
                "max_tokens": 9,
                "top_k": 3,
                "tool_choice": {"type": "any"},
                "thinking": {"type": "enabled", "budget_tokens": 9},
            },
            "budget_tokens, think, tool_choice, top_k",
        ),
        ("/v1/messages", {"max_tokens": 9, "tool_choice": {"type": "auto"}, "thinking": {"type": "disabled"}}, None),
    ],
)
async def test_every_dialect_says_what_had_no_effect(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], said: str | None
) -> None:
    answer = await client.post(path, json=CHAT | body)
    assert answer.status_code == 200, answer.text
    assert answer.headers.get(HEADER) == said


async def test_loading_says_it_too(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    answer = await client.post("/api/generate", json={"model": "tiny", "options": {"num_gpu": 1}})
    assert answer.json()["done_reason"] == "load"
    assert answer.headers[HEADER] == "num_gpu"
    assert engine.loaded == ["tiny:latest"]


@pytest.mark.parametrize("policy", ["warn", "drop"])
async def test_tools_and_pictures_are_left_out_where_the_operator_chose_that(
    client: httpx.AsyncClient, engine: FakeEngine, under: Callable[[Policy], None], recorded: Recorded, policy: Policy
) -> None:
    under(policy)
    body = CHAT | {"messages": PICTURE, "tools": [TOOL], "think": True}
    answer = await client.post("/api/chat", json=body)
    assert answer.json()["message"]["content"] == "four"
    assert answer.headers.get(HEADER) == ("images, think, tools" if policy == "warn" else None)
    (question,) = engine.asked
    assert (question.tools, question.think, question.messages[0].images) == ((), None, ())
    (record,) = await recorded(1)
    assert record.unsupported == "images,think,tools"


async def test_a_suffix_and_a_template_may_be_left_out_as_well(
    client: httpx.AsyncClient, under: Callable[[Policy], None]
) -> None:
    body = {"model": "tiny", "prompt": "a", "suffix": "b", "template": "c", "stream": False}
    assert (await client.post("/api/generate", json=body)).status_code == 400
    under("warn")
    assert (await client.post("/api/generate", json=body)).headers[HEADER] == "suffix, template"


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/api/chat", {}, lambda told: told["error"]),
        ("/v1/chat/completions", {}, lambda told: told["error"]["message"]),
        ("/v1/messages", {"max_tokens": 5}, lambda told: told["error"]["message"]),
    ],
)
async def test_reject_names_all_of_it_in_the_callers_dialect(
    client: httpx.AsyncClient,
    engine: FakeEngine,
    under: Callable[[Policy], None],
    path: str,
    body: dict[str, Any],
    error: Callable[[Any], str],
) -> None:
    under("reject")
    answer = await client.post(path, json=CHAT | body | {"tools": [], "tool_choice": "none", "top_k": 3})
    left_out = "tool_choice, top_k" if path == "/v1/messages" else "tool_choice"
    assert answer.status_code == 400
    assert error(answer.json()) == f'"tiny" does not support {left_out}; leave out what it cannot do'
    assert engine.calls == 0
    assert (await client.post(path, json=CHAT | body)).status_code == 200


async def test_a_raw_prompt_is_refused_where_only_messages_are_taken_and_a_message_under_warn(
    client: httpx.AsyncClient, cloud: FakeEngine, under: Callable[[Policy], None]
) -> None:
    cloud.model = replace(cloud.model, takes=frozenset())
    body = {"model": "openai/big", "prompt": "hi", "raw": True, "stream": False}
    refused = await client.post("/api/generate", json=body)
    assert (refused.status_code, cloud.calls) == (400, 0)
    assert "takes messages, not raw prompts" in refused.json()["error"]
    under("warn")
    answer = await client.post("/api/generate", json=body)
    assert (answer.json()["response"], answer.headers[HEADER]) == ("four", "raw")
    (question,) = cloud.asked
    assert question.messages[0].content == "hi"


async def test_the_product_says_it_on_hits_and_replays_of_a_providers_answer(
    product: Product, provider: Provider
) -> None:
    body = {"model": "openai/good", "messages": [{"role": "user", "content": "Say what you cannot do."}]}
    body |= {"options": {"top_k": 7, "num_ctx": 512}, "think": True}
    async with httpx.AsyncClient(base_url=product.base_url, timeout=30) as client:
        for stream in (False, True):
            for turn in range(5):
                answer = await client.post("/api/chat", json=body | {"stream": stream})
                assert answer.status_code == 200
                assert answer.headers[HEADER] == "num_ctx, think, top_k", (stream, turn)
    asked = [one for one in provider.asked if one["messages"] == body["messages"]]
    assert len(asked) == 1
    assert not asked[0].keys() & {"top_k", "num_ctx", "think", "reasoning_effort"}


def test_the_operators_choice_is_read_from_the_environment(provider: Provider) -> None:
    with Product(OPENAI_BASE_URL=provider.address, ORCHESTRATOR_UNSUPPORTED="reject") as product:
        body = {"model": "openai/good", "messages": TURNS, "stream": False, "options": {"top_k": 3, "min_p": 0.5}}
        answer = httpx.post(f"{product.base_url}/api/chat", json=body, timeout=30)
    assert answer.status_code == 400
    assert answer.json()["error"] == '"openai/good" does not support min_p, top_k; leave out what it cannot do'


@pytest.mark.parametrize(("asked", "said"), [({"raw": True}, "suffix"), ({"system": "be brief"}, "system")])
async def test_what_has_no_place_beside_a_suffix_is_said(
    client: httpx.AsyncClient, engine: FakeEngine, asked: dict[str, Any], said: str
) -> None:
    able = engine.model.capabilities | {"insert"}
    engine.model = replace(engine.model, capabilities=able, takes=engine.model.takes | {"raw"})
    answer = await client.post("/api/generate", json={"model": "tiny", "prompt": "hi", "suffix": "ho"} | asked)
    assert (answer.status_code, answer.headers.get(HEADER)) == (200, said)
