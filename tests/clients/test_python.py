"""The official Python clients, unchanged, against the running product and a real model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import httpx
import ollama
import openai
import pytest

from tests.product import Product, until
from tests.provider import Provider

MODEL = "smollm2:135m"
CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]
EXACT = {"temperature": 0}


@pytest.fixture
def client(product: Product) -> Iterator[ollama.Client]:
    with ollama.Client(host=product.base_url, timeout=120) as client:
        yield client


@pytest.fixture
def openai_client(product: Product) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{product.base_url}/v1", api_key="anything", timeout=120, max_retries=0) as client:
        yield client


def test_the_embedded_model_is_listed_and_shown(client: ollama.Client) -> None:
    listed = {model.model: model for model in client.list().models}
    assert listed[MODEL].digest is not None
    assert len(listed[MODEL].digest) == 64
    assert listed[MODEL].details.quantization_level == "Q4_1"
    shown = client.show(MODEL)
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.modelinfo["llama.context_length"] == 8192
    assert "completion" in shown.capabilities
    assert "Apache License" in shown.license


def test_the_capital_of_france_is_paris_and_cached_for_every_dialect(
    product: Product, client: ollama.Client, openai_client: openai.OpenAI
) -> None:
    with ollama.Client(host=product.base_url, timeout=120, headers={"Cache-Control": "no-cache"}) as fresh:
        pieces = list(fresh.chat(MODEL, CAPITAL, stream=True, options=EXACT))
    text = "".join(piece.message.content for piece in pieces)
    assert "Paris" in text
    assert len(pieces) > 3, "it must stream token by token"
    assert pieces[-1].done
    assert pieces[-1].eval_count >= len(pieces) - 1
    assert pieces[-1].total_duration >= pieces[-1].eval_duration > 0

    whole = client.chat(MODEL, CAPITAL, options=EXACT)
    assert whole.message.content == text
    generated = client.generate(MODEL, CAPITAL[0]["content"], options=EXACT)
    assert generated.response == text
    assert generated.context

    raw = openai_client.chat.completions.with_raw_response.create(model=MODEL, messages=CAPITAL, temperature=0)  # type: ignore[arg-type]
    assert raw.headers["Cache-Status"] == "orchestrator; hit; detail=memory"
    completion = raw.parse()
    assert completion.choices[0].message.content == text
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == pieces[-1].eval_count


def test_generate_streams(client: ollama.Client) -> None:
    pieces = list(client.generate(MODEL, "Count to five.", stream=True, options={"temperature": 0, "num_predict": 12}))
    assert pieces[-1].done_reason == "length"
    assert pieces[-1].eval_count == 12


def running(client: ollama.Client) -> list[ollama.ProcessResponse.Model]:
    """The chat model, while it is loaded; another test's model may be, too."""
    return [model for model in client.ps().models if model.model == MODEL]


def test_a_prompt_can_be_looked_at_and_made_another_way(product: Product, client: ollama.Client) -> None:
    with httpx.Client(base_url=product.base_url, timeout=120) as http:
        body = {"model": MODEL, "prompt": CAPITAL[0]["content"], "_debug_render_only": True}
        shown = http.post("/api/generate", json=body).json()
        assert shown["done"] is False
        text = shown["_debug_info"]["rendered_template"]
        assert text.endswith("<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n")
        chat = http.post("/api/chat", json=body | {"messages": CAPITAL}).json()
        assert chat["_debug_info"]["rendered_template"] == text
        body["template"] = "{{- if .System }}{{ .System }}: {{ end }}{{ .Prompt }}"
        assert http.post("/api/generate", json=body | {"system": "S"}).json()["_debug_info"] == {
            "rendered_template": "S: What is the capital of France?"
        }
    # What the model's own template makes, by another one.
    template = text.replace(CAPITAL[0]["content"], "{{ .Prompt }}")
    own = client.generate(MODEL, CAPITAL[0]["content"], options=EXACT)
    assert client.generate(MODEL, CAPITAL[0]["content"], template=template, options=EXACT).response == own.response
    with pytest.raises(ollama.ResponseError, match="template: line 1, column 1: the action is not closed") as bad:
        client.generate(MODEL, "x", template="{{ .Prompt")
    assert bad.value.status_code == 400
    with pytest.raises(ollama.ResponseError, match="does not support insert"):
        client.generate(MODEL, "def f(", suffix="return 1")
    with pytest.raises(ollama.ResponseError, match="does not support templates given in a request"):
        client.generate("openai/good", "x", template="{{ .Prompt }}")


def test_load_ps_and_unload(client: ollama.Client) -> None:
    assert client.generate(MODEL).done_reason == "load"
    (loaded,) = running(client)
    assert loaded.expires_at is not None
    assert loaded.size > 50_000_000
    assert client.generate(MODEL, keep_alive=0).done_reason == "unload"
    until(lambda: not running(client), "the model to be unloaded")


def test_leaving_a_stream_frees_the_model(client: ollama.Client, product: Product) -> None:
    stream = client.chat(MODEL, [{"role": "user", "content": "Tell a very long story."}], stream=True)
    next(iter(stream))
    stream.close()  # type: ignore[attr-defined]  # it is a generator
    until(
        lambda: product.get("/api/stats?period=15m") and b"smollm2" in product.get("/api/stats?period=15m")[1],
        "a record",
    )
    began = time.monotonic()
    client.chat(MODEL, [{"role": "user", "content": "Hi"}], options={"num_predict": 1})
    assert time.monotonic() - began < 30


def test_an_unknown_model_is_a_404_with_the_name(client: ollama.Client, openai_client: openai.OpenAI) -> None:
    with pytest.raises(ollama.ResponseError) as refused:
        client.chat("nope", CAPITAL)
    assert refused.value.status_code == 404
    assert refused.value.error == "model 'nope' not found"
    with pytest.raises(openai.NotFoundError, match="model 'nope' not found"):
        openai_client.chat.completions.create(model="nope", messages=CAPITAL)  # type: ignore[arg-type]


def test_openai_streams_with_usage(openai_client: openai.OpenAI) -> None:
    stream = openai_client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Say hello."}],
        temperature=0,
        max_tokens=8,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage is not None
    assert 0 < chunks[-1].usage.completion_tokens <= 8
    assert chunks[-2].choices[0].finish_reason in {"stop", "length"}
    assert len({chunk.id for chunk in chunks}) == 1


def test_openai_lists_models(openai_client: openai.OpenAI) -> None:
    assert MODEL in {model.id for model in openai_client.models.list()}
    assert openai_client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        openai_client.models.retrieve("nope")


def test_cloud_models_answer_through_the_same_address(
    client: ollama.Client, openai_client: openai.OpenAI, provider: Provider
) -> None:
    until(lambda: "openai/good" in {model.model for model in client.list().models}, "the provider's models")
    assert client.chat("openai/good", CAPITAL).message.content == "Paris é🎈"
    asked = len(provider.asked)
    completion = openai_client.chat.completions.create(model="openai/good", messages=CAPITAL)  # type: ignore[arg-type]
    assert completion.choices[0].message.content == "Paris é🎈"
    assert len(provider.asked) == asked, "the second time it comes from cache"
    call = client.chat("openai/tools", CAPITAL).message.tool_calls
    assert call is not None
    assert call[0].function.arguments == {"city": "Rome"}


def test_a_stream_that_breaks_off_is_an_error_to_every_client(
    client: ollama.Client, openai_client: openai.OpenAI
) -> None:
    with pytest.raises(ollama.ResponseError, match="broke off"):
        list(client.chat("openai/truncated~ollama", CAPITAL, stream=True))
    with pytest.raises(openai.APIError, match="broke off"):
        list(openai_client.chat.completions.create(model="openai/truncated~openai", messages=CAPITAL, stream=True))  # type: ignore[arg-type]


def test_vectors_come_alike_from_both_clients(client: ollama.Client, openai_client: openai.OpenAI) -> None:
    texts = ["A cat sits on the mat.", "A kitten rests on a rug.", "The bank has raised its rates."]
    whole = client.embed("all-minilm", texts)
    cat, kitten, bank = whole.embeddings
    assert len(cat) == 384
    assert sum(number * number for number in cat) == pytest.approx(1, abs=1e-3)

    def likeness(one: Sequence[float], other: Sequence[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert likeness(cat, kitten) > likeness(cat, bank) + 0.3
    theirs = openai_client.embeddings.create(model="all-minilm", input=texts)  # in base64, without a word
    assert [one.embedding for one in theirs.data] == [pytest.approx(list(one), abs=1e-6) for one in whole.embeddings]
    assert theirs.usage.prompt_tokens == whole.prompt_eval_count
    short = openai_client.embeddings.create(model="all-minilm", input=texts[0], dimensions=8, encoding_format="float")
    assert len(short.data[0].embedding) == 8
    old = client.embeddings("all-minilm", texts[0])
    assert len(old.embedding) == 384
    with pytest.raises(ollama.ResponseError, match="try pulling it first"):
        client.embed("no-such-model", "a")
    with pytest.raises(openai.BadRequestError, match="does not support embeddings"):
        openai_client.embeddings.create(model=MODEL, input="a")
