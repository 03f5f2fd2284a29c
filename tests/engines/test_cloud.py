"""The cloud engine against a provider that misbehaves in every way it knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import httpx
import pytest

from orchestrator.core.clock import Clock
from orchestrator.core.errors import (
    BadRequest,
    EngineError,
    EngineTimeout,
    ModelNotFound,
    OrchestratorError,
    RateLimited,
)
from orchestrator.core.presets import OPENAI
from orchestrator.core.types import ChatRequest, Message, Model, Reply, ReplyBuilder, ToolCall
from orchestrator.engines import listing
from orchestrator.engines.cloud import CloudEngine, Deadlines
from orchestrator.engines.remote import retry_after
from orchestrator.engines.wires.base import Offer
from orchestrator.engines.wires.openai import Mistral, OpenAI, to_wire
from orchestrator.outbound.connection import Connection
from orchestrator.wiring import connect
from tests.engines.deadlines import DEADLINES, deadlines_for
from tests.fakes import SetClock
from tests.provider import Provider

MOST_BYTES = 200_000
OFFER = Offer(name="m")


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = await Provider().start()
    yield provider
    await provider.stop()


def engine_at(address: str, key: str, wire: OpenAI | None = None) -> CloudEngine:
    wire = wire or OpenAI()
    connection = connect(address, key, DEADLINES, wire)
    return CloudEngine("openai", connection, DEADLINES, Clock(), MOST_BYTES, wire, OPENAI)


@pytest.fixture
async def engine(provider: Provider) -> AsyncIterator[CloudEngine]:
    engine = engine_at(provider.address, "sk-test")
    yield engine
    await engine.aclose()


def question(**fields: object) -> ChatRequest:
    return ChatRequest(model="openai/x", messages=(Message(role="user", content="hi"),), **fields)  # type: ignore[arg-type]


async def ask(engine: CloudEngine, behaviour: str, *begun: Message) -> Reply:
    model = await engine.find(f"openai/{behaviour}")
    assert model is not None
    builder = ReplyBuilder(model.name)
    asked = question()
    asked = replace(asked, messages=(*asked.messages, *begun))
    async with aclosing(engine.chat(asked, model)) as chunks:
        async for chunk in chunks:
            builder.add(chunk)
    reply = builder.reply()
    assert reply is not None
    return reply


@pytest.mark.parametrize("behaviour", ["good", "crlf", "bytewise", "after_end"])
async def test_a_good_answer_is_read_however_it_is_cut_into_packets(engine: CloudEngine, behaviour: str) -> None:
    reply = await ask(engine, behaviour)
    assert reply.text == "Paris é🎈"
    assert reply.done.reason == "stop"
    assert (reply.done.usage.prompt_tokens, reply.done.usage.completion_tokens) == (11, 2)
    assert reply.done.usage.prompt_ns > 0


async def test_what_was_begun_is_not_heard_again_from_who_says_it_again(provider: Provider) -> None:
    for wire, text in ((Mistral(), " é🎈"), (OpenAI(), "Paris é🎈")):
        engine = engine_at(provider.address, "sk-test", wire)
        reply = await ask(engine, "good", Message(role="assistant", content="Paris"))
        assert (reply.text, reply.done.usage.completion_tokens) == (text, 2)
        await engine.aclose()


async def test_thinking_tools_and_length_come_through(engine: CloudEngine) -> None:
    assert (await ask(engine, "thinks")).thinking == "Hm."
    assert (await ask(engine, "tools")).tool_calls == (
        ToolCall(id="call_1", name="weather", arguments={"city": "Rome"}),
    )
    assert (await ask(engine, "length")).done.reason == "length"


async def test_without_a_sane_count_bytes_are_counted(engine: CloudEngine) -> None:
    assert (await ask(engine, "no_usage")).done.usage.completion_tokens == 3
    assert (await ask(engine, "no_usage")).done.usage.is_estimated
    assert not (await ask(engine, "good")).done.usage.is_estimated
    absurd = (await ask(engine, "absurd_usage")).done.usage
    assert (absurd.prompt_tokens, absurd.completion_tokens) == (0, 3)


@pytest.mark.parametrize(
    ("behaviour", "error", "said"),
    [
        ("400", BadRequest, "openai refused the request: no, 400"),
        ("401", EngineError, "refused our key"),
        ("404", ModelNotFound, "openai does not have openai/404"),
        ("429", EngineError, "HTTP 429"),
        ("500", EngineError, "HTTP 500"),
        ("503", EngineError, "HTTP 503"),
        ("no_address", EngineError, r"has no such address \(HTTP 404\); is OPENAI_BASE_URL right"),
        ("html", EngineError, "sent a page in place of an answer; is OPENAI_BASE_URL right"),
        ("silent", EngineTimeout, r"did not answer within 0.5 s \(ORCHESTRATOR_FIRST_TOKEN_TIMEOUT_S\)"),
        ("headers_only", EngineTimeout, r"did not (begin to )?answer within 0.5 s .ORCHESTRATOR_FIRST_TOKEN_TIMEOUT_S"),
        ("stall", EngineTimeout, r"sent nothing more within 0.5 s \(ORCHESTRATOR_TOKEN_TIMEOUT_S\)"),
        ("truncated", EngineError, "broke off before its end"),
        ("reset", EngineError, "The connection to openai broke off"),
        ("garbage", EngineError, "not JSON"),
        ("error_inside", EngineError, "overloaded"),
        ("odd_shape", EngineError, "not text"),
        ("endless_line", EngineError, "cut off"),
        ("endless", EngineError, "cut off"),
        ("bad_tools", EngineError, "not a JSON object"),
        ("odd_index", EngineError, "unknown shape"),
    ],
)
async def test_a_fault_of_the_provider_is_an_error_and_never_an_answer(
    engine: CloudEngine, behaviour: str, error: type[OrchestratorError], said: str
) -> None:
    engine._deadlines = deadlines_for(behaviour)
    with pytest.raises(error, match=said):
        await ask(engine, behaviour)


async def test_a_provider_that_wants_fewer_requests_says_when_to_come_back(engine: CloudEngine) -> None:
    with pytest.raises(RateLimited) as refused:
        await ask(engine, "429")
    assert (refused.value.status, refused.value.retry_after_s) == (429, 7)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0", 1),
        ("999999999", 3600),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("1.7", 1.7),
        ("20s", 20),
        ("2.5 s", 2.5),
        ("0.2", 1),
        ("7200.5s", 3600),
        ("nan", None),
        ("inf", None),
        ("9" * 400, None),
        ("1e3", None),
        ("1_0", None),
        ("٧", None),
        ("s", None),
        (".", None),
        ("20ss", None),
        ("Wed, 21 Oct 2015 07:28:00 +99999999999999999999", None),
    ],
)
def test_retry_after_is_read_in_every_form(header: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": header}) == seconds


@pytest.mark.parametrize(
    ("exact", "header", "seconds"),
    [
        ("1700", "2", 1.7),
        ("1700.5", "", 1.7005),
        ("20", "30", 1),
        ("99999999", "", 3600),
        ("soon", "30", 30),
        ("-5", "20s", 20),
        ("1700ms", "", None),
    ],
)
def test_milliseconds_go_before_seconds(exact: str, header: str, seconds: float | None) -> None:
    assert retry_after(httpx.Headers({"retry-after-ms": exact, "retry-after": header})) == seconds


async def test_a_filtered_answer_is_not_called_complete(engine: CloudEngine) -> None:
    assert (await ask(engine, "filtered")).done.reason == "content_filter"


async def test_logprobs_come_through(engine: CloudEngine) -> None:
    (token,) = (await ask(engine, "logprobs")).logprobs
    assert (token.token, token.logprob, token.bytes) == ("Par", -0.5, (80, 97, 114))
    assert [(other.token, other.logprob) for other in token.top] == [("par", -2.5)]


async def test_a_provider_that_is_not_there_is_an_error() -> None:
    engine = engine_at("http://127.0.0.1:9/v1", "")
    with pytest.raises(EngineError, match="could not be reached"):
        await ask(engine, "good")
    assert await engine.models() == []
    await engine.aclose()


async def test_the_models_it_lists_are_found_under_our_names(engine: CloudEngine) -> None:
    assert [model.name for model in await engine.models()] == ["openai/good", "openai/Big/One"]
    found = await engine.find("OpenAI/big/one")
    assert found is not None
    assert (found.name, found.remote_name, found.is_paid) == ("openai/Big/One", "Big/One", True)
    assert await engine.find("good") is None
    assert await engine.find("mistral/good") is None
    assert await engine.find("openai/" + "x" * 248)
    assert await engine.find("openai/" + "x" * 249) is None


async def test_names_that_could_pass_for_others_are_not_listed() -> None:
    listed = ["good", "go\u043ed", "goo\u202ed", "\x1b[2Jgood", "good\n"]
    transport = httpx.MockTransport(
        lambda request: httpx.Response(200, json={"data": [{"id": name} for name in listed]})
    )
    connection = Connection("http://localhost", {}, httpx.Timeout(1), transport)
    engine = CloudEngine("openai", connection, DEADLINES, Clock(), MOST_BYTES, OpenAI(), OPENAI)
    assert [model.name for model in await engine.models()] == ["openai/good"]
    assert await engine.find("openai/go\u043ed") is None
    await engine.aclose()


async def test_that_it_does_not_list_its_models_is_said_when_that_changes(
    engine: CloudEngine, provider: Provider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listing, "FRESH_S", 0.0)
    monkeypatch.setattr(listing, "RETRY_S", 0.0)
    for way in ("500", "html", "500", "good", "good"):
        provider.listing = way
        engine.look()
        assert engine._listing._looking
        await engine._listing._looking
    assert [record.getMessage() for record in caplog.records] == [
        "openai did not list its models: openai answered HTTP 500: no, 500: Bearer …",
        "openai lists its models again",
    ]


async def test_closing_the_answer_closes_the_connection(engine: CloudEngine, provider: Provider) -> None:
    model = Model(name="openai/slow", digest="", engine="openai", remote_name="slow")
    chunks = engine.chat(question(), model)
    assert (await anext(chunks)).text == "Par"
    await chunks.aclose()
    async with asyncio.timeout(60):
        while not provider.hung_up:
            await asyncio.sleep(0.01)


async def test_a_connection_is_used_again(engine: CloudEngine, provider: Provider) -> None:
    for _ in range(5):
        await ask(engine, "good")
    assert len(provider.connections) == 1


async def test_the_key_goes_to_the_provider_and_the_question_arrives(engine: CloudEngine, provider: Provider) -> None:
    await ask(engine, "good")
    assert provider.keys == ["Bearer sk-test"]
    assert provider.asked == [
        {
            "model": "good",
            "messages": [{"role": "user", "content": "hi"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


def test_only_what_the_caller_set_is_sent() -> None:
    wire = to_wire(
        question(
            options={"num_predict": 5, "temperature": 0.0, "top_k": 3, "stop": ["x"]},
            format={"type": "object"},
            think="max",
            logprobs=True,
            top_logprobs=2,
        ),
        OFFER,
    )
    assert (wire["max_tokens"], wire["temperature"], wire["stop"]) == (5, 0.0, ["x"])
    assert "top_k" not in wire
    assert wire["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert (wire["reasoning_effort"], wire["logprobs"], wire["top_logprobs"]) == ("high", True, 2)
    assert "max_tokens" not in to_wire(question(options={"num_predict": -1}), OFFER)


def test_a_conversation_with_tools_and_pictures_is_sent_as_the_provider_has_it() -> None:
    request = ChatRequest(
        model="openai/x",
        messages=(
            Message(role="user", content="What is it?", images=("iVBORw0KGgo=",)),
            Message(role="assistant", tool_calls=(ToolCall(id="call_1", name="look", arguments={"at": "it"}),)),
            Message(role="tool", content="a cat", tool_call_id="call_1"),
        ),
    )
    user, assistant, tool = to_wire(request, OFFER)["messages"]
    assert user["content"][1] == {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    assert assistant["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at": "it"}'}
    assert tool == {"role": "tool", "content": "a cat", "tool_call_id": "call_1"}


def test_tools_without_ids_are_given_some_that_match() -> None:
    request = ChatRequest(
        model="openai/x",
        messages=(
            Message(
                role="assistant",
                tool_calls=(ToolCall(id="", name="a", arguments={}), ToolCall(id="", name="b", arguments={})),
            ),
            Message(role="tool", content="B", tool_name="b"),
            Message(role="tool", content="A", tool_name="a"),
        ),
    )
    assistant, b, a = to_wire(request, OFFER)["messages"]
    first, second = (call["id"] for call in assistant["tool_calls"])
    assert (a["tool_call_id"], b["tool_call_id"]) == (first, second)
    assert first != second


def test_an_answer_that_names_no_tool_belongs_to_the_first_open_call() -> None:
    calls = (ToolCall(id="x", name="a", arguments={}), ToolCall(id="", name="b", arguments={}))
    request = ChatRequest(
        model="openai/x",
        messages=(
            Message(role="assistant", tool_calls=calls),
            Message(role="tool", content="A"),
            Message(role="tool", content="B"),
        ),
    )
    assistant, a, b = to_wire(request, OFFER)["messages"]
    assert [call["id"] for call in assistant["tool_calls"]] == [a["tool_call_id"], b["tool_call_id"]]
    assert a["tool_call_id"] == "x"


async def test_an_error_names_the_limit_that_was_hit(provider: Provider) -> None:
    deadlines = Deadlines(connect_s=2, first_token_s=5, token_s=5, answer_s=0.3)
    wire = OpenAI()
    connection = connect(provider.address, "", DEADLINES, wire)
    engine = CloudEngine("openai", connection, deadlines, Clock(), MOST_BYTES, wire, OPENAI)
    for behaviour in ("stall", "headers_only"):
        with pytest.raises(EngineTimeout, match=r"did not finish within 0.3 s \(ORCHESTRATOR_ANSWER_TIMEOUT_S\)"):
            await ask(engine, behaviour)
    await engine.aclose()


async def test_to_its_first_word_the_wait_for_the_head_counts_as_well() -> None:
    clock = SetClock()
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        clock.pass_(patient.first_token_s)  # which the head takes
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await over.wait()
        writer.close()

    patient = replace(DEADLINES, first_token_s=10, answer_s=20)
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        wire = OpenAI()
        connection = connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "", patient, wire)
        engine = CloudEngine("openai", connection, patient, clock, MOST_BYTES, wire, OPENAI)
        async with asyncio.timeout(patient.first_token_s / 2):
            with pytest.raises(EngineTimeout, match="did not begin to answer within 10 s"):
                await ask(engine, "good")
        over.set()
        await engine.aclose()
