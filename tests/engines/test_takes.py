"""No engine drops anything: whatever can be asked of it is honoured, refused, or said to be left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from orchestrator.api.options import READERS
from orchestrator.capabilities import ASKING, ASKING_BY_PARTS, NOT_ASKING, REFUSED, Policy, settle
from orchestrator.core.clock import Clock
from orchestrator.core.errors import Unsupported
from orchestrator.core.presets import BY_NAME
from orchestrator.core.types import ChatRequest, Message, Model
from orchestrator.engines.cloud import CloudEngine
from orchestrator.engines.llamacpp import describe
from orchestrator.engines.wires import WIRES
from orchestrator.modelhost import wire
from orchestrator.modelhost.abilities import capabilities
from orchestrator.modelhost.gguf import Header
from orchestrator.modelhost.minilm import packaged
from orchestrator.modelhost.names import Name
from orchestrator.modelhost.options import Options
from orchestrator.modelhost.store import StoredModel
from orchestrator.outbound.connection import Connection
from tests.engines.deadlines import DEADLINES

TEMPLATE = "{% if tools %}{% endif %}{% if enable_thinking %}<think>{% endif %}"
CHAT = ChatRequest(model="m", messages=(Message(role="user", content="hi"),), endpoint="/api/chat")
ANSWERED = replace(CHAT, messages=(Message(role="assistant", content="hello"),))
VECTORS = ChatRequest(model="m", inputs=("hi",), endpoint="/api/embed")
POLICIES: tuple[Policy, ...] = get_args(Policy)

OPTIONS: dict[str, Any] = {
    "num_predict": 7,
    "temperature": 0.1,
    "top_k": 3,
    "top_p": 0.5,
    "min_p": 0.1,
    "typical_p": 0.5,
    "repeat_last_n": 3,
    "repeat_penalty": 1.5,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "seed": 3,
    "stop": ["x"],
    "num_ctx": 64,
    "num_batch": 8,
    "num_keep": 8,
    "num_gpu": 1,
    "main_gpu": 1,
    "num_thread": 1,
    "draft_num_predict": 1,
    "use_mmap": False,
}
# What is asked for → its name, and the fields that ask.
FEATURES: dict[str, tuple[str, dict[str, Any]]] = {
    "tools": ("tools", {"tools": ({"type": "function"},)}),
    "json": ("format", {"format": "json"}),
    "schema": ("format", {"format": {"type": "object"}}),
    "think": ("think", {"think": True}),
    "do not think": ("think", {"think": False}),
    "think hard": ("think", {"think": "high"}),
    "raw": ("raw", {"messages": (), "prompt": "hi"}),
    "context": ("context", {"context": (1, 2)}),
    "logprobs": ("logprobs", {"logprobs": True}),
    "top_logprobs": ("top_logprobs", {"logprobs": True, "top_logprobs": 2}),
    "truncate": ("truncate", {"truncate": False}),
    "shift": ("shift", {"shift": False}),
    "keep_alive": ("keep_alive", {"keep_alive_s": 5.0}),
    "images": ("images", {"messages": (Message(role="user", content="hi", images=("aGk=",)),)}),
    "thinking": ("thinking", {"messages": tuple(replace(one, thinking="hm") for one in ANSWERED.messages)}),
    "n": ("n", {"ignored": ("n",)}),
    "suffix": ("suffix", {"suffix": "!"}),
    "template": ("template", {"template": "{{ .Prompt }}"}),
    **{name: (name, {"options": {name: value}}) for name, value in OPTIONS.items()},
}
# Engines do so without being told, and never the other thing.
IN_ANY_CASE = {"truncate", "shift", "do not think"}
MAY_BE_REFUSED = {*REFUSED, "think", "raw", "context"}
REMOTE = (
    *("openai/x", "openai/embed", "mistral/x", "openrouter/vendor/x", "openrouter/deepseek/x"),
    *("deepseek/deepseek-chat", "deepseek/deepseek-v4-pro"),
    *("anthropic/claude-opus-5", "anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-0"),
    *("gemini/gemini-3-pro", "gemini/gemini-2.5-pro", "gemini/gemini-2.0-flash", "gemini/embed"),
    *("ollama/x:latest", "ollama/embed:latest"),
)
KINDS = (*REMOTE, "local", "local, able", "local, for vectors")
CASES = [
    (feature, kind)
    for feature, (_, asked) in FEATURES.items()
    for kind in KINDS
    if not ("vectors" in kind or "embed" in kind)
    or "messages" not in asked  # which would be no question for such a model
]


def local(metadata: Mapping[str, Any]) -> Model:
    header = Header({"general.architecture": "llama", **metadata}, (), 1)
    stored = StoredModel(
        name=Name.parse("m"),
        digest="0" * 64,
        weights=Path("m"),
        size=1,
        modified_at=0,
        header=header,
        capabilities=capabilities(header, None),
    )
    return describe(stored)


def remote(name: str) -> Model:
    provider = BY_NAME[name.partition("/")[0]]
    wire = WIRES[provider.wire]()
    nowhere = Connection("http://localhost", {}, httpx.Timeout(1), httpx.AsyncHTTPTransport())
    engine = CloudEngine(provider.name, nowhere, DEADLINES, Clock(), 1, wire, provider)
    return engine._listing.model(engine._listing.offer(name.partition("/")[2]))


@cache
def every_model() -> dict[str, Model]:
    built_in = packaged()
    assert built_in
    models = {
        **{name: remote(name) for name in REMOTE},
        "local": local({}),
        "local, able": local({"tokenizer.chat_template": TEMPLATE}),
        "local, for vectors": describe(built_in),
    }
    assert tuple(models) == KINDS
    return models


def sent(request: ChatRequest, model: Model) -> Any:
    """What reaches whoever computes the answer."""
    if model.remote_name:
        wires = WIRES[BY_NAME[model.engine].wire]()
        if request.inputs:
            return wires.embeddings(request, model.remote_name)
        return wires.chat(request, wires.guess(model.remote_name))
    read = wire.from_frame(wire.to_frame(replace(request, options={})))
    return read, Options.resolve(request.options)


def test_every_field_and_every_option_is_walked() -> None:
    assert {field.name for field in fields(ChatRequest)} == ASKING.keys() | ASKING_BY_PARTS | NOT_ASKING
    assert OPTIONS.keys() == READERS.keys()
    assert {name for name, _ in FEATURES.values()} >= {*ASKING.values(), *OPTIONS, *REFUSED, "images", "thinking"}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("feature", "kind"), CASES)
async def test_what_is_asked_for_is_honoured_refused_or_said(feature: str, kind: str, policy: Policy) -> None:
    model = every_model()[kind]
    name, asked = FEATURES[feature]
    chat = ANSWERED if feature == "thinking" else CHAT
    plain = VECTORS if "embedding" in model.capabilities else chat
    request = replace(plain, **asked)
    try:
        settled, left_out = settle(request, model, policy)
    except Unsupported as refused:
        says_so = policy == "reject" and f" {name};" in str(refused)
        assert says_so or (policy == "contract" and name in MAY_BE_REFUSED)
        return
    if name in left_out:
        assert policy != "reject"
        assert sent(settled, model) == sent(replace(plain, ignored=request.ignored), model), "nobody is told"
    else:
        assert settled == request
        assert feature in IN_ANY_CASE or sent(settled, model) != sent(plain, model), "it reaches the model"


@pytest.mark.parametrize(
    ("kind", "left_out"),
    [
        (
            "openai/x",
            (
                "context, draft_num_predict, keep_alive, main_gpu, min_p, n, num_batch, num_ctx, num_gpu, num_keep, "
                "num_thread, repeat_last_n, repeat_penalty, think, top_k, typical_p, use_mmap"
            ),
        ),
        ("local, able", "draft_num_predict, main_gpu, n, num_gpu, num_thread, use_mmap"),
        ("local", "draft_num_predict, main_gpu, n, num_gpu, num_thread, think, tools, use_mmap"),
    ],
)
async def test_what_is_left_out_under_warn_is_named_in_order(kind: str, left_out: str) -> None:
    model = every_model()[kind]
    everything: dict[str, Any] = {"tools": ({},), "think": True, "context": (1,), "keep_alive_s": 1.0, "format": "json"}
    _, said = settle(replace(CHAT, **everything, options=OPTIONS, ignored=("n",)), model, "warn")
    assert ", ".join(said) == left_out
