"""How an answer in OpenAI's protocol ends, what is asked of OpenAI itself, and what lists of its relatives tell."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from orchestrator.capabilities import Policy, settle
from orchestrator.core.clock import Clock
from orchestrator.core.errors import EngineError, Unsupported
from orchestrator.core.presets import OPENAI
from orchestrator.core.types import ChatRequest, Dialect, Message, Usage
from orchestrator.engines.listing import Listing
from orchestrator.engines.remote import Remote
from orchestrator.engines.wires import wire_at
from orchestrator.engines.wires.openai import OpenAI
from orchestrator.outbound.connection import Connection
from tests.engines.exchange import hello, read
from tests.speeches import KEY, OpenAISpeech, sse


def event(**choice: Any) -> bytes:
    return sse({"choices": [{"index": 0, "delta": {}, **choice}]})


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("stop", "stop"),
        ("STOP", "stop"),
        ("eos", "stop"),
        ("tool_calls", "stop"),
        ("function_call", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("content_filter", "content_filter"),
    ],
)
def test_the_good_ends_that_are_known(said: str, reason: str) -> None:
    assert read(OpenAI(), b"".join(OpenAISpeech().answer(reason=said))).done.reason == reason


@pytest.mark.parametrize("said", ["error", "abort", "insufficient_system_resource", "x" * 30 + KEY, "something_new", 1])
def test_after_any_other_end_it_may_be_half_an_answer(said: Any) -> None:
    with pytest.raises(EngineError, match=f"ended its answer with '{said}'"):
        read(OpenAI(), event(delta={"content": "Par"}) + event(finish_reason=said))


def test_an_empty_word_is_no_end_yet() -> None:
    with pytest.raises(EngineError, match="broke off before its end"):
        read(OpenAI(), event(delta={"content": "Par"}, finish_reason=""))
    frames = [event(delta={"content": "Par"}, finish_reason=""), *OpenAISpeech().answer(("is",))]
    assert read(OpenAI(), b"".join(frames)).text == "Paris"


def test_an_error_that_stands_in_the_choice_is_one() -> None:
    trouble = event(error={"code": 502, "message": "upstream is gone"}, finish_reason="error")
    with pytest.raises(EngineError, match="broke off: upstream is gone"):
        read(OpenAI(), event(delta={"content": "Par"}) + trouble)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://eu.api.openai.com/v1", "max_completion_tokens"),
        ("http://localhost:8000/v1", "max_tokens"),
        ("https://api.openai.com.example.org/v1", "max_tokens"),
    ],
)
def test_the_newer_name_of_the_cap_is_for_openai_itself(address: str, name: str) -> None:
    body = hello(wire_at("openai", address), options={"num_predict": 5})
    assert {key: value for key, value in body.items() if key.startswith("max_")} == {name: 5}
    assert not any(key.startswith("max_") for key in hello(wire_at("openai", address), options={"num_predict": -1}))


ITSELF = wire_at("openai", "https://api.openai.com/v1")
HELLO = ChatRequest(model="m", messages=(Message(role="user", content="hi"),))
WAYS: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.5,
    "stop": ["x"],
    "presence_penalty": 1.0,
    "frequency_penalty": 1.0,
    "seed": 3,
}
SAMPLING = "frequency_penalty, logprobs, presence_penalty, stop, temperature, top_logprobs, top_p"
TOOL = {"type": "function", "function": {"name": "weather"}}


def itself(name: str, request: ChatRequest, policy: Policy = "warn") -> tuple[dict[str, Any], str]:
    """What is sent to a model of OpenAI's own, and what is said to be left out."""
    nowhere = Connection("http://localhost", {}, httpx.Timeout(1), httpx.AsyncHTTPTransport())
    listing = Listing(Remote("openai", nowhere, ITSELF, OPENAI), Clock(), {})
    (offer,) = ITSELF.offers(json.dumps({"data": [{"id": name, "object": "model", "owned_by": "system"}]}).encode())
    assert offer == listing.offer(name)
    settled, left_out = settle(request, listing.model(offer), policy)
    return ITSELF.chat(settled, offer).body, ", ".join(left_out)


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        *(
            (name, SAMPLING)
            for name in ("gpt-5", "gpt-5-mini-2025-08-07", "gpt-5.4", "gpt-5.6-terra", "gpt-6", "GPT-5")
        ),
        *((name, SAMPLING) for name in ("o1", "o3-mini", "o4-mini-2025-04-16", "ft:o4-mini-2025-04-16:me::a")),
        *((name, SAMPLING) for name in ("gpt-5.1-codex", "gpt-5.2-chat-latest")),
        *((name, "") for name in ("gpt-4o", "gpt-4.1-mini", "gpt-3.5-turbo", "chatgpt-4o-latest", "gpt-5-chat-latest")),
        *((name, "") for name in ("ft:gpt-4o-2024-08-06:me::a", "gpt-oss-120b", "something-new")),
        *((name, "frequency_penalty, presence_penalty, stop") for name in ("gpt-5.1", "gpt-5.2-2025-12-11")),
    ],
)
def test_a_model_of_openais_that_thinks_is_not_told_how_to_choose_words(name: str, left_out: str) -> None:
    body, said = itself(name, replace(HELLO, options=WAYS, logprobs=True, top_logprobs=2))
    assert said == left_out
    assert not body.keys() & set(filter(None, left_out.split(", ")))
    assert body["seed"] == 3
    assert ("temperature" in body) == ("temperature" not in left_out)


def test_how_to_choose_words_is_for_a_model_of_openais_that_thinks_only_when_asked_to() -> None:
    body, said = itself("gpt-5.1", replace(HELLO, options=WAYS, logprobs=True, top_logprobs=2, think="low"))
    assert (body["reasoning_effort"], said) == ("low", SAMPLING)


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
@pytest.mark.parametrize("name", ["gpt-4o", "gpt-4.1", "gpt-3.5-turbo", "chatgpt-4o-latest", "gpt-5-chat-latest"])
def test_a_model_of_openais_that_does_not_think_is_asked_for_no_effort(name: str, dialect: Dialect) -> None:
    request = replace(HELLO, think="high", dialect=dialect)
    body, said = itself(name, request)
    assert (said, "reasoning_effort" in body) == ("think", False)
    if dialect == "anthropic":  # which asks every model to
        assert "reasoning_effort" not in itself(name, request, "contract")[0]
    else:
        with pytest.raises(Unsupported, match="does not support thinking"):
            itself(name, request, "contract")


@pytest.mark.parametrize(
    ("name", "tools", "effort", "left_out"),
    [
        ("gpt-5", (TOOL,), "high", ""),
        ("o3", (TOOL,), "high", ""),
        ("gpt-5.4-mini", (), "high", ""),
        ("gpt-5.4-mini", (TOOL,), None, "think"),
        ("gpt-5.5", (TOOL,), None, "think"),
        ("gpt-5.6-terra", (), "high", ""),
        ("gpt-5.6-terra", (TOOL,), "none", "think"),
        ("gpt-6", (TOOL,), "none", "think"),
        ("gpt-5.2-chat-latest", (), None, "think"),
    ],
)
def test_openais_newer_models_are_asked_for_tools_or_an_effort(
    name: str, tools: tuple[Any, ...], effort: str | None, left_out: str
) -> None:
    body, said = itself(name, replace(HELLO, think="high", tools=tools))
    assert (body.get("reasoning_effort"), said) == (effort, left_out)
    asked_for_none, _ = itself(name, replace(HELLO, tools=tools))
    assert asked_for_none.get("reasoning_effort") == ("none" if effort == "none" else None)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("gpt-4o", 16_384),
        ("gpt-4o-2024-05-13", 4_096),
        ("gpt-4o-mini", 16_384),
        ("ft:gpt-4o-mini-2024-07-18:me::a", 16_384),
        ("chatgpt-4o-latest", 16_384),
        ("gpt-4.1-nano", 32_768),
        ("gpt-4-turbo", 4_096),
        ("gpt-3.5-turbo", 4_096),
        ("gpt-5", 50_000),
        ("o3", 50_000),
        ("something-new", 50_000),
    ],
)
def test_the_cap_is_no_higher_than_a_model_of_openais_has_it(name: str, most: int) -> None:
    for asked, sent in ((50_000, most), (100, 100)):
        body, said = itself(name, replace(HELLO, options={"num_predict": asked}))
        assert (body["max_completion_tokens"], said) == (sent, "")
    assert "max_completion_tokens" not in itself(name, HELLO)[0]


def test_the_cap_is_no_higher_than_a_list_has_it() -> None:
    wire = wire_at("openai", "https://api.groq.com/openai/v1")
    (offer,) = wire.offers(b'{"data": [{"id": "llama", "context_window": 131072, "max_completion_tokens": 8192}]}')
    assert offer.most_output == 8192
    assert wire.chat(replace(HELLO, options={"num_predict": 50_000}), offer).body["max_tokens"] == 8192


def test_what_openais_models_make_vectors_with_is_as_ever() -> None:
    offer = ITSELF.guess("text-embedding-3-small")
    assert (offer.capabilities, offer.takes) == ({"embedding"}, None)


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "is_strict"),
    [
        (closed(), True),
        (closed(city={"type": "string"}, at=closed(n={"type": ["integer", "null"]})), True),
        (
            closed(all={"type": "array", "items": {"anyOf": [closed(), {"$ref": "#"}]}}) | {"$defs": {"a": closed()}},
            True,
        ),
        ({"type": "object"}, False),
        ({"type": "object", "properties": {"a": {}}, "required": ["a"]}, False),
        (closed(a={}) | {"required": []}, False),
        (closed(a={}) | {"required": 5}, False),
        (closed(at=closed() | {"additionalProperties": True}), False),
        (closed(all={"type": "array", "items": {"type": ["object", "null"]}}), False),
        (closed(a={"oneOf": [closed()]}), False),
        (closed(a=closed()) | {"$defs": {"a": {"properties": {}}}}, False),
        ({"anyOf": [closed()]}, False),
    ],
)
def test_a_schema_is_strict_when_it_is_closed_at_every_depth(schema: dict[str, Any], *, is_strict: bool) -> None:
    form = hello(OpenAI(), format=schema)["response_format"]["json_schema"]
    assert (form["schema"], form["strict"]) == (schema, is_strict)


def test_a_models_refusal_is_told_and_is_no_answer_to_keep() -> None:
    words = [event(delta={"content": None, "refusal": part}) for part in ("I will ", "not.")]
    reply = read(OpenAI(), b"".join([*words, *OpenAISpeech().answer(())]))
    assert (reply.text, reply.done.reason) == ("I will not.", "content_filter")
    with pytest.raises(EngineError, match="broke off before its end"):
        read(OpenAI(), b"".join(words))
    with pytest.raises(EngineError, match="not text"):
        read(OpenAI(), event(delta={"refusal": ["no"]}))


# Streams of servers that people run themselves: the first as it was recorded, the others in the shape they document.
LLAMA_CPP_PYTHON = """data: {"id": "c", "model": "smol", "created": 1795695845, "object": "chat.completion.chunk", \
"choices": [{"index": 0, "delta": {"role": "assistant"}, "logprobs": null, "finish_reason": null}]}

data: {"id": "c", "model": "smol", "created": 1795695845, "object": "chat.completion.chunk", \
"choices": [{"index": 0, "delta": {"content": "Par"}, "logprobs": null, "finish_reason": null}]}

data: {"id": "c", "model": "smol", "created": 1795695845, "object": "chat.completion.chunk", \
"choices": [{"index": 0, "delta": {"content": "is"}, "logprobs": null, "finish_reason": null}]}

data: {"id": "c", "model": "smol", "created": 1795695845, "object": "chat.completion.chunk", \
"choices": [{"index": 0, "delta": {}, "logprobs": null, "finish_reason": "stop"}]}

data: [DONE]

"""
LLAMA_SERVER = """data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],\
"created":1,"id":"c","model":"m","system_fingerprint":"b6900","object":"chat.completion.chunk"}

data: {"choices":[{"finish_reason":null,"index":0,"delta":{"reasoning_content":"Hm."}}],"id":"c","model":"m"}

data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Paris"}}],"created":1,"id":"c","model":"m"}

data: {"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"created":1,"id":"c","model":"m"}

data: {"choices":[],"created":1,"id":"c","model":"m","usage":{"completion_tokens":5,"prompt_tokens":31,\
"total_tokens":36,"prompt_tokens_details":{"cached_tokens":28}},"timings":{"cache_n":28,"prompt_n":3}}

data: [DONE]

"""
VLLM = """data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,\
"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null}

data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,\
"delta":{"reasoning":"Hm.","reasoning_content":"Hm."},"logprobs":null,"finish_reason":null,"token_ids":null}]}

data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,\
"delta":{"content":"Paris"},"logprobs":null,"finish_reason":"stop","stop_reason":null,"token_ids":null}]}

data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":31,\
"total_tokens":36,"completion_tokens":5,"prompt_tokens_details":null}}

data: [DONE]

"""


@pytest.mark.parametrize(
    ("said", "thinking", "usage"),
    [
        (LLAMA_CPP_PYTHON, "", Usage(completion_tokens=2, is_estimated=True)),
        (LLAMA_SERVER, "Hm.", Usage(prompt_tokens=31, completion_tokens=5, cached_tokens=28)),
        (VLLM, "Hm.", Usage(prompt_tokens=31, completion_tokens=5)),
    ],
    ids=["llama-cpp-python", "llama-server", "vLLM"],
)
def test_what_servers_of_ones_own_say_is_read(said: str, thinking: str, usage: Usage) -> None:
    reply = read(OpenAI(), said.encode())
    assert (reply.text, reply.thinking, reply.done.reason) == ("Paris", thinking, "stop")
    assert replace(reply.done.usage, prompt_ns=0, eval_ns=0) == replace(usage, ref="c")


@pytest.mark.parametrize(
    ("entry", "able", "length"),
    [
        ({}, {"completion", "tools", "vision", "thinking"}, 0),
        ({"type": "embedding", "context_length": 512}, {"embedding"}, 512),
        (
            {"owned_by": "vllm", "root": "/m", "parent": None, "max_model_len": 4096},
            {"completion", "tools", "vision", "thinking"},
            4096,
        ),
        (
            {"owned_by": "llamacpp", "meta": {"n_vocab": 49152, "n_ctx_train": 8192, "size": 1}},
            {"completion", "tools", "vision", "thinking"},
            8192,
        ),
        (
            {"meta": {"n_ctx_train": 8192, "n_ctx": 512}},
            {"completion", "tools", "vision", "thinking"},
            512,
        ),  # what it serves, not what the model knows
        ({"owned_by": "me", "permissions": [], "meta": None}, {"completion", "tools", "vision", "thinking"}, 0),
        (
            {"capabilities": {"completion_chat": True, "vision": True}, "max_context_length": 9},
            {"completion", "vision"},
            9,
        ),
        (
            {"supported_parameters": ["tools"], "architecture": {"input_modalities": ["text"]}, "context_window": -1},
            {"completion", "tools"},
            0,
        ),
    ],
)
def test_what_a_list_tells_of_a_model_is_believed(entry: dict[str, Any], able: set[str], length: int) -> None:
    for listing in ([{"id": "a/b"} | entry], {"data": [{"id": "a/b"} | entry]}):
        (offer,) = OpenAI().offers(json.dumps(listing).encode())
        assert (offer.name, offer.capabilities, offer.context_length) == ("a/b", able, length)
