"""Vectors, from the embedded model and from providers."""

from __future__ import annotations

import asyncio
import math
import struct
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest

from orchestrator.core.clock import Clock
from orchestrator.core.errors import BadRequest, EngineError, EngineTimeout, ModelNotFound, RateLimited
from orchestrator.core.presets import OPENAI
from orchestrator.core.types import ChatRequest, Message, Model, Reply, ReplyBuilder
from orchestrator.engines.base import Engine
from orchestrator.engines.cloud import CloudEngine
from orchestrator.engines.llamacpp import LlamaCpp
from orchestrator.engines.wires.openai import OpenAI
from orchestrator.modelhost import minilm
from orchestrator.wiring import connect
from tests.engines.deadlines import DEADLINES, deadlines_for
from tests.provider import Provider


@pytest.fixture
async def embedder(llama: LlamaCpp) -> Model:
    """The embedded model that makes vectors."""
    found = await llama.find("all-minilm")
    assert found
    return found


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = await Provider().start()
    yield provider
    await provider.stop()


@pytest.fixture
async def cloud(provider: Provider) -> AsyncIterator[CloudEngine]:
    connection = connect(provider.address, "sk-test", DEADLINES, OpenAI())
    engine = CloudEngine("openai", connection, DEADLINES, Clock(), 200_000, OpenAI(), OPENAI)
    yield engine
    await engine.aclose()


async def embed(engine: Engine, model: Model, *inputs: str, **fields: object) -> Reply:
    asked = ChatRequest(model=model.name, inputs=inputs, **fields)  # type: ignore[arg-type]
    builder = ReplyBuilder(model.name)
    async with aclosing(engine.chat(asked, model)) as chunks:
        async for chunk in chunks:
            builder.add(chunk)
    reply = builder.reply()
    assert reply is not None
    assert len(reply.vectors) == len(inputs)
    return reply


def numbers(vector: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(vector) // 4}f", vector)


def cosine(one: bytes, other: bytes) -> float:
    a, b = numbers(one), numbers(other)
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


async def test_what_means_the_same_is_near(llama: LlamaCpp, embedder: Model) -> None:
    texts = ("A cat sits on the mat.", "A kitten rests on a rug.", "The central bank has raised its rates.")
    cat, kitten, bank = (await embed(llama, embedder, *texts)).vectors
    assert len(numbers(cat)) == embedder.embedding_length == 384
    assert cosine(cat, kitten) > 0.5 > 0.2 > cosine(cat, bank)


async def test_a_text_has_one_vector_whatever_stands_beside_it(llama: LlamaCpp, embedder: Model) -> None:
    texts = [f"{'word ' * (number % 97)}{number}" for number in range(300)]
    together = await embed(llama, embedder, *texts)
    assert together.done.usage.prompt_tokens > 300 * 40
    for place in (0, 96, 150, 299):
        alone = await embed(llama, embedder, texts[place])
        assert cosine(alone.vectors[0], together.vectors[place]) > 0.999  # eight bits, scaled by batch


async def test_a_text_that_is_too_long_is_cut_or_refused(llama: LlamaCpp, embedder: Model) -> None:
    long = "one two three four five " * 200
    cut = await embed(llama, embedder, long)
    assert cut.done.usage.prompt_tokens == 256
    wider = await embed(llama, embedder, long, options={"num_ctx": 4096})
    assert wider.done.usage.prompt_tokens == 512, "it has no more positions"
    assert cosine(cut.vectors[0], wider.vectors[0]) < 0.9999
    with pytest.raises(BadRequest, match="exceeds the context length"):
        await embed(llama, embedder, "short", long, truncate=False)


async def test_any_text_has_a_vector(llama: LlamaCpp, embedder: Model) -> None:
    reply = await embed(llama, embedder, "", " ", "\x00", "é🎈\u2028", "中文" * 50)
    assert all(math.isfinite(number) for vector in reply.vectors for number in numbers(vector))


async def test_a_short_request_does_not_wait_for_a_long_one(llama: LlamaCpp, embedder: Model) -> None:
    await embed(llama, embedder, "loaded")
    async with asyncio.TaskGroup() as group:
        slow = group.create_task(embed(llama, embedder, *("word " * 250 for _ in range(200))))
        await asyncio.sleep(0.2)
        await embed(llama, embedder, "quick")
        assert not slow.done()
        slow.cancel()
    await embed(llama, embedder, "and who leaves leaves nothing behind")


async def test_it_does_not_chat(llama: LlamaCpp, embedder: Model) -> None:
    asked = ChatRequest(model=embedder.name, messages=(Message(role="user", content="hi"),))
    with pytest.raises(BadRequest, match="does not support chat"):
        await anext(llama.chat(asked, embedder))


async def test_it_is_loaded_and_let_go_like_any_other(llama: LlamaCpp, embedder: Model) -> None:
    await embed(llama, embedder, "hello", keep_alive_s=60.0)
    (loaded,) = [one for one in await llama.ps() if one.model == embedder]
    assert loaded.slots == 1  # it makes one batch at a time, whatever other models are allowed
    assert loaded.context_length == 512
    assert await llama.unload(embedder)
    assert not [one for one in await llama.ps() if one.model == embedder]


def test_files_that_are_not_the_known_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    package, name, _ = minilm._WEIGHTS
    monkeypatch.setattr(minilm, "_WEIGHTS", (package, name, "0" * 64))
    with pytest.raises(ValueError, match="run `make install`"):
        minilm.checked_files()
    monkeypatch.setattr(minilm, "_WEIGHTS", ("no_such_package", name, "0" * 64))
    with pytest.raises(ValueError, match="is not installed; run `make install`"):
        minilm.checked_files()
    assert minilm.packaged() is None


@pytest.mark.parametrize("behaviour", ["good", "numbers", "shuffled"])
async def test_a_providers_vectors_come_in_order(cloud: CloudEngine, provider: Provider, behaviour: str) -> None:
    model = await cloud.find(f"openai/embed-{behaviour}")
    assert model
    assert model.capabilities == {"embedding"}
    reply = await embed(cloud, model, "a", "bcd")
    assert [numbers(vector) for vector in reply.vectors] == [(0.0, 1.0, 0.5), (1.0, 3.0, 0.5)]
    assert reply.done.usage.prompt_tokens == 4
    assert provider.asked[-1] == {"model": f"embed-{behaviour}", "input": ["a", "bcd"], "encoding_format": "base64"}


async def test_a_count_of_tokens_that_cannot_be_is_none_where_nobody_charges_by_it(cloud: CloudEngine) -> None:
    model = await cloud.find("openai/embed-great")
    assert model
    charged = (await embed(cloud, model, "a", "bcd")).done.usage
    assert (charged.prompt_tokens, charged.is_implausible) == (2_000_000_000, True)
    free = (await embed(cloud, replace(model, is_paid=False), "a", "bcd")).done.usage
    assert (free.prompt_tokens, free.is_implausible) == (0, False)


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        *((name, EngineError) for name in ("html", "short", "uneven", "torn", "words", "empty", "500", "503", "401")),
        ("429", RateLimited),
        ("404", ModelNotFound),
        ("400", BadRequest),
    ],
)
async def test_what_is_no_list_of_vectors_is_an_error(
    cloud: CloudEngine, behaviour: str, error: type[Exception]
) -> None:
    model = await cloud.find(f"openai/embed-{behaviour}")
    assert model
    with pytest.raises(error):
        await embed(cloud, model, "a", "b")


@pytest.mark.parametrize("behaviour", ["silent", "headers_only"])
async def test_the_vectors_of_a_call_come_within_the_time_to_a_first_token(cloud: CloudEngine, behaviour: str) -> None:
    cloud._deadlines = deadlines_for(behaviour)
    model = await cloud.find(f"openai/embed-{behaviour}")
    assert model
    async with asyncio.timeout(60):
        with pytest.raises(EngineTimeout, match=r"did not answer within 0.5 s \(ORCHESTRATOR_FIRST_TOKEN_TIMEOUT_S\)"):
            await embed(cloud, model, "a", "b")
