"""What was answered from memory is answered again from bytes, as long as nothing has changed."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import struct
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from cache.entries import Scope
from orchestrator import replay, wiring
from orchestrator.core.exchange import EXCHANGE
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.types import Chunk, Done, Model, ToolCall, Usage
from orchestrator.identity import callers
from orchestrator.models import ApiKey, Limit, RequestRecord
from orchestrator.parts import Parts
from orchestrator.replay import ReplayFront
from tests.fakes import FakeEngine
from tests.keys import issue_key

HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "stream": False}
PATHS = ("/api/chat", "/api/generate", "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages")


@dataclass
class Reply:
    """What came back, either way."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_replayed: bool = False
    is_streamed: bool = False

    def json(self) -> Any:
        return json.loads(self.body)


class FakeExchange:
    """The server's extension, with a request that is all there."""

    def __init__(self, body: bytes | None, reply: Reply) -> None:
        self._body, self._reply = body, reply
        self.takes = True
        self.has_gone = False

    def body(self) -> bytes | None:
        return self._body

    def is_gone(self) -> bool:
        return self.has_gone

    def reply(self, head: bytes, body: bytes, *, is_streamed: bool, status: int = 200) -> bool:
        if not self.takes or self.has_gone:
            return False
        lines = [line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[:-1]]
        reply = self._reply
        reply.status, reply.body, reply.is_replayed, reply.is_streamed = status, body, True, is_streamed
        assert len({name for name, _ in lines}) == len(lines), "no header twice"
        reply.headers = dict(lines)  # type: ignore[arg-type]  # pairs
        return True


Ask = Callable[..., Awaitable[Reply]]


@pytest.fixture
async def front(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> ReplayFront:
    """What it knows of callers and models does not grow old by itself during a test, however slow that is."""
    from orchestrator.asgi import origins

    monkeypatch.setattr(callers, "REMEMBERED_S", 3600.0)
    monkeypatch.setattr(replay, "MODELS_S", 60.0)
    monkeypatch.setattr(replay, "LOOK_S", 10.0)
    return ReplayFront(origins, wiring.parts, 1024**2)  # type: ignore[arg-type]  # messages are dicts


@pytest.fixture
def ask(front: ReplayFront) -> Ask:
    """Ask the front; `None` as a body is one that has not come yet when the front looks."""

    async def ask(
        body: Any,
        path: str = "/api/chat",
        *,
        query: str = "",
        is_whole: bool = True,
        takes: bool = True,
        has_gone: bool = False,
        has_server: bool = True,
        as_they_are: Mapping[str, str] | None = None,
        **headers: str | list[str],
    ) -> Reply:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        reply = Reply()
        exchange = FakeExchange(data if is_whole else None, reply)
        exchange.takes, exchange.has_gone = takes, has_gone
        pairs = [("host", "localhost"), ("content-length", str(len(data)))]
        for name, values in headers.items():
            pairs += [(name.replace("_", "-"), value) for value in ([values] if isinstance(values, str) else values)]
        pairs += (as_they_are or {}).items()
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in pairs],
            "server": ("127.0.0.1", 1),
            "client": ("127.0.0.1", 2),
            "extensions": {EXCHANGE: exchange},
        }
        sent = [{"type": "http.request", "body": data, "more_body": False}]

        async def receive() -> Any:
            if not sent:
                await asyncio.Event().wait()
            return sent.pop()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                reply.headers = {name.decode().lower(): value.decode("latin-1") for name, value in message["headers"]}
            else:
                reply.body += message.get("body", b"")

        # As our server does; another one's application is called at once.
        if not (has_server and is_whole and front.at_once(scope, exchange)):
            await front(scope, receive, send)
        return reply

    return ask


async def warmed(ask: Ask, body: Any = HELLO, path: str = "/api/chat", **headers: str) -> Reply:
    """Ask until the next one is replayed; return what memory answered."""
    await ask(body, path, **headers)
    answer = await ask(body, path, **headers)
    assert answer.headers["cache-status"] == "orchestrator; hit; detail=memory"
    return answer


def without_stamps(body: bytes) -> bytes:
    """The answer but for what is each copy's own."""
    body = re.sub(rb'"created_at":"[^"]+"', b'"created_at":"-"', body)
    body = re.sub(rb'"(id|item_id)":"(chatcmpl-|cmpl-|resp_|rs_|fc_|msg_)[0-9a-f]{24}(_\d+)?"', rb'"\1":"-"', body)
    return re.sub(
        rb'"(total_duration|prompt_eval_duration|eval_duration|created|created_at|completed_at)":\d+', rb'"\1":0', body
    )


async def test_each_replay_has_the_id_of_its_own_request_where_clients_look_for_it(ask: Ask) -> None:
    question = {"model": "tiny", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
    first = await warmed(ask, question, "/v1/messages")
    replies = [await ask(question, "/v1/messages") for _ in range(2)]
    assert [one.is_replayed for one in replies] == [True, True]
    ids = [one.headers["request-id"] for one in (first, *replies)]
    assert ids == [f"req_{one.headers['x-request-id'][:24]}" for one in (first, *replies)]
    assert len(set(ids)) == 3
    await warmed(ask, HELLO)
    assert "request-id" not in (await ask(HELLO)).headers


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_replay_says_what_the_model_could_not_do(
    ask: Ask, engine: FakeEngine, recorded: Any, path: str, stream: bool
) -> None:
    engine.model = dataclasses.replace(engine.model, takes=engine.model.takes - {"temperature"})
    options = {"temperature": 0, "options": {"temperature": 0}}
    body = HELLO | options | {"stream": stream, "prompt": "hello", "input": "hello", "max_tokens": 9}
    body.pop("prompt" if path == "/v1/responses" else "unset", None)
    await warmed(ask, body, path)
    again = await ask(body, path)
    assert again.is_replayed
    assert again.headers["x-orchestrator-unsupported"] == "temperature"
    assert [record.unsupported for record in await recorded(3)] == ["temperature"] * 3


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [True, False])
async def test_the_third_time_it_comes_as_bytes_and_says_the_same(
    ask: Ask, engine: FakeEngine, path: str, stream: bool
) -> None:
    engine.pieces = ("100 %b é🎈\u2028", " data: \n\n", "\x00")
    body = {"model": "tiny", "prompt": "hello", "input": "hello", "messages": HELLO["messages"], "stream": stream}
    body |= {"stream_options": {"include_usage": True}, "max_tokens": 9}
    second = await warmed(ask, body, path)
    third = await ask(body, path)
    assert not second.is_replayed
    assert third.is_replayed
    assert third.is_streamed is stream
    assert without_stamps(third.body) == without_stamps(second.body)
    own = {"x-request-id", "request-id", "server-timing", "age", "content-length"}
    assert third.headers.keys() | {"content-length"} == second.headers.keys() | {"content-length"}
    assert all(third.headers[name] == value for name, value in second.headers.items() if name not in own)
    assert third.headers["x-request-id"] != second.headers["x-request-id"]
    assert engine.calls == 1


async def test_each_copy_has_its_own_moment_id_and_durations(ask: Ask) -> None:
    await warmed(ask)
    first, second = [(await ask(HELLO)).json() for _ in range(2)]
    assert first["created_at"] < second["created_at"]
    assert 0 < first["total_duration"] < 60 * 10**9
    assert first["prompt_eval_duration"] == first["eval_duration"] == first["total_duration"]
    assert (first["eval_count"], first["prompt_eval_count"]) == (2, 7)
    completion = HELLO | {"temperature": 0}
    await warmed(ask, completion, "/v1/chat/completions")
    ids = {(await ask(completion, "/v1/chat/completions")).json()["id"] for _ in range(3)}
    assert len(ids) == 3
    message = HELLO | {"max_tokens": 9}
    await warmed(ask, message, "/v1/messages")
    ids = {(await ask(message, "/v1/messages")).json()["id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(re.fullmatch("msg_[0-9a-f]{24}", message_id) for message_id in ids)
    response = {"model": "tiny", "input": "hello"}
    await warmed(ask, response, "/v1/responses")
    first, second = [(await ask(response, "/v1/responses")).json() for _ in range(2)]
    assert first["id"] != second["id"]
    assert first["output"][0]["id"] == first["id"].replace("resp_", "msg_") + "_0", "one stamp, wherever it stands"
    assert abs(first["created_at"] - time.time()) < 60
    assert first["completed_at"] == first["created_at"]


async def test_tool_calls_and_thinking_are_told_again(ask: Ask, cloud: FakeEngine, parts: Parts) -> None:
    calls = (ToolCall(id="call_1", name="add", arguments={"total_duration": 1, "a": [1.5, None]}),)

    async def chat(*_: Any) -> AsyncIterator[Any]:
        from orchestrator.core.types import Chunk, Done, Usage

        yield Chunk(thinking="hm")
        yield Chunk(tool_calls=calls)
        yield Chunk(done=Done(reason="stop", usage=Usage(prompt_tokens=1, completion_tokens=2)))

    cloud.chat = chat  # type: ignore[method-assign,assignment]  # a scripted answer
    for path in ("/api/chat", "/v1/chat/completions", "/v1/responses", "/v1/messages"):
        for stream in (True, False):
            body = HELLO | {"model": "openai/big", "input": "hello", "stream": stream, "tools": [], "max_tokens": 9}
            second = await warmed(ask, body, path)
            third = await ask(body, path)
            assert third.is_replayed
            assert without_stamps(third.body) == without_stamps(second.body)
            assert b"total_duration" in third.body


async def test_it_is_recorded_like_any_other(ask: Ask, recorded: Any) -> None:
    await warmed(ask, x_orchestrator_tags="a,b")
    reply = await ask(HELLO, x_orchestrator_tags="a,b", x_request_id="mine")
    assert reply.is_replayed
    assert reply.headers["x-request-id"] == "mine"
    *_, second, third = await recorded(3)
    assert (third.request_id, third.tier, third.outcome, third.tags) == ("mine", "memory", "done", "a,b")
    own = {"id", "request_id", "at", "first_us", "total_us"}
    for column in RequestRecord._meta.concrete_fields:
        assert column.name in own or getattr(third, column.attname) == getattr(second, column.attname), column.name
    assert second.at < third.at


async def test_it_is_counted_by_dialect_tier_and_model(parts: Parts, ask: Ask, recorded: Any) -> None:
    completions = "/v1/chat/completions"
    await warmed(ask)
    await warmed(ask, HELLO, completions)  # two hits: the same question was asked before, in the other dialect
    for _ in range(3):
        await ask(HELLO)
    await ask(HELLO, completions)
    await recorded(8)
    parts.metrics.hand_over()
    page, _ = await parts.metrics.page("")
    counted = re.findall(
        r'^orchestrator_requests_total{dialect="(\w+)",.*tier="memory"} ([\d.]+)$', page.decode(), re.M
    )
    assert sorted(counted) == [("ollama", "4.0"), ("openai", "3.0")]


async def test_its_age_goes_on_and_ends(ask: Ask, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    await warmed(ask)
    now = parts.clock.now()
    monkeypatch.setattr(type(parts.clock), "now", lambda _: now + 42)
    reply = await ask(HELLO)
    assert reply.is_replayed
    assert reply.headers["age"] == "42"
    monkeypatch.setattr(type(parts.clock), "now", lambda _: now + 61)
    reply = await ask(HELLO)
    assert not reply.is_replayed
    assert "hit" not in reply.headers["cache-status"]


async def test_a_purge_is_true_at_once(ask: Ask, parts: Parts, engine: FakeEngine) -> None:
    await warmed(ask)
    assert (await ask(HELLO)).is_replayed
    await parts.cache.purge(Scope(model="tiny:latest"))
    reply = await ask(HELLO)
    assert not reply.is_replayed
    assert reply.headers["cache-status"].startswith("orchestrator; fwd=miss")
    assert engine.calls == 2


async def test_why_nothing_is_replayed_is_said(
    ask: Ask, parts: Parts, front: ReplayFront, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def none() -> list[Model]:
        raise TimeoutError

    await warmed(ask)
    monkeypatch.setattr(parts.catalogue, "models", none)
    await front._look(parts, 0.0)
    said = "Nothing is replayed while the models cannot be listed: no answer in time"
    assert said in [record.getMessage() for record in caplog.records]


async def test_a_later_answer_takes_the_place_of_the_one_before_in_every_dialect(ask: Ask, engine: FakeEngine) -> None:
    asked = {"/api/chat": HELLO, "/v1/messages": HELLO | {"max_tokens": 99}}
    for path, body in asked.items():
        await warmed(ask, body, path=path)
        assert (await ask(body, path)).is_replayed
    engine.pieces = ["five"]
    refreshed = await ask(HELLO, cache_control="no-cache")
    assert refreshed.headers["cache-status"] == "orchestrator; fwd=bypass; stored"
    for path, body in asked.items():
        for is_replayed in (False, True):
            reply = await ask(body, path)
            assert (b"five" in reply.body, reply.is_replayed) == (True, is_replayed)


async def test_what_was_found_before_a_purge_is_not_kept_after_it(
    ask: Ask, parts: Parts, front: ReplayFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(HELLO)
    keep = ReplayFront._keep
    kept: list[object] = []
    monkeypatch.setattr(ReplayFront, "_keep", lambda *given: (kept.append(given), keep(*given)))
    find = parts.cache.find

    async def purged_right_after(*given: Any) -> Any:
        hit = await find(*given)
        await asyncio.to_thread(parts.generation.bump)
        return hit

    monkeypatch.setattr(type(parts.cache), "find", lambda _, *given: purged_right_after(*given))
    assert "hit" in (await ask(HELLO)).headers["cache-status"]
    assert not kept


async def test_a_change_of_policy_sends_the_next_one_the_whole_way(ask: Ask, parts: Parts) -> None:
    await warmed(ask)
    await asyncio.to_thread(parts.generation.bump_policy)
    reply = await ask(HELLO)
    assert not reply.is_replayed
    assert "hit" in reply.headers["cache-status"]
    assert (await ask(HELLO)).is_replayed


def pass_time(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """So much that what is known of models is too old; who a caller is, is known for longer."""
    monkeypatch.setattr(type(parts.clock), "monotonic", lambda _: time.monotonic() + 61)


@pytest.mark.parametrize("change", [{"digest": "e" * 64}, {"edition": "2026-01-02"}])
async def test_a_model_that_changes_is_noticed(
    ask: Ask, parts: Parts, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    await warmed(ask)
    assert (await ask(HELLO)).is_replayed
    engine.model = replace(engine.model, **change)
    pass_time(parts, monkeypatch)
    reply = await ask(HELLO)
    assert not reply.is_replayed
    assert reply.headers["cache-status"].startswith("orchestrator; fwd=miss")


async def test_while_models_cannot_be_listed_nothing_is_replayed(
    ask: Ask, parts: Parts, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await warmed(ask)
    listed = engine.models

    async def hung() -> list[Any]:
        await asyncio.Event().wait()
        return []

    engine.models = hung  # type: ignore[method-assign]  # a store that does not answer
    monkeypatch.setattr(replay, "MODELS_S", 0.05)
    for _ in range(2):
        await asyncio.sleep(0.06)
        reply = await ask(HELLO)
        assert (reply.status, reply.is_replayed) == (200, False)
    assert caplog.text.count("Nothing is replayed") == 1
    engine.models = listed  # type: ignore[method-assign]
    monkeypatch.setattr(replay, "MODELS_S", 60.0)
    pass_time(parts, monkeypatch)
    await warmed(ask)
    assert (await ask(HELLO)).is_replayed


async def test_nobody_waits_for_models_that_are_slow_to_be_listed(
    ask: Ask, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "LOOK_S", 0.0)
    listed, gate, looks = engine.models, asyncio.Event(), []

    async def slow() -> list[Any]:
        looks.append("begun")
        await gate.wait()
        return await listed()

    engine.models = slow  # type: ignore[method-assign]
    async with asyncio.timeout(60):
        replies = [await ask(HELLO) for _ in range(3)]
    assert [(reply.status, reply.is_replayed) for reply in replies] == [(200, False)] * 3
    assert looks == ["begun"], "nor are they asked for by everybody"
    gate.set()
    await asyncio.sleep(0.01)
    await warmed(ask)
    assert (await ask(HELLO)).is_replayed


async def test_a_key_that_is_revoked_is_refused_and_each_tenant_has_its_own(ask: Ask, engine: FakeEngine) -> None:
    keys = {name: await asyncio.to_thread(issue_key, name, name) for name in ("acme", "globex")}
    for number, key in enumerate(keys.values(), 1):
        await warmed(ask, authorization=f"Bearer {key}")
        assert (await ask(HELLO, authorization=f"Bearer {key}")).is_replayed
        assert engine.calls == number, "tenants share nothing"
    assert (await ask(HELLO, x_api_key=keys["acme"])).status == 200

    def revoke() -> None:
        key = ApiKey.objects.of(EVERYBODY).get(name="acme")
        key.revoked_at = key.created_at
        key.save()

    await asyncio.to_thread(revoke)
    refused = await ask(HELLO, authorization=f"Bearer {keys['acme']}")
    assert (refused.status, refused.is_replayed) == (401, False)
    assert (await ask(HELLO, authorization=f"Bearer {keys['globex']}")).status == 200


async def test_records_of_two_keys_of_a_tenant_name_the_right_key(ask: Ask, recorded: Any) -> None:
    keys = [await asyncio.to_thread(issue_key, name, "acme") for name in ("one", "two")]
    for key in keys * 3:
        await ask(HELLO, authorization=f"Bearer {key}")
    records = await recorded(6)
    names = {key.pk: key.name for key in await asyncio.to_thread(lambda: list(ApiKey.objects.of(EVERYBODY)))}
    assert sorted(names[record.key_id] for record in records) == ["one"] * 3 + ["two"] * 3


@pytest.mark.parametrize(
    "headers",
    [
        {"cache_control": "no-cache"},
        {"cache_control": "no-store"},
        {"x_orchestrator_cache_namespace": "other"},
        {"x_orchestrator_tags": "other"},
        {"origin": "http://localhost:3000"},
        {"host": "127.0.0.1"},
        {"content_encoding": "identity"},
    ],
)
async def test_whatever_steers_an_answer_makes_it_another_request(ask: Ask, headers: dict[str, str]) -> None:
    await warmed(ask)
    assert (await ask(HELLO)).is_replayed
    assert not (await ask(HELLO, **headers)).is_replayed


async def test_a_max_age_is_kept_to(ask: Ask, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    await warmed(ask, cache_control="max-age=5")
    assert (await ask(HELLO, cache_control="max-age=5")).is_replayed
    now = parts.clock.now()
    monkeypatch.setattr(type(parts.clock), "now", lambda _: now + 6)
    assert "hit" not in (await ask(HELLO, cache_control="max-age=5")).headers["cache-status"]


async def test_web_pages_get_their_headers_again(ask: Ask) -> None:
    await warmed(ask, origin="http://localhost:3000")
    reply = await ask(HELLO, origin="http://localhost:3000")
    assert reply.is_replayed
    assert reply.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "Cache-Status" in reply.headers["access-control-expose-headers"]
    refused = await ask(HELLO, origin="http://evil.example")
    assert (refused.status, refused.is_replayed) == (403, False)


async def test_a_template_of_the_callers_own_is_never_replayed(ask: Ask, engine: FakeEngine) -> None:
    engine.model = replace(engine.model, takes=engine.model.takes | {"template"})
    asked = {"model": "tiny", "prompt": "hello", "template": "{{ currentDate }} {{ .Prompt }}", "stream": False}
    await warmed(ask, asked, "/api/generate")
    assert not (await ask(asked, "/api/generate")).is_replayed


async def test_what_is_said_twice_or_late_or_at_length_goes_the_whole_way(ask: Ask) -> None:
    await warmed(ask)
    assert (await ask(HELLO)).is_replayed
    assert not (await ask(HELLO, is_whole=False)).is_replayed
    assert not (await ask(HELLO, authorization=["Bearer a", "Bearer b"])).is_replayed
    assert not (await ask(HELLO, takes=False)).is_replayed
    long = HELLO | {"messages": [{"role": "user", "content": "x" * replay.LARGEST_QUESTION}]}
    await warmed(ask, long)
    assert not (await ask(long)).is_replayed


async def test_a_header_with_underscores_is_a_credential_to_nobody(ask: Ask) -> None:
    """Or the front, which does not read it, would answer for another tenant than Django."""
    misspelt = {"x_api_key": await asyncio.to_thread(issue_key, "acme", "acme")}
    await warmed(ask)
    assert (await ask(HELLO, as_they_are=misspelt)).is_replayed
    past_the_front = await ask(HELLO, is_whole=False, as_they_are=misspelt)
    assert not past_the_front.is_replayed
    assert "hit" in past_the_front.headers["cache-status"], "the tenant is the one without a key"


async def test_errors_and_other_pages_are_not_kept(ask: Ask, front: ReplayFront) -> None:
    for body, path in ((b"{", "/api/chat"), (HELLO | {"model": "none"}, "/api/chat"), (b"", "/api/tags")):
        for _ in range(3):
            assert not (await ask(body, path)).is_replayed
    for _ in range(3):
        assert not (await ask({"model": "tiny"}, "/api/chat")).is_replayed, "loading a model is no answer"


@pytest.mark.parametrize("path", ["/api/embed", "/api/embeddings", "/v1/embeddings"])
async def test_vectors_are_replayed_too(
    ask: Ask, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async def chat(*_: object) -> AsyncIterator[Chunk]:
        yield Chunk(vectors=(struct.pack("<2f", 3, 4),), done=Done(reason="stop", usage=Usage(prompt_tokens=2)))

    monkeypatch.setattr(engine, "chat", chat)
    engine.model = dataclasses.replace(engine.model, capabilities=frozenset({"embedding"}))
    body = {"model": "tiny", "input": "hello", "prompt": "hello"}
    first = await warmed(ask, body, path)
    again = await ask(body, path)
    assert again.is_replayed
    assert without_stamps(again.body) == without_stamps(first.body)
    assert b"0.6" in again.body or b"3.0" in again.body


@asynccontextmanager
async def measured() -> AsyncIterator[Callable[[], int]]:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield lambda: tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


async def test_what_is_kept_has_a_bound_in_bytes(ask: Ask, front: ReplayFront) -> None:
    for number in range(600):
        body = HELLO | {"messages": [{"role": "user", "content": f"{number}" * 500}]}
        await ask(body)
        await ask(body)
    assert 0 < front._kept.bytes <= 1024**2
    assert len(front._kept) < 600


@pytest.mark.parametrize(
    ("padding", "query", "header"),
    [("", "", ""), ("x" * 20_000, "", ""), ("", "x" * 20_000, ""), ("", "", "x" * 20_000)],
)
async def test_it_takes_what_it_says_however_long_a_question_is(
    ask: Ask, front: ReplayFront, engine: FakeEngine, parts: Parts, padding: str, query: str, header: str
) -> None:
    async def ask_each(numbers: range) -> None:
        for number in numbers:
            body = HELLO | {"options": {"seed": number}, "padding": padding}
            for _ in range(2):
                reply = await ask(body, query=f"{query}{number}", cache_control=f"note={header}{number}")
                assert reply.status == 200
        engine.asked.clear()

    async def said() -> int:
        return front._kept.bytes + sum(kept.bytes for kept in (await parts.cache.holding_here()).values())

    async with measured() as taken:
        await ask_each(range(50))  # what is made once
        front._kept.clear()
        before, said_before = taken(), await said()
        # More than there is room for: those that had to go are remembered.
        await ask_each(range(50, 500))
        assert len(front._kept) < 300
        assert 0.33 < (taken() - before) / (await said() - said_before) < 1.5


async def test_what_an_answer_is_said_to_take_is_about_what_it_takes(ask: Ask, front: ReplayFront) -> None:
    bodies = [HELLO | {"options": {"seed": number}} for number in range(100)]
    for body in bodies:
        await ask(body)
    async with measured() as taken:
        before = front._kept.bytes
        offers = [(await ask(body)).status for body in bodies]
        assert offers == [200] * 100
        said = front._kept.bytes - before
        assert 0.33 * said < taken() < 1.5 * said


async def limited(**fields: Any) -> None:
    await Limit.objects.acreate(**{"kind": "requests", "each": "all", "per_s": 31 * 86400, **fields})


@pytest.mark.parametrize("path", PATHS)
async def test_a_replay_counts_as_a_request_and_says_how_its_caller_stands(ask: Ask, path: str) -> None:
    await limited(name="few", amount=6)
    asked = {"model": "tiny", "max_tokens": 9, "stream": False}
    asked |= {"input": "hi"} if path == "/v1/responses" else HELLO if "chat" in path else {"prompt": "hi"}
    if path == "/v1/messages":
        asked["messages"] = HELLO["messages"]
    replies = [await ask(asked, path) for _ in range(7)]
    assert [reply.is_replayed for reply in replies] == [False, False, True, True, True, True, False]
    stands = [(reply.status, reply.headers["ratelimit"].split(";")[1]) for reply in replies]
    assert stands == [*((200, f"r={left}") for left in range(5, -1, -1)), (429, "r=0")]
    assert {reply.headers["ratelimit-policy"] for reply in replies} == {f'"few";q=6;w={31 * 86400}'}
    assert int(replies[-1].headers["retry-after"]) > 400_000


async def test_a_replay_that_cannot_be_charged_goes_the_whole_way(
    ask: Ask, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await limited(name="many", amount=1000)
    for _ in range(2):
        await ask(HELLO)
    assert (await ask(HELLO)).is_replayed
    monkeypatch.setattr(type(parts.limiter), "charge_at_once", lambda *_: None)
    reply = await ask(HELLO)
    assert (reply.status, reply.is_replayed) == (200, False)
    assert reply.headers["ratelimit"].startswith('"many";r=996;')


async def test_what_the_server_does_not_take_at_once_is_charged_once(ask: Ask) -> None:
    await limited(name="many", amount=1000)
    for _ in range(3):
        await ask(HELLO)
    assert (await ask(HELLO)).is_replayed
    reply = await ask(HELLO, takes=False)
    assert not reply.is_replayed
    assert reply.headers["ratelimit"].startswith('"many";r=995;')


async def test_a_limit_that_is_made_is_about_replays_at_once(ask: Ask) -> None:
    for _ in range(3):
        reply = await ask(HELLO)
    assert reply.is_replayed
    await limited(name="none", amount=0)
    assert (await ask(HELLO)).status == 429


@pytest.fixture
async def busy(parts: Parts) -> AsyncIterator[Callable[[], None]]:
    """Lets no call begin and one wait, which does; what it gives lets them all begin again."""
    gate = parts.gate
    gate.pace.look = lambda *_, **__: None  # type: ignore[method-assign]  # it is told, not found
    gate.pace.per_s, gate._most, gate._seats.most = 1e-9, 1, 1
    for _ in range(2):  # the first makes the tenant, which is a change of policy
        caller = await parts.identity.caller("", "")
    first = asyncio.create_task(gate.enter(caller.turn("", "")))
    while not gate.waiting:
        await asyncio.sleep(0)

    def calm() -> None:
        gate.pace.per_s = float("inf")

    yield calm
    calm()
    await first


@pytest.mark.parametrize("path", PATHS)
async def test_a_question_that_would_be_sent_away_is_so_here_in_the_same_words(
    ask: Ask, parts: Parts, busy: Callable[[], None], engine: FakeEngine, path: str
) -> None:
    body = {"model": "tiny", "prompt": "hello", "input": "hello", "messages": HELLO["messages"], "max_tokens": 9}
    body.pop("prompt" if path == "/v1/responses" else "unset", None)
    early = await ask(body, path, x_request_id="mine")
    late = await ask(body, path, x_request_id="mine", is_whole=False)
    assert (early.is_replayed, late.is_replayed) == (True, False)
    assert early.status == late.status == 503
    assert early.json() == late.json()
    assert early.headers == {name: value for name, value in late.headers.items() if name != "content-length"}
    assert int(early.headers["retry-after"]) >= 1
    assert engine.calls == 0
    assert parts.gate.refused["full"] == 2


async def test_hits_are_served_while_all_else_is_sent_away(ask: Ask, parts: Parts, recorded: Any) -> None:
    await warmed(ask)
    parts.gate.pace.per_s, parts.gate._seats.most = 1e-9, 0
    assert (await ask(HELLO)).is_replayed
    refused = await ask(HELLO | {"stream": True})
    assert (refused.status, refused.is_replayed) == (503, True)
    parts.metrics.hand_over()
    page, _ = await parts.metrics.page("")
    assert b'orchestrator_requests_total{dialect="ollama",outcome="busy",tier="none"} 1.0' in page
    assert len(await recorded(3)) == 3, "a flood does not fill the ledger"


async def test_who_would_be_sent_away_and_has_gone_costs_nothing_more(ask: Ask, parts: Parts, recorded: Any) -> None:
    await ask(HELLO)
    parts.gate.pace.per_s, parts.gate._seats.most = 1e-9, 0
    assert (await ask(HELLO | {"stream": True}, has_gone=True)).status == 0, "nobody goes the whole way to be refused"
    assert parts.gate.refused["full"] == 1
    assert len(await recorded(1)) == 1


async def test_a_page_of_another_origin_is_told_in_a_way_it_may_read(ask: Ask, parts: Parts) -> None:
    parts.gate.pace.per_s, parts.gate._seats.most = 1e-9, 0
    refused = await ask(HELLO, origin="http://localhost:3000")
    assert (refused.status, refused.is_replayed) == (503, False)
    assert refused.headers["access-control-allow-origin"] == "http://localhost:3000"


async def test_who_waited_is_told_how_long(ask: Ask, parts: Parts, busy: Callable[[], None], recorded: Any) -> None:
    parts.gate._seats.most = 2
    asking = asyncio.create_task(ask(HELLO))
    while parts.gate.waiting < 2:
        await asyncio.sleep(0)
    busy()
    reply = await asking
    assert reply.status == 200
    assert "queue;dur=" in reply.headers["server-timing"]
    assert "queue" not in (await ask(HELLO | {"stream": True})).headers["server-timing"]


async def test_what_is_replayed_needs_no_task_and_no_server_of_ours(ask: Ask, front: ReplayFront) -> None:
    await warmed(ask)
    for has_server in (True, False):
        assert (await ask(HELLO, has_server=has_server)).is_replayed
