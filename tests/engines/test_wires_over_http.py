"""Every wire, through the one engine, against a server of its API that behaves in every way it knows."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from typing import Any

import anthropic
import httpx
import ollama
import openai
import pytest

from orchestrator.core.clock import Clock
from orchestrator.core.errors import (
    BadRequest,
    ContextTooLong,
    EngineError,
    EngineTimeout,
    EngineUnavailable,
    EngineUnreachable,
    KeyRefused,
    ModelNotFound,
    OrchestratorError,
    RateLimited,
    Unsupported,
)
from orchestrator.core.presets import BY_NAME
from orchestrator.core.prices import Price
from orchestrator.core.types import ChatRequest, Message, Reply, ReplyBuilder, ToolCall
from orchestrator.engines import listing
from orchestrator.engines.cloud import CloudEngine
from orchestrator.engines.wires import WIRES
from orchestrator.outbound.connection import MOST_URLS, Connection
from orchestrator.wiring import connect
from tests.engines.deadlines import DEADLINES, deadlines_for
from tests.fakes import SetClock
from tests.provider import Provider
from tests.speeches import GOOD, KEY, SPEECHES, Speech, SpeechServer, sse

TEXT = "".join(GOOD)
CONVERSATION = (
    Message(role="system", content="Be brief."),
    Message(role="user", content="What is it?", images=("iVBORw0KGgo=",)),
    Message(role="assistant", tool_calls=(ToolCall(id="", name="look", arguments={"at": "it"}),) * 2),
    Message(role="tool", content="a cat", tool_name="look"),
    Message(role="tool", content="a dog", tool_name="look"),
    Message(role="user", content="So?"),
)


@pytest.fixture(params=SPEECHES, ids=lambda speech: speech.name)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[SpeechServer]:
    server = await SpeechServer(request.param).start()
    yield server
    await server.stop()


def engine_for(speech: Speech, address: str, key: str = KEY, clock: Clock | None = None, **fields: Any) -> CloudEngine:
    provider = BY_NAME[speech.name]
    wire = WIRES[provider.wire]()
    connection = connect(address, key, DEADLINES, wire)
    return CloudEngine(provider.name, connection, DEADLINES, clock or Clock(), 200_000, wire, provider, **fields)


@pytest.fixture
async def engine(server: SpeechServer) -> AsyncIterator[CloudEngine]:
    engine = engine_for(server.speech, server.address)
    yield engine
    await engine.aclose()


async def ask(engine: CloudEngine, behaviour: str, **fields: object) -> Reply:
    model = await engine.find(f"{engine.name}/{behaviour}")
    assert model is not None
    fields = fields or {"messages": (Message(role="user", content="hi"),)}
    builder = ReplyBuilder(model.name)
    request = ChatRequest(model=model.name, **fields)  # type: ignore[arg-type]  # fields of it
    async with aclosing(engine.chat(request, model)) as chunks:
        async for chunk in chunks:
            assert not builder.is_complete
            builder.add(chunk)
    reply = builder.reply()
    assert reply is not None
    return reply


@pytest.mark.parametrize("behaviour", ["good", "bytewise", "crlf"])
async def test_a_good_answer_is_read_however_it_is_cut_into_packets(engine: CloudEngine, behaviour: str) -> None:
    reply = await ask(engine, behaviour)
    assert (reply.text, reply.done.reason) == (TEXT, "stop")
    usage = reply.done.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.is_estimated) == (11, 2, False)
    assert usage.prompt_ns > 0


async def test_what_a_provider_tells_of_money_comes_with_the_end(engine: CloudEngine) -> None:
    cost = (await ask(engine, "good")).done.usage.cost_microusd
    assert cost == (123 if engine.name == "openrouter" else None)
    (model,) = await engine.models()
    assert model.price == (Price(input=Decimal(2), output=Decimal("8.5")) if engine.name == "openrouter" else None)


async def test_what_it_tells_before_the_end_goes_with_the_next_piece(engine: CloudEngine) -> None:
    model = await engine.find(f"{engine.name}/stall")  # half an answer
    assert model
    request = ChatRequest(model=model.name, messages=(Message(role="user", content="hi"),))
    async with aclosing(engine.chat(request, model)) as chunks:
        first = await anext(chunks)
    assert first.text
    assert (first.usage.prompt_tokens if first.usage else 0) == (11 if engine.name in {"anthropic", "gemini"} else 0)


async def test_what_an_operator_adds_goes_with_each_question_and_never_in_place_of_it(server: SpeechServer) -> None:
    its_own = {"safetySettings" if server.speech.name == "gemini" else "provider": [{"order": ["a"]}]}
    for _ in range(2):
        said = dict.fromkeys(server.asked[0][1] if server.asked else (), "something else")
        engine = engine_for(server.speech, server.address, extra_body=said | its_own)
        assert (await ask(engine, "good")).text == TEXT
        await engine.aclose()
    first, second = (body for _, body in server.asked)
    assert first == second
    assert its_own.items() <= first.items()


async def test_another_routing_is_another_model(server: SpeechServer) -> None:
    digests = []
    for extra in ({}, {"provider": {"order": ["a", "b"], "x": 1}}, {"provider": {"order": ["b", "a"], "x": 1}}):
        engine = engine_for(server.speech, server.address, extra_body=extra)
        digests.append([model.digest for model in await engine.models()])
        await engine.aclose()
    assert len({digest for (digest,) in digests}) == 3
    engine = engine_for(server.speech, server.address, extra_body={"provider": {"x": 1, "order": ["a", "b"]}})
    assert [model.digest for model in await engine.models()] == digests[1]
    await engine.aclose()


async def test_thinking_tools_and_ends_come_through(engine: CloudEngine) -> None:
    thought = await ask(engine, "thinks")
    assert (thought.thinking, thought.text) == ("Hm.", TEXT)
    called = await ask(engine, "tools")
    assert [(call.name, call.arguments) for call in called.tool_calls] == [("weather", {"city": "Rome"}), ("time", {})]
    assert len({call.id for call in called.tool_calls}) == 2
    assert called.done.reason == "stop"
    assert (await ask(engine, "length")).done.reason == "length"


async def test_a_filtered_answer_is_not_called_complete(engine: CloudEngine) -> None:
    if engine.name != "ollama":  # which has no word for it
        assert (await ask(engine, "filter")).done.reason == "content_filter"


async def test_a_conversation_with_tools_and_pictures_is_one_the_api_takes(
    engine: CloudEngine, server: SpeechServer
) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    schema = {"type": "object", "properties": {"animal": {"type": "string"}}, "required": ["animal"]}
    reply = await ask(engine, "good", messages=CONVERSATION, tools=(tool,), format=schema, think="high")
    assert reply.text == TEXT
    assert len(server.asked) == 1


async def test_without_a_sane_count_bytes_are_counted(engine: CloudEngine) -> None:
    for behaviour in ("no_usage", "absurd_usage"):
        usage = (await ask(engine, behaviour)).done.usage
        assert (usage.prompt_tokens, usage.completion_tokens) == (0, 3)
        assert (usage.is_estimated, usage.is_implausible) == (True, False)


async def test_who_charges_is_believed_and_doubted_where_the_count_cannot_be(engine: CloudEngine) -> None:
    usage = (await ask(engine, "great_usage")).done.usage
    seen = (usage.prompt_tokens, usage.completion_tokens, usage.is_estimated, usage.is_implausible)
    charges = engine.name != "ollama"
    assert seen == ((2_000_000_000, 2_000_000_000, False, True) if charges else (0, 3, True, False))


@pytest.mark.parametrize(
    ("behaviour", "error", "said"),
    [
        ("400", BadRequest, "refused the request: no, 400"),
        ("413", ContextTooLong, "refused the request: no, 413"),
        ("too_long", ContextTooLong, "refused the request: prompt is too long"),
        ("401", KeyRefused, "refused our key .* check [A-Z_]+_KEY"),
        ("402", EngineError, r"wants to be paid first \(HTTP 402\); ask your operator .*: no, 402"),
        ("403", EngineError, r"refused this to us \(HTTP 403\): no, 403"),
        ("404", ModelNotFound, "does not have .*404.*: no, 404"),
        ("429", RateLimited, "HTTP 429: no, 429"),
        ("500", EngineUnavailable, "HTTP 500: no, 500"),
        ("503", EngineUnavailable, "HTTP 503: no, 503"),
        ("529", EngineUnavailable, "HTTP 529: no, 529"),
        ("html", EngineError, "sent a page in place of an answer"),
        ("silent", EngineTimeout, r"did not answer within 0.5 s \(ORCHESTRATOR_FIRST_TOKEN_TIMEOUT_S\)"),
        ("headers_only", EngineTimeout, r"did not (begin to )?answer within 0.5 s .ORCHESTRATOR_FIRST_TOKEN_TIMEOUT_S"),
        ("stall", EngineTimeout, r"sent nothing more within 0.5 s \(ORCHESTRATOR_TOKEN_TIMEOUT_S\)"),
        ("hangup", EngineError, "broke off: ReadError"),
        ("truncated", EngineError, "broke off before its end"),
        ("reset", EngineError, "broke off"),
        ("garbage", EngineError, "not JSON"),
        ("error_inside", EngineError, "broke off: overloaded"),
        ("error_first", EngineError, "broke off: overloaded"),
        ("endless_line", EngineError, "cut off"),
    ],
)
async def test_a_fault_of_the_provider_is_an_error_and_never_an_answer(
    engine: CloudEngine, behaviour: str, error: type[OrchestratorError], said: str
) -> None:
    engine._deadlines = deadlines_for(behaviour)
    with pytest.raises(error, match=said):
        await ask(engine, behaviour)


async def test_comments_are_no_beginning_of_an_answer(engine: CloudEngine) -> None:
    engine._deadlines = deadlines_for("comments")
    async with asyncio.timeout(60):
        with pytest.raises(EngineTimeout, match=r"did not (begin to )?answer within 0.5 s"):
            await ask(engine, "comments")


async def test_who_is_asked_to_come_back_is_told_when(engine: CloudEngine) -> None:
    with pytest.raises(EngineError) as busy:
        await ask(engine, "503")
    assert busy.value.retry_after_s == 7
    with pytest.raises(RateLimited) as limited:
        await ask(engine, "429")
    assert limited.value.retry_after_s == (34.5 if engine.name == "gemini" else None)


async def test_a_refusal_without_its_body_is_not_waited_for(engine: CloudEngine) -> None:
    async with asyncio.timeout(60):
        with pytest.raises(EngineError, match=r"HTTP 503\.") as refused:
            await ask(engine, "mute")
    assert refused.value.retry_after_s == 7


async def test_a_refusal_of_many_words_keeps_its_status(engine: CloudEngine) -> None:
    with pytest.raises(RateLimited, match="HTTP 429: no, and no") as refused:
        await ask(engine, "verbose")
    assert refused.value.retry_after_s == 7


async def test_what_is_packed_is_not_unpacked(engine: CloudEngine, server: SpeechServer) -> None:
    with pytest.raises(EngineError, match="packed its answer"):
        await ask(engine, "packed")
    with pytest.raises(EngineError, match=r"HTTP 503\.$"):
        await ask(engine, "packed_refusal")
    assert server.encodings == ["identity", "identity"]


async def test_its_models_are_listed_with_what_they_can_do(engine: CloudEngine) -> None:
    (model,) = await engine.models()
    assert model.name == ("ollama/good:latest" if engine.name == "ollama" else f"{engine.name}/good")
    assert model.context_length == 8192
    assert {"completion", "tools", "vision", "thinking"} == model.capabilities
    assert await engine.find(f"{engine.name.upper()}/GOOD") == model
    assert model.is_paid == (engine.name != "ollama")


async def test_the_first_who_asks_for_a_model_waits_for_what_the_list_tells(
    engine: CloudEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "GLANCE_S", 20.0)  # the machine may be busy
    model = await engine.find(f"{engine.name}/good")
    assert model is not None
    assert model.context_length == (0 if engine.name == "openai" else 8192)  # whose list mostly tells nothing


async def test_a_list_that_does_not_come_is_waited_for_once_and_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "DEADLINE_S", 60.0)
    speech = next(speech for speech in SPEECHES if speech.name == "ollama")
    provider = await Provider(speech=speech, listing="silent").start()
    clock = SetClock()
    engine = engine_for(speech, provider.address, clock=clock)
    async with asyncio.timeout(60):
        guessed = await asyncio.gather(*(engine.find("ollama/good") for _ in range(3)))
        clock.pass_(listing.GLANCE_S)
        monkeypatch.setattr(listing, "GLANCE_S", 60.0)
        guessed.append(await engine.find("ollama/good"))
        assert {model and model.context_length for model in guessed} == {0}
        provider.let_go()
        (listed,) = await engine.models()
        assert await engine.find("ollama/good") == listed
    assert listed.context_length == 8192
    await engine.aclose()
    await provider.stop()


async def test_vectors_come_in_order_however_many(engine: CloudEngine, server: SpeechServer) -> None:
    inputs = tuple("x" * length for length in range(1, 251))
    if server.speech.vectors({"input": [], "requests": []}) is None:
        with pytest.raises(Unsupported):
            await ask(engine, "embed", inputs=inputs)
        return
    reply = await ask(engine, "embed", inputs=inputs)
    assert [struct.unpack("<2f", vector)[0] for vector in reply.vectors] == list(range(1, 251))
    assert reply.done.usage.prompt_tokens == 4 * len(server.asked)


async def test_the_key_is_sent_in_a_header_and_said_nowhere(
    server: SpeechServer, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_for(server.speech, server.address)
    await engine.models()
    await ask(engine, "good")
    assert server.paths
    assert KEY not in "".join(server.paths)
    await engine.aclose()
    wrong = engine_for(server.speech, server.address, "a-wrong-key")
    with pytest.raises(EngineError) as refused:
        await ask(wrong, "good")
    assert await wrong.models() == []
    assert BY_NAME[server.speech.name].key_variables[0] in str(refused.value)
    assert "a-wrong-key" not in str(refused.value) + caplog.text
    await wrong.aclose()


async def test_a_key_that_the_provider_repeats_is_taken_out(engine: CloudEngine) -> None:
    with pytest.raises(EngineError, match=r"HTTP 500: What is .*…") as told:
        await ask(engine, "tells")
    assert KEY not in str(told.value)


async def test_a_key_that_is_repeated_within_an_answer_is_taken_out(engine: CloudEngine) -> None:
    with pytest.raises(EngineError, match=r"broke off: What is .*…") as told:
        await ask(engine, "tells_inside")
    assert KEY not in str(told.value)


@pytest.mark.parametrize("form", ["at", "raw"])
@pytest.mark.parametrize("length", [280, 295, 560, 595])
async def test_no_part_of_a_key_is_left_where_words_are_cut(engine: CloudEngine, form: str, length: int) -> None:
    with pytest.raises(EngineError, match="HTTP 500: xxx") as told:
        await ask(engine, f"{form}{length}")
    assert KEY[:2] not in str(told.value)
    assert len(str(told.value)) <= 600


async def test_callers_names_of_models_take_no_memory() -> None:
    connection = Connection("http://localhost", {}, httpx.Timeout(5), Cut(b""))
    for number in range(2 * MOST_URLS):
        await connection.send("GET", str(number))
    assert len(connection._urls) <= MOST_URLS


async def test_a_model_that_changed_under_its_name_is_another_one(engine: CloudEngine) -> None:
    (old,) = await engine.models()
    new = replace(engine._listing.offer("good"), version="new")
    assert (
        engine._listing.model(engine._listing.offer("good")).digest == old.digest != engine._listing.model(new).digest
    )


QUESTION: list[Any] = [{"role": "user", "content": "hi"}]


async def _by_anthropic(address: str) -> str:
    # The client of today sends its key as a bearer's; the API is documented to take it in this header.
    client = anthropic.AsyncAnthropic(base_url=address, api_key="unused", default_headers={"x-api-key": KEY})
    async with client, client.messages.stream(model="good", max_tokens=9, messages=QUESTION) as stream:
        return await stream.get_final_text()


async def _by_openai(address: str) -> str:
    async with openai.AsyncOpenAI(base_url=address, api_key=KEY) as client:
        chunks = await client.chat.completions.create(model="good", messages=QUESTION, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])


async def _by_ollama(address: str) -> str:
    client = ollama.AsyncClient(address, headers={"Authorization": f"Bearer {KEY}"})
    async with client._client:
        parts = await client.chat("good", QUESTION, stream=True)
        return "".join([part.message.content or "" async for part in parts])


@pytest.mark.parametrize("read", [_by_anthropic, _by_openai, _by_ollama])
async def test_the_vendors_own_clients_read_what_these_servers_say(read: Callable[[str], Awaitable[str]]) -> None:
    (speech,) = (speech for speech in SPEECHES if read.__name__.endswith(speech.name))
    server = await SpeechServer(speech).start()
    try:
        assert await read(server.address) == TEXT
    finally:
        await server.stop()


@pytest.mark.parametrize("speech", SPEECHES, ids=lambda speech: speech.name)
async def test_a_server_that_is_not_there_says_what_to_set(speech: Speech) -> None:
    engine = engine_for(speech, "http://127.0.0.1:9")
    variable = BY_NAME[speech.name].address_variable
    with pytest.raises(EngineUnreachable, match=f"could not be reached: is {variable} right"):
        await ask(engine, "good")
    await engine.aclose()


class Cut(httpx.AsyncBaseTransport):
    """Answers with a body that ends too early, as a connection does that is closed."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=self.body if request.method == "POST" else b"{}")


@pytest.mark.parametrize("speech", SPEECHES, ids=lambda speech: speech.name)
async def test_an_answer_cut_at_any_byte_is_whole_or_an_error(speech: Speech) -> None:
    whole = b"".join(speech.answer(thinking="Hm.", calls=[("weather", {"city": "Rome"})]))
    provider = BY_NAME[speech.name]
    transport = Cut(b"")
    wire = WIRES[provider.wire]()
    connection = Connection("http://localhost", {}, httpx.Timeout(5), transport)
    engine = CloudEngine(provider.name, connection, DEADLINES, Clock(), 200_000, wire, provider)
    complete = 0
    for length in range(len(whole) + 1):
        transport.body = whole[:length]
        try:
            reply = await ask(engine, "good")
        except EngineError:
            continue
        complete += 1
        assert (reply.thinking, reply.text) == ("Hm.", TEXT)
        assert [(call.name, call.arguments) for call in reply.tool_calls] == [("weather", {"city": "Rome"})]
    # Only what says nothing may be missing: the end of a line, counts, the word that it is over.
    assert 1 <= complete <= len(whole) - len(b"".join(speech.answer(thinking="Hm.", calls=[("weather", {})])[:-3]))
    await engine.aclose()


async def test_the_last_words_of_gemini_are_told_without_the_key() -> None:
    (speech,) = (speech for speech in SPEECHES if speech.name == "gemini")
    last = {"candidates": [{"finishReason": "OTHER", "finishMessage": "x" * 290 + KEY}]}
    wire, provider = WIRES["gemini"](), BY_NAME["gemini"]
    body = speech.answer()[0] + sse(last)
    connection = Connection("http://localhost", {}, httpx.Timeout(5), Cut(body), KEY)
    engine = CloudEngine("gemini", connection, DEADLINES, Clock(), 200_000, wire, provider)
    with pytest.raises(EngineError, match="gave up with OTHER: xxx") as told:
        await ask(engine, "good")
    assert KEY[:2] not in str(told.value)
    await engine.aclose()
