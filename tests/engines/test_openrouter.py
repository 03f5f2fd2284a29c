"""OpenRouter: what its answers cost, how its models are asked to think, and what its errors say."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest

from orchestrator.core.errors import EngineError, EngineUnavailable, RateLimited
from orchestrator.core.prices import Price
from orchestrator.core.types import ChatRequest, Chunk, Message, Usage
from orchestrator.engines.wires.base import Offer
from orchestrator.engines.wires.openai import OpenAI
from orchestrator.engines.wires.openrouter import EFFORTS, OpenRouter, OpenRouterAnswer
from tests.speeches import OpenRouterSpeech, sse

WIRE = OpenRouter()
LONG = "x" * 5_000
MARK = {"type": "ephemeral"}


def ended(usage: bytes) -> Usage:
    """The counts of an answer that ends with this."""
    answer = OpenRouterAnswer()
    answer.read([b'data: {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}'])
    answer.read([b'data: {"choices": [], "usage": ' + usage + b"}"])
    done = answer.end(prompt_ns=1, eval_ns=1).done
    assert done
    return done.usage


def read(*events: dict[str, Any]) -> list[Chunk]:
    """The chunks up to where it broke off, which is raised."""
    answer = OpenRouterAnswer()
    chunks = answer.read(b"".join(map(sse, events)).split(b"\n"))
    if answer.trouble:
        raise answer.trouble
    return chunks


def body(name: str = "vendor/model", traits: frozenset[str] | None = None, **fields: Any) -> dict[str, Any]:
    fields = {"messages": (Message(role="user", content="hi"),)} | fields
    offer = WIRE.guess(name) if traits is None else Offer(name=name, traits=traits)
    return WIRE.chat(ChatRequest(model="m", **fields), offer).body


@pytest.mark.parametrize(
    ("told", "microusd"),
    [
        (b"0.000123", 123),
        (b"1.2345678", 1_234_568),
        (b"0.0000001", 1),  # what cost something is not free
        (b"0.00014200000000000002", 142),  # a sum of floats, theirs
        (b"0.00014199999999999998", 142),
        (b"1.7e-05", 17),
        (b'"0.25"', 250_000),
        (b"3", 3_000_000),
        (b"0", 0),
        (b"0.0", 0),
        (b"-0.5", None),
        (b"1e30", None),
        (b'"NaN"', None),
        (b'"Infinity"', None),
        (b'"much"', None),
        (b"true", None),
        (b"null", None),
        (b"{}", None),
    ],
)
def test_the_cost_is_read_to_the_millionth_of_a_dollar_and_nonsense_is_none(told: bytes, microusd: int | None) -> None:
    usage = ended(b'{"prompt_tokens": 11, "completion_tokens": 2, "cost": ' + told + b"}")
    assert (usage.cost_microusd, usage.prompt_tokens, usage.completion_tokens) == (microusd, 11, 2)


def test_a_cost_that_is_not_told_is_not_known() -> None:
    assert ended(b'{"prompt_tokens": 11}').cost_microusd is None


def test_with_a_vendors_own_key_the_fee_is_not_all() -> None:
    details = b'"cost_details": {"upstream_inference_cost": 0.002}'
    assert ended(b'{"cost": 0.0001, "is_byok": true, ' + details + b"}").cost_microusd == 2_100
    assert ended(b'{"cost": 0.0001, "is_byok": false, ' + details + b"}").cost_microusd == 100
    assert ended(b'{"cost": 0.0001, "is_byok": true}').cost_microusd is None
    assert ended(b'{"cost": 0.0001, "is_byok": true, "cost_details": {"upstream_inference_cost": null}}') == ended(
        b'{"is_byok": true}'
    )


def test_other_servers_say_cost_and_mean_who_knows_what() -> None:
    answer = OpenAI().answer()
    answer.read(b"".join(OpenRouterSpeech().answer()).split(b"\n"))
    done = answer.end(prompt_ns=1, eval_ns=1).done
    assert done
    assert (done.usage.cost_microusd, done.usage.cached_tokens) == (None, 4)


def test_tokens_of_its_caches_are_counted() -> None:
    usage = ended(
        b'{"prompt_tokens": 90, "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 20, "x": 1}}'
    )
    assert (usage.prompt_tokens, usage.cached_tokens, usage.cache_write_tokens) == (90, 60, 20)


@pytest.mark.parametrize(
    ("think", "traits", "sent"),
    [
        (None, None, None),
        (True, None, {"enabled": True}),
        (False, None, {"enabled": False}),
        ("low", None, {"effort": "low"}),
        ("max", None, {"effort": "high"}),
        ("max", frozenset({"low", "xhigh"}), {"effort": "xhigh"}),
        ("low", frozenset({"medium", "high"}), {"effort": "medium"}),
        ("high", frozenset({"always thinks"}), {"enabled": True}),  # it has no efforts
        (False, frozenset({"always thinks", "low", "high"}), {"effort": "low", "exclude": True}),
        (False, frozenset({"always thinks"}), {"exclude": True}),
    ],
)
def test_every_model_is_asked_to_think_in_one_form(
    think: bool | str | None, traits: frozenset[str] | None, sent: dict[str, Any] | None
) -> None:
    asked = body(traits=traits, think=think)
    assert asked.get("reasoning") == sent
    assert "reasoning_effort" not in asked


def test_a_model_that_cannot_think_is_not_asked_to() -> None:
    offer = Offer(name="a/b", capabilities=frozenset({"completion"}))
    request = ChatRequest(model="m", messages=(Message(role="user", content="hi"),), think=False)
    assert "reasoning" not in WIRE.chat(request, offer).body


def test_the_cap_is_no_higher_than_its_list_has_it() -> None:
    (offer,) = WIRE.offers(orjson.dumps(OpenRouterSpeech().listing()))
    assert offer.most_output == 4096
    request = ChatRequest(model="m", messages=(Message(role="user", content="hi"),), options={"num_predict": 32_000})
    assert WIRE.chat(request, offer).body["max_tokens"] == 4096
    for told in (None, {}, {"max_completion_tokens": None}, "much"):
        (offer,) = WIRE.offers(orjson.dumps({"data": [{"id": "a/b", "top_provider": told}]}))
        assert WIRE.chat(request, offer).body["max_tokens"] == 32_000


def test_its_list_tells_how_a_model_thinks_what_it_costs_and_which_one_it_is() -> None:
    (offer,) = WIRE.offers(orjson.dumps(OpenRouterSpeech().listing()))
    assert offer.traits == {"low", "medium", "high"}
    assert offer.price == Price(input=Decimal(2), output=Decimal("8.5"))
    assert offer.version == "vendor/good-2026-01-02"
    for told, traits in (
        ({"mandatory": True, "supported_efforts": None}, {"always thinks", *EFFORTS}),
        ({"mandatory": False, "supported_efforts": ["max", "low", None]}, {"low"}),
        ("odd", {"low", "medium", "high"}),
    ):
        (offer,) = WIRE.offers(orjson.dumps({"data": [{"id": "a/b", "reasoning": told}]}))
        assert offer.traits == traits


def test_what_comes_again_is_marked_for_anthropics_models_only() -> None:
    messages = (Message(role="system", content=LONG), Message(role="user", content="hi"))
    marked = body("anthropic/claude-x", messages=messages)["messages"]
    assert marked[0]["content"] == [{"type": "text", "text": LONG, "cache_control": MARK}]
    assert marked[1]["content"] == "hi"
    assert body("openai/gpt-x", messages=messages)["messages"][0]["content"] == LONG
    short = (Message(role="system", content="short"), Message(role="user", content="hi"))
    assert body("anthropic/claude-x", messages=short)["messages"][0]["content"] == "short"
    tool = {"type": "function", "function": {"name": "look", "description": LONG}}
    assert body("anthropic/claude-x", messages=short, tools=(tool,))["messages"][0]["content"][-1]["cache_control"]


def test_a_run_of_tool_calls_is_marked_at_its_end() -> None:
    messages = (Message(role="user", content="hi"), Message(role="tool", content="a cat", tool_call_id="1"))
    last = body("~anthropic/claude-latest", messages=messages)["messages"][-1]
    assert last["content"] == [{"type": "text", "text": "a cat", "cache_control": MARK}]
    assert last["tool_call_id"] == "1"


def test_a_refusal_says_what_the_provider_behind_it_said() -> None:
    error = {"code": 400, "message": "Provider returned error"}
    about = {"provider_name": "Backend", "raw": "This model's maximum context length is 4096 tokens."}
    said = WIRE.said(orjson.dumps({"error": error | {"metadata": about}}))
    assert said.words == f"Provider returned error (Backend: {about['raw']})"
    assert said.is_about_length
    for odd in (None, [], {"provider_name": None}, {"reasons": 7}):
        assert WIRE.said(orjson.dumps({"error": error | {"metadata": odd}})).words == "Provider returned error"


def test_a_moderation_says_why_and_does_not_repeat_what_was_asked() -> None:
    about = {"reasons": ["violence", "hate"], "flagged_input": "how to …", "provider_name": "OpenAI", "model_slug": "m"}
    body = {"error": {"code": 403, "message": "Your input was flagged", "metadata": about}}
    assert WIRE.said(orjson.dumps(body)).words == "Your input was flagged (OpenAI: violence, hate)"


@pytest.mark.parametrize(
    ("code", "kind"),
    [(429, RateLimited), (502, EngineUnavailable), (503, EngineUnavailable), (400, EngineError), ({}, EngineError)],
)
def test_an_error_in_the_middle_is_of_its_kind(code: object, kind: type[EngineError]) -> None:
    error = {"code": code, "message": "no", "metadata": {"provider_name": "Backend", "raw": "at capacity"}}
    with pytest.raises(EngineError, match=r"broke off: no \(Backend: at capacity\)") as broken:
        read({"error": error, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]})
    assert type(broken.value) is kind


def test_an_end_by_error_without_words_is_no_answer() -> None:
    with pytest.raises(EngineError, match="ended its answer with 'error'"):
        read({"choices": [{"delta": {"content": "half"}, "finish_reason": "error"}]})


def test_thoughts_are_read_once_wherever_they_stand() -> None:
    text = {"type": "reasoning.text", "text": "Hm."}
    hidden = {"type": "reasoning.encrypted", "data": "x"}
    assert read({"choices": [{"delta": {"reasoning": "Hm.", "reasoning_details": [text]}}]}) == [Chunk(thinking="Hm.")]
    assert read({"choices": [{"delta": {"reasoning_details": [text, hidden]}}]}) == [Chunk(thinking="Hm.")]
    assert read({"choices": [{"delta": {"reasoning_details": [{"summary": "So."}]}}]}) == [Chunk(thinking="So.")]


def test_a_picture_is_no_answer_in_words() -> None:
    with pytest.raises(EngineError, match="answered with a picture"):
        read({"choices": [{"delta": {"content": "", "images": [{"type": "image_url"}]}}]})


def test_vectors_cost_something_too() -> None:
    vectors = WIRE.vectors(orjson.dumps(OpenRouterSpeech().vectors({"input": ["a"]})))
    assert (vectors.tokens, vectors.cost_microusd) == (4, 123)
