"""Anthropic's official Python client, unchanged, against the running product and a real model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import MessageParam, ToolParam

from tests.product import Product
from tests.provider import Provider

MODEL = "smollm2:135m"
CAPITAL: list[MessageParam] = [{"role": "user", "content": "What is the capital of France?"}]
LIKELIEST = {"temperature": 0}  # the client has no argument for it any more; the API takes it
EXACT: dict[str, Any] = {"model": MODEL, "max_tokens": 64, "messages": CAPITAL, "extra_body": LIKELIEST}
WEATHER: ToolParam = {
    "name": "weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
def client(product: Product) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=product.base_url, api_key="anything", timeout=120, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(product: Product) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=product.base_url, api_key="anything", timeout=120, max_retries=0
    ) as client:
        yield client


def cloud(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": f"openai/{model}", "max_tokens": 64, "messages": CAPITAL, **fields}


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_the_capital_of_france_is_paris_whole_streamed_and_from_every_dialects_cache(
    product: Product, client: anthropic.Anthropic
) -> None:
    with client.messages.stream(**EXACT, extra_headers={"Cache-Control": "no-cache"}) as stream:
        pieces = list(stream.text_stream)
        streamed = stream.get_final_message()
    assert "Paris" in text_of(streamed)
    assert "".join(pieces) == text_of(streamed)
    assert len(pieces) > 3, "it must stream token by token"
    assert streamed.stop_reason == "end_turn"
    assert streamed.usage.output_tokens >= len(pieces) - 1
    assert streamed.usage.input_tokens > 0

    raw = client.messages.with_raw_response.create(**EXACT)
    assert raw.headers["Cache-Status"] == "orchestrator; hit; detail=memory"
    whole = raw.parse()
    assert text_of(whole) == text_of(streamed)
    assert (whole.stop_reason, whole.usage.output_tokens) == ("end_turn", streamed.usage.output_tokens)
    assert whole.usage.input_tokens == streamed.usage.input_tokens
    assert whole.id != streamed.id

    question = {"model": MODEL, "messages": CAPITAL, "stream": False, "options": {"temperature": 0}}
    chat = httpx.post(f"{product.base_url}/api/chat", json=question, timeout=120)
    assert chat.headers["Cache-Status"] == "orchestrator; hit; detail=memory"
    assert chat.json()["message"]["content"] == text_of(streamed)


def test_events_come_in_anthropics_order(client: anthropic.Anthropic) -> None:
    found = [event.type for event in client.messages.create(**EXACT, stream=True)]
    middle = found[2:-3]
    assert found[:2] == ["message_start", "content_block_start"]
    assert set(middle) == {"content_block_delta"}
    assert found[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_what_is_replayed_is_the_same_message_under_another_id(client: anthropic.Anthropic) -> None:
    told = []
    for _ in range(4):
        with client.messages.stream(**EXACT) as stream:
            told.append(stream.get_final_message())
    assert len({message.id for message in told}) == 4
    assert len({message.model_copy(update={"id": ""}).model_dump_json() for message in told[1:]}) == 1


def test_an_answer_ends_at_its_cap_and_at_a_stop_sequence(client: anthropic.Anthropic) -> None:
    story: list[MessageParam] = [{"role": "user", "content": "Count to twenty."}]
    cut = client.messages.create(model=MODEL, max_tokens=4, messages=story, extra_body=LIKELIEST)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 4)
    stopped = client.messages.create(**EXACT | {"stop_sequences": ["Paris"]})
    assert text_of(stopped)
    assert "Paris" not in text_of(stopped)
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "Paris")


async def test_the_async_client_streams_and_collects(async_client: anthropic.AsyncAnthropic) -> None:
    async with async_client.messages.stream(**EXACT) as stream:
        streamed = await stream.get_final_message()
    whole = await async_client.messages.create(**EXACT)
    assert text_of(whole) == text_of(streamed)
    assert "Paris" in text_of(whole)


def test_a_conversation_with_a_tool(client: anthropic.Anthropic, provider: Provider) -> None:
    asked = client.messages.create(**cloud("tools", tools=[WEATHER]))
    (call,) = asked.content
    assert isinstance(call, anthropic.types.ToolUseBlock)
    assert (call.name, call.input, asked.stop_reason) == ("weather", {"city": "Rome"}, "tool_use")
    messages = [
        *CAPITAL,
        asked.to_param(),
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
    ]
    told = client.messages.create(**cloud("good", tools=[WEATHER]) | {"messages": messages})
    assert text_of(told) == "Paris é🎈"
    sent = provider.asked[-1]
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant", "tool"]
    assert sent["messages"][1]["tool_calls"][0]["id"] == sent["messages"][2]["tool_call_id"] == call.id
    assert sent["tools"][0]["function"]["parameters"] == WEATHER["input_schema"]


def test_a_tool_call_is_streamed(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**cloud("tools", tools=[WEATHER])) as stream:
        message = stream.get_final_message()
    (call,) = message.content
    assert isinstance(call, anthropic.types.ToolUseBlock)
    assert (call.input, message.stop_reason) == ({"city": "Rome"}, "tool_use")


async def test_thinking_is_told_and_taken_back(async_client: anthropic.AsyncAnthropic, provider: Provider) -> None:
    question = cloud("thinks", thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2048)
    async with async_client.messages.stream(**question) as stream:
        message = await stream.get_final_message()
    thought, said = message.content
    assert isinstance(thought, anthropic.types.ThinkingBlock)
    assert (thought.thinking, said.type) == ("Hm.", "text")
    again = [*CAPITAL, message.to_param(), {"role": "user", "content": "Sure?"}]
    assert text_of(await async_client.messages.create(**question | {"messages": again})) == "Paris é🎈"
    assert [turn["role"] for turn in provider.asked[-1]["messages"]] == ["user", "assistant", "user"]


def test_a_local_model_that_cannot_think_answers_all_the_same(client: anthropic.Anthropic) -> None:
    question = EXACT | {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    assert "Paris" in text_of(client.messages.create(**question))


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        (EXACT | {"model": "nope"}, anthropic.NotFoundError, "model 'nope' not found"),
        (EXACT | {"max_tokens": 0}, anthropic.BadRequestError, "max_tokens is required and must be positive"),
        (EXACT | {"messages": []}, anthropic.BadRequestError, "messages is required"),
        (cloud("429"), anthropic.RateLimitError, "no, 429"),
        (cloud("503"), anthropic.InternalServerError, "no, 503"),
    ],
)
def test_errors_are_the_clients_own_classes(
    client: anthropic.Anthropic, fields: dict[str, Any], error: type[anthropic.APIStatusError], said: str
) -> None:
    with pytest.raises(error, match=said) as refused:
        client.messages.create(**fields)
    body = refused.value.body
    assert isinstance(body, dict)
    assert body["type"] == "error"
    assert refused.value.request_id == body["request_id"]


def test_a_stream_that_breaks_off_is_an_error(client: anthropic.Anthropic) -> None:
    said = []
    with pytest.raises(anthropic.APIStatusError, match="broke off"), client.messages.stream(**cloud("truncated")) as s:
        said.extend(s.text_stream)
    assert said == ["Par"]


async def test_tokens_are_counted(async_client: anthropic.AsyncAnthropic, client: anthropic.Anthropic) -> None:
    short = await async_client.messages.count_tokens(model=MODEL, messages=CAPITAL)
    long = client.messages.count_tokens(model=MODEL, messages=CAPITAL, system="Be brief.", tools=[WEATHER])
    assert 0 < short.input_tokens < long.input_tokens
    took = client.messages.create(model=MODEL, max_tokens=1, messages=CAPITAL).usage.input_tokens
    counted = await async_client.messages.count_tokens(model=MODEL, messages=CAPITAL)
    assert counted.input_tokens == took  # the model is loaded by now


def test_a_prompt_written_in_beta_goes_the_same_way(client: anthropic.Anthropic) -> None:
    message = client.beta.messages.create(**EXACT, betas=["interleaved-thinking-2025-05-14"])
    assert "Paris" in "".join(block.text for block in message.content if block.type == "text")
