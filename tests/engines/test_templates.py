"""What the embedded model is given: by the template in its file, by one in Ollama's form, by a request's own."""

import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.errors import BadRequest, Unsupported
from orchestrator.core.types import ChatRequest, Message, Model, Reply, ReplyBuilder
from orchestrator.engines.llamacpp import LlamaCpp
from orchestrator.modelhost.minilm import open_store
from tests.modelhost.files import packaged, with_keys
from tests.modelhost.hosting import ModelHost

MANIFESTS = "manifests/registry.ollama.ai/library"
FRANCE = ChatRequest(
    model="any",
    messages=(Message(role="user", content="What is the capital of France?"),),
    options={"temperature": 0, "num_predict": 20},
)
ASKED = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
PROMPT = f"<|im_start|>system\n<|im_end|>\n{ASKED}"
MIDDLE = replace(FRANCE, messages=(Message(role="user", content="def f("),), suffix="return 1", options={})
# What the Jinja in the embedded model's file says, in Go's language.
AS_IN_ITS_FILE = (
    "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
)
IN_LAYER = (
    "{{ if .Suffix }}<PRE>{{ .Prompt }}<SUF>{{ .Suffix }}<MID>{{ else }}"
    "<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n{{ .Response }}<|im_end|>\n{{ end }}"
)


def put(host: ModelHost, name: str, *, template: str = "", weights: Path | None = None) -> None:
    """Another model of the embedded one's file, or of `weights`."""
    manifests = host.models_dir / MANIFESTS
    manifest = json.loads((manifests / "smollm2/135m").read_text())
    if template:
        manifest["layers"].append(layer(host, "template", template.encode()))
    if weights:
        manifest["layers"][0] = layer(host, "model", weights.read_bytes())
    (manifests / name).mkdir()
    (manifests / name / "latest").write_text(json.dumps(manifest))


def layer(host: ModelHost, kind: str, content: bytes) -> dict[str, Any]:
    digest = sha256(content).hexdigest()
    (host.models_dir / "blobs" / f"sha256-{digest}").write_bytes(content)
    return {
        "mediaType": f"application/vnd.ollama.image.{kind}",
        "digest": f"sha256:{digest}",
        "size": len(content),
    }


async def reply_to(engine: LlamaCpp, model: Model, request: ChatRequest) -> Reply:
    builder = ReplyBuilder(model.name)
    async with aclosing(engine.chat(request, model)) as chunks:
        async for chunk in chunks:
            builder.add(chunk)
    reply = builder.reply()
    assert reply
    return reply


@pytest.fixture(scope="module")
def host(model_host: ModelHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelHost]:
    """The shared model host, with two more models in its store."""
    put(model_host, "layered", template=IN_LAYER)
    weights = tmp_path_factory.mktemp("weights") / "filler"
    # Any special tokens will do: the model was not trained to fill in, so what it writes there is not looked at.
    with_keys(
        packaged(),
        weights,
        {
            "tokenizer.ggml.fim_pre_token_id": 3,
            "tokenizer.ggml.suffix_token_id": 4,
            "tokenizer.ggml.fim_mid_token_id": 5,
        },
    )
    put(model_host, "filler", weights=weights)
    yield model_host
    for name in ("layered", "filler"):
        shutil.rmtree(model_host.models_dir / MANIFESTS / name)


@pytest.fixture
async def engine(host: ModelHost) -> AsyncIterator[LlamaCpp]:
    """Its models are let go again."""
    engine = LlamaCpp(host.socket, open_store(host.models_dir))
    yield engine
    for name in ("layered", "filler"):
        model = await engine.find(name)
        assert model
        await engine.unload(model)
    await engine.aclose()


@pytest.fixture
async def layered(engine: LlamaCpp) -> Model:
    """Has a template in Ollama's form."""
    model = await engine.find("layered")
    assert model
    return model


@pytest.fixture
async def filler(engine: LlamaCpp) -> Model:
    """Has tokens for the middle."""
    model = await engine.find("filler")
    assert model
    return model


async def test_a_preview_is_what_an_answer_starts_from(llama: LlamaCpp, model: Model):
    shown = await llama.preview(FRANCE, model)
    assert shown.text == PROMPT
    reply = await reply_to(llama, model, FRANCE)
    assert shown.tokens == reply.done.usage.prompt_tokens
    more = replace(FRANCE, context=reply.done.context)
    assert (await llama.preview(more, model)).text.startswith(f"{PROMPT}The capital of France is Paris.")
    assert (await llama.preview(replace(FRANCE, messages=(), prompt="as it is"), model)).text == "as it is"


async def test_a_preview_drops_the_turns_that_an_answer_would(llama: LlamaCpp, model: Model):
    old = [Message(role="user", content=f"{number} " * 50) for number in range(9)]
    long = replace(FRANCE, messages=(*old, *FRANCE.messages), options={"num_ctx": 300})
    shown = await llama.preview(long, model)
    assert 0 < shown.tokens < 300
    assert "0 0" not in shown.text
    assert "8 8" in shown.text
    counted = await llama.count(long, model)
    assert counted
    assert counted > 600  # a count is of everything


async def test_what_cannot_be_answered_has_no_preview(llama: LlamaCpp, model: Model):
    with pytest.raises(BadRequest, match="not a token"):
        await llama.preview(replace(FRANCE, context=(10**6,)), model)


async def test_tokens_are_counted_where_the_model_is_loaded(engine: LlamaCpp, layered: Model):
    await engine.unload(layered)
    assert await engine.count(FRANCE, layered) is None
    for keep_alive_s in (-1.0, 3600.0):
        await engine.load(layered, keep_alive_s)
        counted = await engine.count(FRANCE, layered)
        assert (
            counted
            == (await reply_to(engine, layered, replace(FRANCE, keep_alive_s=keep_alive_s))).done.usage.prompt_tokens
        )
        (loaded,) = [one for one in await engine.ps() if one.model == layered]
        assert await engine.count(FRANCE, layered) == counted
        (still,) = [one for one in await engine.ps() if one.model == layered]
        assert (loaded.expires_at is None) == (still.expires_at is None) == (keep_alive_s < 0)
        if loaded.expires_at and still.expires_at:
            assert abs(loaded.expires_at - still.expires_at) < 60


async def test_a_template_of_the_request_takes_the_place_of_the_models(llama: LlamaCpp, model: Model):
    same = replace(FRANCE, template=AS_IN_ITS_FILE)
    assert (await llama.preview(same, model)).text == PROMPT
    assert (await reply_to(llama, model, same)).text == (await reply_to(llama, model, FRANCE)).text
    other = replace(FRANCE, template="{{ .Prompt }} It is")
    assert (await llama.preview(other, model)).text == "What is the capital of France? It is"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ if }}", "line 1, column 4: a value is missing"),
        ("\n{{ .Prompt.Foo }}", "line 2, column 4: there is no field 'Foo'"),
        ("{{ range 999999999 }}{{ range 999999999 }}x{{ end }}{{ end }}", "too many steps"),
    ],
)
async def test_a_bad_template_is_the_callers_mistake(llama: LlamaCpp, model: Model, template: str, words: str):
    with pytest.raises(BadRequest, match=words):
        await reply_to(llama, model, replace(FRANCE, template=template))
    assert (await reply_to(llama, model, FRANCE)).text  # others are answered on


async def test_a_template_in_ollamas_form_is_what_makes_the_prompt(engine: LlamaCpp, layered: Model):
    assert layered.capabilities == {"completion", "insert"}
    assert (await engine.preview(FRANCE, layered)).text == ASKED
    assert "Paris" in (await reply_to(engine, layered, FRANCE)).text
    assert (await engine.preview(MIDDLE, layered)).text == "<PRE>def f(<SUF>return 1<MID>"


async def test_tokens_for_the_middle_are_put_around_both_texts(engine: LlamaCpp, filler: Model):
    assert filler.capabilities == {"completion", "insert"}
    assert (await engine.preview(MIDDLE, filler)).text == "<repo_name>def f(<reponame>return 1<file_sep>"
    plain = await engine.preview(replace(MIDDLE, suffix=""), filler)
    assert "def f(<|im_end|>" in plain.text
    assert (
        await reply_to(engine, filler, replace(MIDDLE, options={"num_predict": 3, "temperature": 0}))
    ).done.reason == "length"


async def test_of_long_texts_stays_what_is_near_the_middle(engine: LlamaCpp, filler: Model):
    before, after = (" ".join(f"{name}{number}" for number in range(400)) for name in "ab")
    long = replace(MIDDLE, messages=(Message(role="user", content=before),), suffix=after, options={"num_ctx": 200})
    shown = await engine.preview(long, filler)
    assert shown.tokens == 199
    assert shown.text.startswith("<repo_name>")
    assert "a399<reponame>b0 b1" in shown.text
    assert shown.text.endswith("<file_sep>")
    with pytest.raises(BadRequest, match="exceeds the context length"):
        await reply_to(engine, filler, replace(long, truncate=False))


async def test_a_model_without_such_tokens_cannot_fill_in(llama: LlamaCpp, model: Model):
    with pytest.raises(Unsupported, match="does not support insert"):
        await reply_to(llama, model, MIDDLE)


async def test_a_hostile_template_is_refused_while_others_are_answered_on(
    host: ModelHost, llama: LlamaCpp, model: Model
):
    """Each character that is written takes six bytes on its way here: no message would hold all of them."""
    hostile = replace(FRANCE, template="{{ range 38000 }}" + "\1" * 600 + "{{ end }}")
    long = replace(FRANCE, options={"temperature": 0, "num_predict": 100, "stop": []})
    async with aclosing(llama.chat(replace(long, prompt="Once upon a time", messages=()), model)) as answer:
        await anext(answer)
        children = host.children()
        for ask in (llama.preview, llama.count):
            with pytest.raises(BadRequest, match=r"characters|too long"):
                await ask(hostile, model)
        with pytest.raises(BadRequest, match="too long"):
            await reply_to(llama, model, replace(hostile, truncate=False))
        chunks = [chunk async for chunk in answer]
    assert chunks[-1].done
    assert host.children() == children


@pytest.mark.parametrize("options", [{"num_ctx": 8}, {"num_ctx": 20, "num_keep": 2}])
async def test_a_preview_is_cut_as_the_answers_prompt_is(llama: LlamaCpp, model: Model, options: dict[str, int]):
    request = replace(FRANCE, options={"temperature": 0, "num_predict": 1, **options})
    shown = await llama.preview(request, model)
    done = (await reply_to(llama, model, request)).done
    assert shown.tokens == done.usage.prompt_tokens == options["num_ctx"] - 1
    again = await llama.preview(replace(FRANCE, messages=(), prompt="", context=done.context[: shown.tokens]), model)
    assert shown.text == again.text
    assert shown.text.endswith("assistant\n")
