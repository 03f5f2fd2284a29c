"""LangChain's own package for Ollama, unchanged, against the running product: a real model, and a provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar

import ollama
import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from pydantic import BaseModel

from tests.product import Product
from tests.provider import Provider

MODEL = "smollm2:135m"
CAPITAL = "What is the capital of France?"
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
T = TypeVar("T")


class City(BaseModel):
    """A city."""

    city: str


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


class LangChain:
    """Makes the package's three kinds of models, and closes what they themselves leave open."""

    def __init__(self, address: str) -> None:
        self.made: list[Any] = []
        self._address = address

    def chat(self, model: str = MODEL, **fields: Any) -> ChatOllama:
        return self._kept(ChatOllama(model=model, base_url=self._address, temperature=0, **fields))

    def text(self, model: str = MODEL) -> OllamaLLM:
        return self._kept(OllamaLLM(model=model, base_url=self._address, temperature=0))

    def vectors(self, model: str = "all-minilm", **fields: Any) -> OllamaEmbeddings:
        return self._kept(OllamaEmbeddings(model=model, base_url=self._address, **fields))

    def _kept(self, model: T) -> T:
        self.made.append(model)
        return model


@pytest.fixture
async def langchain(product: Product) -> AsyncIterator[LangChain]:
    langchain = LangChain(product.base_url)
    yield langchain
    for model in langchain.made:
        model._client.close()
        await model._async_client.close()


async def test_a_question_is_answered_whole_streamed_and_asynchronously(langchain: LangChain) -> None:
    llm = langchain.chat(num_predict=48)
    whole = llm.invoke([SystemMessage("Be brief."), HumanMessage(CAPITAL)])
    assert "Paris" in whole.text
    assert whole.response_metadata["done_reason"] in {"stop", "length"}
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] > 0
    assert (await llm.ainvoke([SystemMessage("Be brief."), HumanMessage(CAPITAL)])).text == whole.text

    pieces = list(langchain.chat(client_kwargs={"headers": {"Cache-Control": "no-cache"}}).stream(CAPITAL))
    assert len(pieces) > 3, "it must stream token by token"
    text = "".join(piece.text for piece in pieces)
    assert "Paris" in text
    assert "".join([piece.text async for piece in langchain.chat().astream(CAPITAL)]) == text
    assert [answer.text for answer in langchain.chat().batch([CAPITAL, CAPITAL])] == [text, text]


@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
def test_the_embedded_model_keeps_to_a_form(langchain: LangChain, method: Any) -> None:
    structured = langchain.chat(num_predict=64).with_structured_output(City, method=method, include_raw=True)
    told = structured.invoke(f'{CAPITAL} Answer as JSON: {{"city": "…"}}')
    assert isinstance(told, dict)
    assert told["raw"].text.lstrip().startswith("{")
    if method == "json_schema":  # the other one promises JSON, not this form of it
        assert isinstance(told["parsed"], City)


@pytest.mark.parametrize(("model", "method"), [("openai/json", "json_schema"), ("openai/tools", "function_calling")])
def test_a_provider_keeps_to_a_form(langchain: LangChain, provider: Provider, model: str, method: Any) -> None:
    schema = City.model_json_schema() | {"title": "weather", "description": "Where."}
    told = langchain.chat(model).with_structured_output(schema, method=method).invoke(f"{CAPITAL} By {method}.")
    assert told == {"city": "Paris" if model == "openai/json" else "Rome"}
    sent = provider.asked[-1]
    if method == "json_schema":
        assert sent["response_format"]["json_schema"]["schema"]["properties"] == schema["properties"]
    else:
        assert sent["tools"][0]["function"]["name"] == "weather"


async def test_a_tool_is_called_and_its_answer_taken(langchain: LangChain, provider: Provider) -> None:
    llm = langchain.chat("openai/agent").bind_tools([weather])
    asked = HumanMessage("How is the weather in Rome, by LangChain?")
    called = llm.invoke([asked])
    (call,) = called.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Rome"})
    result = weather.invoke(call)
    told = await llm.ainvoke([asked, called, result])
    assert told.text == "Paris é🎈"
    assert [turn["role"] for turn in provider.asked[-1]["messages"]] == ["user", "assistant", "tool"]
    assert provider.asked[-1]["messages"][-1]["content"] == "sunny in Rome"
    streamed: Any = None
    for piece in llm.stream([asked]):
        assert isinstance(piece, AIMessageChunk)
        streamed = piece if streamed is None else streamed + piece
    assert [one["args"] for one in streamed.tool_calls] == [{"city": "Rome"}]


def test_what_is_thought_is_kept_apart(langchain: LangChain) -> None:
    told = langchain.chat("openai/thinks", reasoning="low").invoke(CAPITAL)
    assert told.text == "Paris é🎈"
    assert told.additional_kwargs["reasoning_content"] == "Hm."


def test_a_picture_reaches_a_model_that_sees(langchain: LangChain, provider: Provider) -> None:
    parts: list[Any] = [
        {"type": "text", "text": "What is this, LangChain?"},
        {"type": "image_url", "image_url": f"data:image/png;base64,{PICTURE}"},
    ]
    assert langchain.chat("openai/good").invoke([HumanMessage(parts)]).text == "Paris é🎈"
    text, picture = provider.asked[-1]["messages"][0]["content"]
    assert text["text"].strip() == "What is this, LangChain?"
    assert picture["image_url"]["url"] == f"data:image/png;base64,{PICTURE}"
    with pytest.raises(ollama.ResponseError, match="does not support images"):
        langchain.chat().invoke([HumanMessage(parts)])


def test_how_likely_each_token_was(langchain: LangChain) -> None:
    told = langchain.chat("openai/logprobs", logprobs=True, top_logprobs=1).invoke(CAPITAL)
    (one,) = told.response_metadata["logprobs"]
    assert (one["token"], one["logprob"], one["top_logprobs"][0]["token"]) == ("Par", -0.5, "par")


async def test_a_prompt_is_completed(langchain: LangChain) -> None:
    llm = langchain.text()
    text = llm.invoke(CAPITAL)
    assert "Paris" in text
    assert "".join(llm.stream(CAPITAL)) == text
    assert await llm.ainvoke(CAPITAL) == text
    assert "".join([piece async for piece in llm.astream(CAPITAL)]) == text
    assert llm.invoke(CAPITAL, stop=["Paris"]) == text.split("Paris")[0]


async def test_texts_become_vectors(langchain: LangChain) -> None:
    model = langchain.vectors(validate_model_on_init=True)
    texts = ["A cat sits on the mat.", "A kitten rests on a rug.", "The bank has raised its rates."]
    cat, kitten, bank = model.embed_documents(texts)
    assert len(cat) == 384
    assert like(cat, kitten) > like(cat, bank) + 0.3
    assert model.embed_query(texts[0]) == pytest.approx(cat, abs=1e-6)
    assert await model.aembed_documents(texts) == [cat, kitten, bank]
    assert await model.aembed_query(texts[2]) == pytest.approx(bank, abs=1e-6)
    short = langchain.vectors(dimensions=8)
    assert len(short.embed_query(texts[0])) == 8


def like(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_errors_are_the_clients_own(langchain: LangChain) -> None:
    with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as refused:
        langchain.chat("nope").invoke(CAPITAL)
    assert refused.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="broke off"):
        list(langchain.chat("openai/truncated~langchain").stream(CAPITAL))
    with pytest.raises(ollama.ResponseError, match="does not support tools"):
        langchain.chat().bind_tools([weather]).invoke(CAPITAL)
