"""What the official Python clients can do beyond plain text, against the running product."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import ollama
import openai
import pytest
from pydantic import BaseModel

from tests.product import Product
from tests.provider import Provider

MODEL = "smollm2:135m"
CAPITAL = "What is the capital of France? Answer as JSON."
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SHORT = {"temperature": 0, "num_predict": 4}


class City(BaseModel):
    """A city."""

    city: str


def weather(city: str) -> str:
    """The weather in a city.

    Args:
      city: its name
    """
    return f"sunny in {city}"


def ask(content: Any) -> Any:
    return [{"role": "user", "content": content}]


@pytest.fixture
def there(product: Product) -> Iterator[ollama.Client]:
    with ollama.Client(host=product.base_url, timeout=120) as client:
        yield client


@pytest.fixture
async def there_async(product: Product) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(host=product.base_url, timeout=120) as client:
        yield client


@pytest.fixture
def open_ai(product: Product) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{product.base_url}/v1", api_key="anything", timeout=120, max_retries=0) as client:
        yield client


@pytest.fixture
def claude(product: Product) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=product.base_url, api_key="anything", timeout=120, max_retries=0) as client:
        yield client


async def test_ollama_calls_a_function_and_takes_what_it_said(
    there: ollama.Client, there_async: ollama.AsyncClient, provider: Provider
) -> None:
    messages = ask("How is it in Rome, by Python?")
    called = there.chat("openai/agent", messages, tools=[weather])
    assert called.message.tool_calls
    (call,) = called.message.tool_calls
    said = weather(**call.function.arguments)
    messages += [called.message, {"role": "tool", "tool_name": "weather", "content": said}]
    told = await there_async.chat("openai/agent", messages, tools=[weather])
    assert told.message.content == "Paris é🎈"
    assert provider.asked[-1]["messages"][-1]["content"] == "sunny in Rome"
    assert provider.asked[-1]["tools"][0]["function"]["parameters"]["required"] == ["city"]


async def test_ollama_thinks_sees_and_keeps_to_a_form(there: ollama.Client, there_async: ollama.AsyncClient) -> None:
    thought = there.chat("openai/thinks", ask("Think."), think="low").message
    assert (thought.thinking, thought.content) == ("Hm.", "Paris é🎈")
    picture = [ollama.Message(role="user", content="What is it?", images=[ollama.Image(value=PICTURE)])]
    assert there.chat("openai/good", picture).message.content == "Paris é🎈"
    options = {"temperature": 0, "num_predict": 64}
    formed = await there_async.chat(MODEL, ask(CAPITAL), format=City.model_json_schema(), options=options)
    assert City.model_validate_json(formed.message.content or "")
    generated = there.generate(MODEL, CAPITAL, format=City.model_json_schema(), options=options)
    assert generated.response == formed.message.content, "one question"


async def test_ollama_generates_raw_from_a_context_and_with_logprobs(
    there: ollama.Client, there_async: ollama.AsyncClient
) -> None:
    raw = there.generate(MODEL, "The sky is", raw=True, options=SHORT)
    assert raw.response
    assert raw.context is None
    before = there.generate(MODEL, "My name is Ada.", system="Be brief.", options=SHORT)
    after = await there_async.generate(MODEL, "What is my name?", context=before.context, options=SHORT)
    assert (after.prompt_eval_count or 0) > (before.prompt_eval_count or 0)
    likely = there.chat(MODEL, ask("Hi"), logprobs=True, top_logprobs=2, options=SHORT)
    assert likely.logprobs
    assert all(len(one.top_logprobs or ()) == 2 for one in likely.logprobs)
    pieces = [piece async for piece in await there_async.chat(MODEL, ask("Hi"), stream=True, options=SHORT)]
    assert "".join(piece.message.content or "" for piece in pieces) == likely.message.content
    assert len((await there_async.embed("all-minilm", "A cat.", dimensions=8)).embeddings[0]) == 8
    assert MODEL in {model.model for model in (await there_async.list()).models}


@pytest.mark.parametrize("name", ["pull", "push", "delete", "copy", "create"])
def test_ollama_hears_what_is_not_there_yet(there: ollama.Client, name: str) -> None:
    arguments = {"copy": ("a", "b")}.get(name, ("a",))
    with pytest.raises(ollama.ResponseError) as refused:
        getattr(there, name)(*arguments)
    assert refused.value.status_code == 501


def test_openai_calls_tools_streams_and_parses(open_ai: openai.OpenAI) -> None:
    tools: Any = [openai.pydantic_function_tool(City, name="weather")]
    parsed = open_ai.chat.completions.parse(model="openai/tools", messages=ask("Rome?"), tools=tools)
    assert parsed.choices[0].finish_reason == "tool_calls"
    assert parsed.choices[0].message.tool_calls
    assert parsed.choices[0].message.tool_calls[0].function.parsed_arguments == City(city="Rome")
    with open_ai.chat.completions.stream(model="openai/tools", messages=ask("Rome?"), tools=tools) as stream:
        (call,) = stream.get_final_completion().choices[0].message.tool_calls or ()
    assert json.loads(call.function.arguments) == {"city": "Rome"}
    for model in (MODEL, "openai/json"):
        formed = open_ai.chat.completions.parse(
            model=model, messages=ask(CAPITAL), temperature=0, max_tokens=64, response_format=City
        )
        assert isinstance(formed.choices[0].message.parsed, City)


def test_openai_thinks_sees_and_says_how_likely(open_ai: openai.OpenAI) -> None:
    thought = open_ai.chat.completions.create(model="openai/thinks", messages=ask("Think."), reasoning_effort="low")
    assert thought.choices[0].message.to_dict()["reasoning"] == "Hm."
    url = {"url": f"data:image/png;base64,{PICTURE}"}
    picture = ask([{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": url}])
    assert open_ai.chat.completions.create(model="openai/good", messages=picture).choices[0].message.content
    likely = open_ai.chat.completions.create(
        model=MODEL, messages=ask("Hi"), logprobs=True, top_logprobs=2, max_tokens=2, temperature=0
    )
    assert likely.choices[0].logprobs
    assert [len(one.top_logprobs) for one in likely.choices[0].logprobs.content or ()] == [2, 2]
    with pytest.raises(openai.BadRequestError, match="does not support images"):
        open_ai.chat.completions.create(model=MODEL, messages=picture)


def test_claude_parses_sees_and_runs_tools(claude: anthropic.Anthropic, provider: Provider) -> None:
    formed = claude.messages.parse(
        model=MODEL, max_tokens=64, messages=ask(CAPITAL), output_format=City, extra_body={"temperature": 0}
    )
    assert isinstance(formed.parsed_output, City)
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
    seen = claude.messages.create(
        model="openai/good", max_tokens=9, messages=ask([{"type": "image", "source": source}])
    )
    assert seen.content[0].to_dict()["text"] == "Paris é🎈"
    assert provider.asked[-1]["messages"][0]["content"][1]["image_url"]["url"].endswith(PICTURE)
    runner = claude.beta.messages.tool_runner(
        model="openai/agent", max_tokens=64, messages=ask("Rome?"), tools=[anthropic.beta_tool(weather)]
    )
    *_, last = list(runner)
    assert last.content[0].to_dict()["text"] == "Paris é🎈"


def test_claude_lists_models(claude: anthropic.Anthropic) -> None:
    assert MODEL in {model.id for model in claude.models.list()}
