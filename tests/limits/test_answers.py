"""What limits mean for who asks: refusals in every dialect, what a hit counts as, what a call comes to."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from orchestrator.api import replies
from orchestrator.core.errors import EngineError, ModelNotFound, OrchestratorError, TooMany
from orchestrator.core.types import Caller, ChatRequest, Message
from orchestrator.identity.keys import default_caller
from orchestrator.lean import LeanHandler
from orchestrator.ledger.estimate import AN_ANSWER
from orchestrator.models import Limit, RequestRecord
from orchestrator.parts import Parts
from orchestrator.pipeline import answer
from orchestrator.unasked import load
from tests.fakes import FakeEngine
from tests.limits.conftest import until
from tests.orchestrator.test_lean import SCOPE, sending

MONTH_S = 31 * 86400
AMOUNT = 100_000
ANSWER = 9  # tokens of the fake's questions and answers together
HELD = AN_ANSWER + 2  # tokens that are held for one of these
PATHS = {
    "/api/chat": {"messages": [{"role": "user", "content": "hello"}]},
    "/api/generate": {"prompt": "hello"},
    "/api/embed": {"input": "hello"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hello"}]},
    "/v1/completions": {"prompt": "hello"},
    "/v1/responses": {"input": "hello"},
    "/v1/messages": {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 5},
}


@pytest.fixture
def rule(transactional_db: None) -> Callable[..., Awaitable[Limit]]:
    """A function that makes a limit for all together."""

    async def rule(kind: str = "requests", amount: int = 1, **fields: Any) -> Limit:
        per_s = None if kind == "concurrent" else MONTH_S
        fields = {"name": kind, "each": "all", "per_s": per_s, **fields}
        return await Limit.objects.acreate(kind=kind, amount=amount, **fields)

    return rule


Rule = Callable[..., Awaitable[Limit]]


def question(text: str = "hello", **fields: Any) -> ChatRequest:
    fields = {"model": "tiny", "messages": (Message(role="user", content=text),), **fields}
    return ChatRequest(**fields)


async def caller() -> Caller:
    return await asyncio.to_thread(default_caller)


async def heard(request: ChatRequest, parts: Parts) -> str:
    begun = await answer(request, await caller(), parts)
    return "".join([chunk.text async for chunk in begun.chunks])


async def left(parts: Parts) -> int:
    """How many tokens a caller has left, as an answer from cache says."""
    request = question("what is known", stream=True)
    await heard(request, parts)
    begun = await answer(request, await caller(), parts)
    [_ async for _ in begun.chunks]
    assert begun.hit
    found = re.search(r'"tokens";r=(\d+)', begun.standing.now)
    assert found
    return int(found[1])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("is_streamed", [False, True])
async def test_every_dialect_says_it_in_its_own_shape(
    client: httpx.AsyncClient, rule: Rule, path: str, is_streamed: bool
) -> None:
    await rule(per_s=600, name="slow")
    body = {"model": "tiny", "stream": is_streamed, **PATHS[path]}
    await client.post(path, json=body)
    refused = await client.post(path, json=body)
    assert refused.status_code == 429
    again_s = int(refused.headers["Retry-After"])
    assert 590 < again_s <= 600
    assert refused.headers["RateLimit-Policy"] == '"slow";q=1;w=600'
    assert refused.headers["RateLimit"] == f'"slow";r=0;t={again_s}'
    said = refused.json()["error"]
    words = f'Limit "slow" allows 1 requests in 600 s for all together; come again in {again_s} s.'
    if path == "/v1/messages":
        assert (refused.json()["type"], said) == ("error", {"type": "rate_limit_error", "message": words})
    elif path.startswith("/v1/"):
        assert (said["message"], said["type"]) == (words, "rate_limit_error")
    else:
        assert said == words


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_says_how_its_caller_stands(client: httpx.AsyncClient, rule: Rule, path: str) -> None:
    await rule(amount=50)
    for asked in (1, 2):
        response = await client.post(path, json={"model": "tiny", "stream": False, **PATHS[path]})
        if response.status_code == 200:
            assert response.headers["RateLimit-Policy"] == f'"requests";q=50;w={MONTH_S}'
            assert response.headers["RateLimit"].startswith(f'"requests";r={50 - asked};t=')


async def test_where_nothing_is_limited_nothing_is_said(client: httpx.AsyncClient, rule: Rule) -> None:
    await rule(model="other/*")
    response = await client.post("/api/chat", json={"model": "tiny", "stream": False, **PATHS["/api/chat"]})
    assert response.status_code == 200
    assert not {"ratelimit", "ratelimit-policy"} & {name.lower() for name in response.headers}


async def test_an_answer_from_cache_is_a_request_and_no_tokens(parts: Parts, rule: Rule, engine: FakeEngine) -> None:
    await rule("requests", 3)
    await rule("tokens", AMOUNT)
    for _ in range(3):
        assert await heard(question(), parts) == "four"
    assert engine.calls == 1
    with pytest.raises(TooMany):
        await heard(question(), parts)


async def test_who_has_no_tokens_left_is_still_answered_from_cache(
    parts: Parts, rule: Rule, engine: FakeEngine
) -> None:
    await rule("tokens", ANSWER)
    assert await heard(question(), parts) == "four"
    assert await heard(question(), parts) == "four"
    with pytest.raises(TooMany, match="allows 9 tokens"):
        await heard(question("another"), parts)


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_call_is_charged_what_its_model_read_and_wrote(parts: Parts, rule: Rule, is_streamed: bool) -> None:
    await rule("tokens", AMOUNT)
    await heard(question(stream=is_streamed), parts)
    assert await left(parts) == AMOUNT - 2 * ANSWER, "the one that tells is a call, too"


async def test_a_call_that_fails_is_charged_nothing_the_model_did_not_do(
    parts: Parts, rule: Rule, engine: FakeEngine
) -> None:
    await rule("tokens", AMOUNT)
    engine.pieces, engine.error = (), EngineError("no")
    with pytest.raises(EngineError):
        await heard(question(), parts)
    engine.pieces, engine.error = ("fo", "ur"), None
    assert await left(parts) == AMOUNT - ANSWER


async def test_who_hangs_up_is_charged_what_came_and_frees_its_place(
    parts: Parts, rule: Rule, engine: FakeEngine
) -> None:
    await rule("tokens", AMOUNT)
    await rule("concurrent", 1)
    engine.gate = asyncio.Event()
    begun = await answer(question(stream=True), await caller(), parts)
    await anext(begun.chunks)
    with pytest.raises(TooMany, match="at a time"):
        await heard(question("meanwhile"), parts)
    await begun.chunks.aclose()
    await until(lambda: engine.closed == 1)
    engine.gate.set()
    assert AMOUNT - 2 * ANSWER <= await left(parts) <= AMOUNT - ANSWER


@pytest.mark.parametrize("fails", ["the head", "the headers"])
async def test_an_answer_that_is_never_sent_keeps_no_place(
    parts: Parts, rule: Rule, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    await rule("concurrent", 1)
    engine.gate = asyncio.Event()
    body = json.dumps({"model": "tiny", **PATHS["/api/chat"]}).encode()

    async def send(message: dict[str, Any]) -> None:
        if fails == "the head":
            raise ConnectionError("the server is going")

    def no_headers(*_: object) -> None:
        raise ValueError("no header")

    if fails == "the headers":
        monkeypatch.setattr(replies, "_with_headers", no_headers)
    handler = LeanHandler(1024**2, 10)
    asking = asyncio.create_task(handler(dict(SCOPE), sending(body), send))  # type: ignore[arg-type]
    await asyncio.gather(asking, return_exceptions=True)
    assert engine.calls == engine.closed == 1
    assert not parts.inflight.listeners
    begun = await answer(question("next", stream=True), await caller(), parts)
    await begun.chunks.aclose()


async def test_who_hangs_up_before_the_first_word_gives_all_back(parts: Parts, rule: Rule, engine: FakeEngine) -> None:
    await rule("tokens", AMOUNT)
    await rule("concurrent", 1)
    engine.pieces, engine.gate = (), asyncio.Event()
    asking = asyncio.create_task(heard(question(), parts))
    await until(lambda: engine.calls == 1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    engine.pieces, engine.gate = ("fo", "ur"), None
    assert await left(parts) == AMOUNT - ANSWER


async def test_of_those_who_share_a_call_one_is_charged_its_tokens_and_each_has_a_place(
    parts: Parts, rule: Rule, engine: FakeEngine
) -> None:
    await rule("tokens", AMOUNT)
    await rule("concurrent", 3)
    await rule("requests", 50)
    engine.gate = asyncio.Event()
    sharing = [asyncio.create_task(heard(question(stream=True), parts)) for _ in range(3)]
    await until(lambda: parts.inflight.listeners == 3)
    with pytest.raises(TooMany, match="at a time"):
        await heard(question("one more"), parts)
    engine.gate.set()
    assert await asyncio.gather(*sharing) == ["four"] * 3
    assert engine.calls == 1
    # Who is done before one that was charged earlier leaves that one less to give back.
    assert AMOUNT - 2 * (ANSWER + HELD) <= await left(parts) <= AMOUNT - 2 * ANSWER


async def test_who_begins_a_call_and_hangs_up_pays_for_it_while_another_hears_it_to_its_end(
    parts: Parts, rule: Rule, engine: FakeEngine
) -> None:
    await rule("tokens", AMOUNT)
    await rule("concurrent", 2)
    engine.gate = asyncio.Event()
    begun = await answer(question(stream=True), await caller(), parts)
    await anext(begun.chunks)
    other = asyncio.create_task(heard(question(stream=True), parts))
    await until(lambda: parts.inflight.listeners == 2)
    await begun.chunks.aclose()
    engine.gate.set()
    assert await other == "four"
    assert engine.calls == 1
    assert await left(parts) == AMOUNT - 2 * ANSWER
    taken = [await answer(question(f"next {n}", stream=True), await caller(), parts) for n in range(2)]
    for one in taken:  # no place was left behind
        await one.chunks.aclose()


@pytest.mark.parametrize("asked", [{"model": "nobody-has-it"}, {"model": "???"}, {"model": "tiny", "inputs": ("a",)}])
async def test_to_ask_for_what_there_is_not_counts_as_well(parts: Parts, rule: Rule, asked: dict[str, Any]) -> None:
    await rule("requests", 2)
    for _ in range(2):
        with pytest.raises(OrchestratorError) as refusal:
            await heard(question(**asked), parts)
        assert not isinstance(refusal.value, TooMany)
    with pytest.raises(TooMany):
        await heard(question(**asked), parts)
    with pytest.raises(TooMany):
        await heard(question(), parts)


@pytest.mark.parametrize("name", ["tiny", "nobody-has-it"])
@pytest.mark.parametrize("more", [{"raw": True, "system": "x"}, {"template": "{{ if }}"}])
@pytest.mark.parametrize("prompt", ["hello", ""])
async def test_a_question_of_a_wrong_form_counts_and_is_recorded_whether_there_is_the_model_or_not(
    client: httpx.AsyncClient,
    rule: Rule,
    recorded: Callable[[int], Awaitable[list[RequestRecord]]],
    name: str,
    more: dict[str, Any],
    prompt: str,
) -> None:
    """What a model cannot be asked is settled after its name: so names would be free to try."""
    await rule("requests", 2)
    body = {"model": name, "prompt": prompt, **more}
    statuses = [(await client.post("/api/generate", json=body)).status_code for _ in range(4)]
    assert statuses == [{"tiny": 400, "nobody-has-it": 404}[name]] * 2 + [429] * 2
    assert [record.status for record in await recorded(4)] == statuses


async def test_a_limit_of_a_model_is_not_about_names_there_are_not(parts: Parts, rule: Rule) -> None:
    await rule("requests", 1, model="tiny:*")
    for _ in range(3):
        with pytest.raises(ModelNotFound):
            await heard(question(model="nobody-has-it"), parts)
    await heard(question(), parts)
    with pytest.raises(TooMany):
        await heard(question(), parts)


@pytest.mark.parametrize("pattern", ["tiny", "TINY", "Tiny:Latest", "t?ny"])
async def test_a_limit_of_a_model_is_written_as_a_key_is_kept_to_it(parts: Parts, rule: Rule, pattern: str) -> None:
    await rule("requests", 1, model=pattern)
    await heard(question(), parts)
    with pytest.raises(TooMany):
        await heard(question(model="Tiny"), parts)


async def test_to_load_a_model_is_a_request(parts: Parts, rule: Rule, engine: FakeEngine) -> None:
    await rule("requests", 1)
    await load(question(messages=()), await caller(), parts)
    with pytest.raises(TooMany):
        await load(question(messages=()), await caller(), parts)
    assert engine.loaded == ["tiny:latest"]


async def test_a_refusal_is_in_the_record(
    parts: Parts, rule: Rule, recorded: Callable[[int], Awaitable[list[RequestRecord]]]
) -> None:
    await rule("requests", 1)
    await heard(question(), parts)
    with pytest.raises(TooMany):
        await heard(question(), parts)
    _, refused = await recorded(2)
    assert (refused.outcome, refused.model) == ("limited", "tiny:latest")


async def test_refusals_are_counted_by_limit(client: httpx.AsyncClient, rule: Rule) -> None:
    await rule("requests", 1, name="few")
    for _ in range(3):
        await client.post("/api/chat", json={"model": "tiny", "stream": False, **PATHS["/api/chat"]})
    page = (await client.get("/metrics")).text
    assert 'orchestrator_limited_total{kind="requests",limit="few"} 2.0' in page
    assert "orchestrator_limits_alone 0.0" in page
