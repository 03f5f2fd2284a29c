"""OpenAI's official Python client on its older and its newer endpoint, against the running product and a real model."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import (
    FunctionToolParam,
    Response,
    ResponseFunctionToolCall,
    ResponseReasoningItem,
    ResponseStreamEvent,
)
from pydantic import BaseModel, TypeAdapter

from tests.product import Product
from tests.provider import Provider

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "openai.md"
MODEL = "smollm2:135m"
CAPITAL = "What is the capital of France?"
EXACT: dict[str, Any] = {"model": MODEL, "temperature": 0}
WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": None,
}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
FRESH = {"Cache-Control": "no-cache"}


@pytest.fixture
def client(product: Product) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{product.base_url}/v1", api_key="anything", timeout=120, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(product: Product) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{product.base_url}/v1", api_key="anything", timeout=120, max_retries=0
    ) as client:
        yield client


def hit(response: Any) -> bool:
    return bool(response.headers["Cache-Status"] == "orchestrator; hit; detail=memory")


def test_a_completion_is_streamed_whole_and_the_one_of_generate(product: Product, client: openai.OpenAI) -> None:
    stream = client.completions.create(
        **EXACT, prompt=CAPITAL, stream=True, stream_options={"include_usage": True}, extra_headers=FRESH
    )
    *chunks, last = list(stream)
    text = "".join(chunk.choices[0].text for chunk in chunks)
    assert "Paris" in text
    assert len(chunks) > 3, "it must stream token by token"
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert len({chunk.id for chunk in [*chunks, last]}) == 1
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens >= len(chunks) - 1

    raw = client.completions.with_raw_response.create(**EXACT, prompt=[CAPITAL])
    assert hit(raw)
    whole = raw.parse()
    assert (whole.choices[0].text, whole.choices[0].finish_reason, whole.usage) == (text, "stop", last.usage)
    body = {"model": MODEL, "prompt": CAPITAL, "stream": False, "options": {"temperature": 0}}
    generated = httpx.post(f"{product.base_url}/api/generate", json=body, timeout=120)
    assert hit(generated)
    assert generated.json()["response"] == text


def test_a_completion_ends_at_its_cap_and_at_a_stop_string(client: openai.OpenAI) -> None:
    cut = client.completions.create(**EXACT, prompt="Count to twenty.", max_tokens=4)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage is not None
    assert cut.usage.completion_tokens == 4
    stopped = client.completions.create(**EXACT, prompt=CAPITAL, stop="Paris")
    assert stopped.choices[0].text
    assert "Paris" not in stopped.choices[0].text
    assert stopped.choices[0].finish_reason == "stop"


def test_a_completion_has_the_logprobs_of_older_clients(client: openai.OpenAI) -> None:
    (choice,) = client.completions.create(model="openai/logprobs", prompt=CAPITAL, logprobs=1).choices
    assert choice.logprobs is not None
    assert choice.logprobs.tokens == ["Par"]
    assert choice.logprobs.token_logprobs == [-0.5]
    assert choice.logprobs.top_logprobs == [{"par": -2.5}]
    assert choice.logprobs.text_offset == [0]


async def test_the_async_client_completes(async_client: openai.AsyncOpenAI) -> None:
    stream = await async_client.completions.create(**EXACT, prompt=CAPITAL, stream=True)
    text = "".join([chunk.choices[0].text async for chunk in stream])
    whole = await async_client.completions.create(**EXACT, prompt=CAPITAL)
    assert whole.choices[0].text == text
    assert "Paris" in text


def test_a_response_is_streamed_whole_and_the_one_of_chat(product: Product, client: openai.OpenAI) -> None:
    with client.responses.stream(**EXACT, input=CAPITAL, extra_headers=FRESH) as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
        streamed: Response = stream.get_final_response()
    assert "Paris" in streamed.output_text
    assert "".join(pieces) == streamed.output_text
    assert len(pieces) > 3, "it must stream token by token"
    assert streamed.status == "completed"
    assert streamed.usage is not None
    assert streamed.usage.output_tokens >= len(pieces)
    assert streamed.usage.input_tokens > 0

    raw = client.responses.with_raw_response.create(**EXACT, input=CAPITAL)
    assert hit(raw)
    whole = raw.parse()
    assert (whole.output_text, whole.usage) == (streamed.output_text, streamed.usage)
    assert whole.id != streamed.id
    assert whole.completed_at is not None
    assert whole.completed_at >= whole.created_at
    chat = client.chat.completions.with_raw_response.create(**EXACT, messages=[{"role": "user", "content": CAPITAL}])
    assert hit(chat)
    assert chat.parse().choices[0].message.content == streamed.output_text


def test_events_of_a_response_come_numbered_and_typed(client: openai.OpenAI) -> None:
    found = list(client.responses.create(**EXACT, input=CAPITAL, stream=True))
    assert [event.sequence_number for event in found] == list(range(len(found)))
    assert (found[0].type, found[-1].type) == ("response.created", "response.completed")


@pytest.mark.parametrize("model", [MODEL, "openai/thinks", "openai/tools", "openai/truncated", "openai/logprobs"])
def test_whole_or_in_events_it_has_every_field_the_client_has_a_type_for(client: openai.OpenAI, model: str) -> None:
    """The client itself takes what comes; its types say what others rely on."""
    question: dict[str, Any] = {"model": model, "input": CAPITAL, "temperature": 0, "top_logprobs": 1}
    if model == MODEL:
        del question["top_logprobs"]
    for event in client.responses.create(**question, stream=True):
        assert EVENT.validate_python(event.to_dict(), strict=True).to_dict() == event.to_dict()
    if model != "openai/truncated":
        whole = client.responses.create(**question).to_dict()
        assert Response.model_validate(whole, strict=True).to_dict() == whole


def test_a_response_that_is_cut_says_so(client: openai.OpenAI) -> None:
    cut = client.responses.create(**EXACT, input="Count to twenty.", max_output_tokens=4)
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"
    assert cut.usage is not None
    assert cut.usage.output_tokens == 4


async def test_the_async_client_streams_and_collects_responses(async_client: openai.AsyncOpenAI) -> None:
    async with async_client.responses.stream(**EXACT, input=CAPITAL, instructions="Be brief.") as stream:
        streamed = await stream.get_final_response()
    whole = await async_client.responses.create(**EXACT, input=CAPITAL, instructions="Be brief.")
    assert whole.output_text == streamed.output_text
    assert whole.instructions == "Be brief."


class City(BaseModel):
    """What a model is to say."""

    city: str


def test_a_response_is_parsed_into_the_form_it_was_asked_for(client: openai.OpenAI) -> None:
    parsed = client.responses.parse(**EXACT, input=CAPITAL, text_format=City, max_output_tokens=64)
    assert isinstance(parsed.output_parsed, City)
    with client.responses.stream(**EXACT, input=CAPITAL, text_format=City, max_output_tokens=64) as stream:
        assert stream.get_final_response().output_parsed == parsed.output_parsed


def test_a_conversation_with_a_tool(client: openai.OpenAI, provider: Provider) -> None:
    asked = client.responses.create(model="openai/tools", input=CAPITAL, tools=[WEATHER])
    (call,) = asked.output
    assert isinstance(call, ResponseFunctionToolCall)
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Rome"})
    items: Any = [
        {"role": "user", "content": CAPITAL},
        *[item.to_dict() for item in asked.output],
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny, as a response has it"},
    ]
    told = client.responses.create(model="openai/good", input=items, tools=[WEATHER])
    assert told.output_text == "Paris é🎈"
    sent = provider.asked[-1]
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant", "tool"]
    assert sent["messages"][1]["tool_calls"][0]["id"] == sent["messages"][2]["tool_call_id"] == call.call_id
    assert sent["tools"][0]["function"]["parameters"] == WEATHER["parameters"]


def test_a_tool_call_is_streamed(client: openai.OpenAI) -> None:
    with client.responses.stream(model="openai/tools", input=CAPITAL, tools=[WEATHER]) as stream:
        deltas = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
        (call,) = stream.get_final_response().output
    assert isinstance(call, ResponseFunctionToolCall)
    assert json.loads("".join(deltas)) == json.loads(call.arguments) == {"city": "Rome"}


async def test_thinking_is_told_and_taken_back(async_client: openai.AsyncOpenAI, provider: Provider) -> None:
    question: dict[str, Any] = {"model": "openai/thinks", "reasoning": {"effort": "low"}}
    async with async_client.responses.stream(**question, input=CAPITAL) as stream:
        response = await stream.get_final_response()
    thought, said = response.output
    assert isinstance(thought, ResponseReasoningItem)
    assert (thought.summary[0].text, said.type) == ("Hm.", "message")
    items: Any = [
        {"role": "user", "content": CAPITAL},
        *[item.to_dict() for item in response.output],
        {"role": "user", "content": "Sure?"},
    ]
    assert (await async_client.responses.create(**question, input=items)).output_text == "Paris é🎈"
    assert [turn["role"] for turn in provider.asked[-1]["messages"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"model": "nope"}, openai.NotFoundError, "model 'nope' not found"),
        ({"model": "openai/429~once"}, openai.RateLimitError, "no, 429|wants fewer requests for now"),
        ({"model": "openai/503~once"}, openai.InternalServerError, "no, 503"),
        ({"model": MODEL, "temperature": "hot"}, openai.BadRequestError, "temperature of type float64"),
    ],
)
def test_errors_are_the_clients_own_classes(
    client: openai.OpenAI, fields: Any, error: type[openai.APIStatusError], said: str
) -> None:
    for ask in (
        lambda: client.responses.create(**fields, input=CAPITAL),
        lambda: client.completions.create(**fields, prompt=CAPITAL),
    ):
        with pytest.raises(error, match=said) as refused:
            ask()
        assert isinstance(refused.value.body, dict)
        assert refused.value.body.keys() == {"message", "type", "param", "code"}


def test_what_cannot_be_done_is_refused_in_words(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="does not support insert"):
        client.completions.create(**EXACT, prompt="a", suffix="b")
    with pytest.raises(openai.BadRequestError, match="send a request for each of them"):
        client.completions.create(**EXACT, prompt=["a", "b"])
    with pytest.raises(openai.BadRequestError, match="describe yours as functions"):
        client.responses.create(**EXACT, input="a", tools=[{"type": "code_interpreter", "container": {"type": "auto"}}])
    with pytest.raises(openai.BadRequestError, match="does not support tools"):
        client.responses.create(**EXACT, input="a", tools=[WEATHER])


def test_a_completion_that_breaks_off_is_an_error(client: openai.OpenAI) -> None:
    stream = client.completions.create(model="openai/truncated~completion", prompt=CAPITAL, stream=True)
    assert next(stream).choices[0].text == "Par"
    with pytest.raises(openai.APIError, match="broke off"):
        next(stream)


def test_a_response_that_breaks_off_is_reported_as_failed(client: openai.OpenAI) -> None:
    found = list(client.responses.create(model="openai/truncated~response", input=CAPITAL, stream=True))
    last = found[-1]
    assert last.type == "response.failed"
    assert last.response.status == "failed"
    assert last.response.error is not None
    assert "broke off" in last.response.error.message
    assert [event.delta for event in found if event.type == "response.output_text.delta"] == ["Par"]
    with (
        client.responses.stream(model="openai/truncated~events", input=CAPITAL) as stream,
        pytest.raises(RuntimeError, match="Didn't receive"),
    ):
        stream.get_final_response()


def test_what_the_document_types_is_answered(product: Product) -> None:
    (typed,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    here = typed.replace("localhost:11434", product.base_url.removeprefix("http://"))
    done = subprocess.run([sys.executable, "-c", here], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 2
