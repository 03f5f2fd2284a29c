"""Answers of the real embedded model, through the model host."""

import asyncio
import json
import math
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.core.errors import BadRequest, EngineCrashed, EngineError, ModelLoadFailed, ModelNotFound
from orchestrator.core.types import ChatRequest, Chunk, Message, Model, Reply, ReplyBuilder
from orchestrator.engines import llamacpp
from orchestrator.engines.llamacpp import LlamaCpp
from orchestrator.modelhost.embedded import NAME
from orchestrator.modelhost.runner import CRASHED
from orchestrator.modelhost.store import Store
from tests.modelhost.files import SMALL, gguf, packaged
from tests.modelhost.hosting import ModelHost, is_running, until

FRANCE = "What is the capital of France?"
STORY = "Tell me a very long story about the sea and the people who live near it."


def asked(question: str = FRANCE, *, options: dict[str, Any] | None = None, **fields: Any) -> ChatRequest:
    if "prompt" not in fields:
        fields.setdefault("messages", (Message(role="user", content=question),))
    return ChatRequest(model="whatever", options={"temperature": 0, **(options or {})}, **fields)


async def chunks_of(engine: LlamaCpp, model: Model, request: ChatRequest) -> list[Chunk]:
    async with aclosing(engine.chat(request, model)) as chunks:
        return [chunk async for chunk in chunks]


async def reply_to(engine: LlamaCpp, model: Model, request: ChatRequest) -> Reply:
    builder = ReplyBuilder(model.name)
    for chunk in await chunks_of(engine, model, request):
        builder.add(chunk)
    reply = builder.reply()
    assert reply
    return reply


@pytest.mark.parametrize(
    "name", ["x" * 3_000_000, "x" * 3_000_000 + "://h/n/m", "x y", ""], ids=["long", "url", "space", "empty"]
)
async def test_what_is_no_name_is_neither_looked_up_nor_remembered(tmp_path: Path, name: str):
    engine = LlamaCpp(tmp_path / "socket", Store(tmp_path))
    assert await engine.find(name) is None
    assert not engine._found
    await engine.aclose()


async def test_names_are_remembered_for_a_while_and_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    engine = LlamaCpp(tmp_path / "socket", Store(tmp_path))
    monkeypatch.setattr(llamacpp, "MOST_REMEMBERED", 10)
    monkeypatch.setattr(llamacpp, "REMEMBERED_S", 3600.0)
    for number in range(25):
        await engine.find(f"m{number}")
    assert list(engine._found) == [f"m{number}" for number in range(15, 25)]
    monkeypatch.setattr(llamacpp, "REMEMBERED_S", -1.0)  # it expires at once
    for number in range(25):
        await engine.find(f"n{number}")
    assert len(engine._found) <= 10
    monkeypatch.setattr(llamacpp, "REMEMBERED_S", 3600.0)
    engine._found.clear()
    await engine.find("one")
    engine._found["one"] = (0.0, None)  # long ago
    await engine.find("two")
    assert list(engine._found) == ["two"]
    await engine.aclose()


async def test_it_knows_the_capital_of_france(llama: LlamaCpp, model: Model):
    reply = await reply_to(llama, model, asked())
    assert "Paris" in reply.text
    assert reply.done.reason == "stop"


async def test_an_answer_comes_token_by_token(llama: LlamaCpp, model: Model):
    chunks = await chunks_of(llama, model, asked(STORY, options={"num_predict": 20}))
    assert len([chunk for chunk in chunks if chunk.text]) > 10
    assert [chunk.done is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


async def test_counts_and_durations_are_those_of_the_work(llama: LlamaCpp, model: Model):
    usage = (await reply_to(llama, model, asked(STORY, options={"num_predict": 7}))).done.usage
    assert usage.completion_tokens == 7
    assert usage.prompt_tokens > 15
    assert min(usage.load_ns, usage.prompt_ns, usage.eval_ns) > 0


async def test_a_cap_ends_an_answer(llama: LlamaCpp, model: Model):
    done = (await reply_to(llama, model, asked(STORY, options={"num_predict": 3}))).done
    assert (done.reason, done.usage.completion_tokens) == ("length", 3)


async def test_a_cap_of_zero_is_no_cap(llama: LlamaCpp, model: Model):
    reply = await reply_to(llama, model, asked(options={"num_predict": 0}))
    assert (reply.text, reply.done.reason) == ("The capital of France is Paris.", "stop")


async def test_a_stop_string_ends_an_answer_and_is_not_shown(llama: LlamaCpp, model: Model):
    reply = await reply_to(llama, model, asked(options={"stop": ["France is"]}))
    assert reply.text == "The capital of "
    assert (reply.done.reason, reply.done.stop_string) == ("stop", "France is")


async def test_an_end_that_no_stop_string_of_the_callers_made_is_the_models_own(llama: LlamaCpp, model: Model):
    for options in ({}, {"stop": ["Rome"]}, {"num_predict": 2, "stop": ["France"]}):
        assert (await reply_to(llama, model, asked(options=options))).done.stop_string == ""


async def test_answers_made_together_are_those_made_alone(llama: LlamaCpp, model: Model):
    questions = [FRANCE, "What is the capital of Italy?", "Name three colours.", "Who wrote Hamlet?"]
    requests = [asked(question, options={"num_predict": 12}) for question in questions]
    alone = [(await reply_to(llama, model, request)).text for request in requests]
    together = await asyncio.gather(*(reply_to(llama, model, request) for request in requests))
    assert [reply.text for reply in together] == alone


async def test_more_answers_than_slots_wait_their_turn(llama: LlamaCpp, model: Model):
    replies = await asyncio.gather(*(reply_to(llama, model, asked(options={"num_predict": 4})) for _ in range(11)))
    assert {reply.text for reply in replies} == {"The capital of France"}


async def test_an_answer_is_the_same_each_time(llama: LlamaCpp, model: Model):
    seeded = asked(STORY, options={"num_predict": 12, "temperature": 0.9, "seed": 7})
    first = await reply_to(llama, model, seeded)
    await reply_to(llama, model, asked())
    assert (await reply_to(llama, model, seeded)).text == first.text


async def test_another_seed_is_another_answer(llama: LlamaCpp, model: Model):
    texts = set()
    for seed in range(4):
        options = {"num_predict": 12, "temperature": 1.5, "seed": seed}
        texts.add((await reply_to(llama, model, asked(STORY, options=options))).text)
    assert len(texts) > 1


async def test_json_is_json(llama: LlamaCpp, model: Model):
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "size": {"type": "integer"}},
        "required": ["city", "size"],
        "additionalProperties": False,
    }
    for seed in range(3):
        options = {"temperature": 1.0, "seed": seed, "num_predict": 200}
        reply = await reply_to(llama, model, asked("Describe Paris as JSON.", format=schema, options=options))
        assert reply.done.reason == "stop"
        said = json.loads(reply.text)
        assert isinstance(said["city"], str)
        assert isinstance(said["size"], int)


async def test_json_without_a_schema_is_an_object_unless_it_is_cut(llama: LlamaCpp, model: Model):
    request = asked("Answer {} as JSON.", format="json", options={"temperature": 1.2, "seed": 5, "num_predict": 300})
    reply = await reply_to(llama, model, request)
    assert reply.text.lstrip().startswith("{")
    if reply.done.reason == "stop":
        assert isinstance(json.loads(reply.text), dict)


async def test_a_format_nothing_can_keep_to_fails_alone(llama: LlamaCpp, model: Model):
    await llama.load(model)
    before = (await llama.ps())[0].pid
    impossible = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^[z-a]$"}}, "required": ["a"]}
    with pytest.raises(EngineError, match="keeps to the format"):
        await reply_to(llama, model, asked(format=impossible))
    assert (await llama.ps())[0].pid == before


async def test_logprobs_say_how_likely_each_token_was(llama: LlamaCpp, model: Model):
    reply = await reply_to(llama, model, asked(logprobs=True, top_logprobs=3))
    assert "".join(entry.token for entry in reply.logprobs) == reply.text
    for entry in reply.logprobs:
        assert bytes(entry.bytes).decode() == entry.token
        assert entry.logprob <= 0
        assert [other.logprob for other in entry.top] == sorted((other.logprob for other in entry.top), reverse=True)
        assert entry.top[0].token == entry.token  # at temperature 0 the likeliest is taken
        assert sum(math.exp(other.logprob) for other in entry.top) <= 1.0001


async def test_no_character_is_ever_broken(llama: LlamaCpp, model: Model):
    request = asked(prompt="🙂🎉🙂🎉🙂🎉🙂🎉🙂🎉🙂🎉🙂", options={"num_predict": 24, "repeat_penalty": 1})
    chunks = await chunks_of(llama, model, request)
    assert any("🎉" in chunk.text for chunk in chunks)
    assert not any("\ufffd" in chunk.text for chunk in chunks)


async def test_a_raw_prompt_is_taken_as_it_stands(llama: LlamaCpp, model: Model):
    reply = await reply_to(llama, model, asked(prompt="The capital of France is", options={"num_predict": 3}))
    assert "Paris" in reply.text
    assert reply.done.usage.prompt_tokens == 5


async def test_an_answer_can_be_carried_on_from_its_tokens(llama: LlamaCpp, model: Model):
    first = await reply_to(llama, model, asked(prompt="one two three four", options={"num_predict": 4}))
    second = await reply_to(llama, model, asked(prompt=" and", context=first.done.context, options={"num_predict": 4}))
    assert second.done.context[: len(first.done.context)] == first.done.context
    assert second.done.usage.prompt_tokens == len(first.done.context) + 1


async def test_a_context_that_is_not_tokens_is_refused(llama: LlamaCpp, model: Model):
    with pytest.raises(BadRequest, match="not a token"):
        await reply_to(llama, model, asked(context=(10**6,)))


async def test_the_oldest_turns_are_dropped_when_the_context_is_too_small(llama: LlamaCpp, model: Model):
    turns = [Message(role="user", content=f"Remember the number {n}." * 20) for n in range(30)]
    messages = (Message(role="system", content="Be brief."), *turns, Message(role="user", content=FRANCE))
    reply = await reply_to(llama, model, asked(messages=messages, options={"num_ctx": 512}))
    assert reply.done.usage.prompt_tokens < 512
    assert "Paris" in reply.text


async def test_a_question_that_is_too_long_is_refused_when_it_may_not_be_cut(llama: LlamaCpp, model: Model):
    with pytest.raises(BadRequest, match="the input length exceeds the context length"):
        await reply_to(llama, model, asked("sea " * 600, truncate=False, options={"num_ctx": 512}))


async def test_a_single_turn_that_is_too_long_is_cut(llama: LlamaCpp, model: Model):
    reply = await reply_to(llama, model, asked("sea " * 600, options={"num_ctx": 512, "num_predict": 2}))
    assert reply.done.usage.prompt_tokens == 511


async def test_the_context_is_shifted_when_it_is_full(llama: LlamaCpp, model: Model):
    options = {"num_ctx": 64, "num_predict": 120}
    going_on = await reply_to(llama, model, asked(STORY, options=options))
    assert (going_on.done.reason, going_on.done.usage.completion_tokens) == ("length", 120)
    stopped = await reply_to(llama, model, asked(STORY, options=options, shift=False))
    assert stopped.done.reason == "length"
    assert stopped.done.usage.completion_tokens < 64


@pytest.mark.parametrize(
    "options",
    [
        {"num_ctx": 10**9},
        {"num_ctx": -1},
        {"num_predict": -5},
        {"temperature": 1e30},
        {"temperature": -7},
        {"seed": 2**70},
        {"top_k": 10**9, "top_p": 0, "min_p": 1, "typical_p": 0, "temperature": 1},
        {"repeat_last_n": 10**9, "repeat_penalty": 1e9, "presence_penalty": -1e9, "frequency_penalty": 1e9},
        {"num_batch": 1, "num_keep": 10**9, "num_thread": 10**6, "num_gpu": 99},
        {"temperature": "hot", "stop": ["x"] * 10_000, "seed": 10**400},
    ],
)
async def test_absurd_options_are_brought_to_something_sensible(llama: LlamaCpp, model: Model, options: dict[str, Any]):
    reply = await reply_to(llama, model, asked(options={"num_predict": 5, "stop": ["Paris"], **options}))
    assert reply.done.usage.completion_tokens > 0


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"format": "xml"}, "invalid format"),
        ({"format": {"type": "object", "properties": {"a": {"type": "strange"}}}}, "invalid format"),
        ({"tools": ({"huge": 2**70},)}, "cannot be passed on"),
        ({"messages": (Message(role="user", content="see", images=("aGk=",)),)}, "image input"),
    ],
)
async def test_what_cannot_be_done_is_said(llama: LlamaCpp, model: Model, fields: dict[str, Any], why: str):
    with pytest.raises(BadRequest, match=why):
        await reply_to(llama, model, asked(**fields))


async def test_closing_an_answer_frees_its_slot(llama: LlamaCpp, model: Model):
    for _ in range(9):  # more than there are slots
        async with aclosing(llama.chat(asked(STORY), model)) as chunks:
            await anext(chunks)
    # Each would have gone on for thousands of tokens; this one would have to wait for them.
    async with asyncio.timeout(60):
        assert "Paris" in (await reply_to(llama, model, asked())).text
        while (await llama.ps())[0].busy:
            await asyncio.sleep(0.01)


async def test_many_odd_requests_do_not_make_the_child_grow(llama: LlamaCpp, model: Model):
    await reply_to(llama, model, asked())
    process = psutil.Process((await llama.ps())[0].pid)

    async def oddly(n: int) -> None:
        request = asked(
            options={"num_predict": 1, "stop": [f"{n}-{i}" * 8 for i in range(60)]}, format="json" if n % 2 else None
        )
        await reply_to(llama, model, request)

    await asyncio.gather(*(oddly(n) for n in range(20)))
    before = process.memory_info().rss
    await asyncio.gather(*(oddly(n) for n in range(60)))
    assert process.memory_info().rss - before < 16 * 1024**2


async def test_a_model_is_found_by_any_spelling_of_its_name(llama: LlamaCpp, model: Model):
    assert await llama.find("SmolLM2:135M") == model
    assert await llama.find("nobody") is None
    assert await llama.find("../..") is None
    assert model in await llama.models()
    assert (model.family, model.parameter_size, model.quantization) == ("llama", "134.52M", "Q4_1")
    assert (model.context_length, model.embedding_length) == (8192, 576)


async def test_show_tells_what_the_model_is(llama: LlamaCpp, model: Model):
    told = await llama.show(model)
    assert told.model_info["llama.context_length"] == 8192
    assert told.model_info["tokenizer.ggml.tokens"] is None
    assert "Apache License" in told.license
    assert (await llama.show(model, verbose=True)).model_info["tokenizer.ggml.tokens"]


async def test_a_loaded_model_is_listed_until_it_is_unloaded(llama: LlamaCpp, model: Model):
    await llama.unload(model)
    assert await llama.load(model, keep_alive_s=-1) >= 1
    (loaded,) = await llama.ps()
    assert loaded.model == model
    assert (loaded.slots, loaded.busy, loaded.expires_at) == (4, 0, None)
    assert loaded.context_length == 4096
    assert await llama.unload(model)
    assert await llama.ps() == []
    assert not is_running(loaded.pid)
    assert not await llama.unload(model)


async def test_a_keep_alive_of_zero_unloads_after_the_answer(llama: LlamaCpp, model: Model):
    reply = await reply_to(llama, model, asked(keep_alive_s=0))
    assert "Paris" in reply.text
    async with asyncio.timeout(60):
        while await llama.ps():
            await asyncio.sleep(0.01)


async def test_a_larger_context_reloads_and_a_smaller_one_does_not(llama: LlamaCpp, model: Model):
    await llama.unload(model)
    await llama.load(model)
    usual = (await llama.ps())[0]
    await reply_to(llama, model, asked(options={"num_ctx": 256, "num_predict": 1}))
    assert (await llama.ps())[0].pid == usual.pid
    await reply_to(llama, model, asked(options={"num_ctx": 6000, "num_predict": 1}))
    larger = (await llama.ps())[0]
    assert larger.context_length == 6000
    assert not is_running(usual.pid)
    await reply_to(llama, model, asked(options={"num_predict": 1}))
    assert (await llama.ps())[0].pid == larger.pid
    await llama.unload(model)


async def test_a_child_that_is_killed_fails_its_answers_and_is_replaced(llama: LlamaCpp, model: Model):
    async with aclosing(llama.chat(asked(STORY), model)) as chunks:
        await anext(chunks)
        victim = psutil.Process((await llama.ps())[0].pid)
        victim.kill()
        with pytest.raises(EngineCrashed) as caught:
            async for _ in chunks:
                pass
    assert str(caught.value) == CRASHED
    assert "Paris" in (await reply_to(llama, model, asked())).text
    assert (await llama.ps())[0].pid != victim.pid


async def test_a_file_that_cannot_be_loaded_is_an_error_and_nothing_else(
    llama: LlamaCpp, model: Model, model_host: ModelHost, tmp_path: Any
):
    store = Store(model_host.models_dir)
    files = {
        "headeronly": gguf(SMALL, {"token_embd.weight": (64, 3)}),
        "truncated": packaged().read_bytes()[:5_000_000],
        "vectors": gguf(SMALL | {"llama.pooling_type": 1}),
        "widthless": gguf(SMALL | {"llama.embedding_length": 0}),
        "stranger": gguf(SMALL | {"general.architecture": "nothing"} | {"nothing.context_length": 9}),
    }
    for name, data in files.items():
        path = tmp_path / name
        path.write_bytes(data)
        store.install(name, path)
        broken = await llama.find(name)
        assert broken
        with pytest.raises(ModelLoadFailed, match=name):
            await reply_to(llama, broken, asked())
    assert "Paris" in (await reply_to(llama, model, asked())).text


async def test_a_model_that_is_gone_is_not_found(llama: LlamaCpp):
    with pytest.raises(ModelNotFound, match="model 'gone:latest' not found"):
        await reply_to(llama, Model(name="gone:latest", digest="", engine="llamacpp"), asked())


async def test_a_model_host_that_does_not_run_is_said_so(tmp_path: Any):
    engine = LlamaCpp(tmp_path / "models.sock", Store(tmp_path))
    assert not await engine.ready()
    with pytest.raises(EngineError, match="the model host is not running; it is being restarted"):
        await reply_to(engine, Model(name=NAME, digest="", engine="llamacpp"), asked())
    await engine.aclose()


async def test_a_call_waits_for_a_model_host_that_is_being_restarted():
    host = ModelHost().start()
    engine = LlamaCpp(host.socket, Store(host.models_dir))
    try:
        model = await engine.find(NAME)
        assert model
        host.kill()
        answering = asyncio.create_task(reply_to(engine, model, asked()))
        await asyncio.to_thread(host.start)
        assert "Paris" in (await answering).text
    finally:
        await engine.aclose()
        host.clear()


async def test_a_model_host_that_is_killed_takes_its_children_along():
    host = ModelHost().start()
    engine = LlamaCpp(host.socket, Store(host.models_dir))
    try:
        model = await engine.find(NAME)
        assert model
        async with aclosing(engine.chat(asked(STORY), model)) as chunks:
            await anext(chunks)
            (child,) = host.children()
            host.kill()
            with pytest.raises(EngineError):
                async for _ in chunks:
                    pass
        await asyncio.to_thread(until, lambda: not is_running(child))
    finally:
        await engine.aclose()
        host.clear()
