"""The document: what goes in comes out, and what does not fit says where."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.presets import KINDS, PRESETS
from orchestrator.core.types import ChatRequest, Message, ToolCall
from orchestrator.engines.wires import WIRES, wire_at
from orchestrator.engines.wires.base import Offer
from orchestrator.registry import changes
from orchestrator.registry.document import CAPABILITIES, Document, WrongDocument, read_document, read_text
from orchestrator.registry.models import RegistryVersion
from orchestrator.registry.reading import read
from orchestrator.registry.rules import SENT, faults_in
from orchestrator.registry.stored import document_of, read_tables
from tests.product import PROJECT, Product, registry_kept
from tests.registry.conftest import CANARY, EVERYTHING, OPS

NAMES = st.from_regex(r"[a-z][a-z0-9.]{0,8}(/[a-z][a-z0-9.]{0,8})?(:[a-z0-9]{1,4})?", fullmatch=True).filter(
    lambda name: not name.endswith((":local", ":cloud", ":latest", "-cloud")) and name != "auto"
)
LOCAL_NAMES = st.from_regex(r"[a-z]{1,5}(:[a-z0-9]{1,4})?", fullmatch=True)
SECONDS = st.none() | st.floats(0.05, 3600)
PRICES = st.decimals(0, 999_999, places=6).map(str) | st.integers(0, 1000)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-(2.0**62), 2.0**63) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
PROVIDERS = st.fixed_dictionaries(
    {"kind": st.sampled_from([kind for kind in KINDS if kind != "compatible"])},
    optional={
        "address": st.sampled_from(["", "http://a.example.com", "https://b.example.com:8443/v1/"]),
        "connect_timeout_s": SECONDS,
        "most_calls": st.none() | st.integers(1, 100_000),
        "is_paid": st.none() | st.booleans(),
        "lists_models": st.booleans(),
        "extra_body": st.dictionaries(
            st.text(max_size=8).filter(lambda name: name not in SENT), JSON_VALUES, max_size=3
        ),
        "is_enabled": st.booleans(),
    },
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A document that is right."""
    places = draw(st.lists(st.sampled_from(["one", "two", "three"]), unique=True))
    providers = {name: draw(PROVIDERS) for name in places}
    for provider in providers.values():
        if provider.get("address") or provider["kind"] != "ollama":
            provider |= draw(st.fixed_dictionaries({}, optional={"key": KEYS}))
    deployment = st.fixed_dictionaries(
        {
            "provider": st.sampled_from(["local", *places]),
            "remote_name": st.from_regex(r"[a-z]{1,5}(:[a-z0-9]{1,4})?", fullmatch=True),
        },
        optional={
            "rank": st.integers(0, 1000),
            "weight": st.integers(1, 1000),
            "is_enabled": st.booleans(),
        },
    )
    priced = st.builds(lambda one, i, o: one | {"input_price": i, "output_price": o}, deployment, PRICES, PRICES)
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    spare = draw(st.lists(NAMES.filter(lambda one: one not in names), unique=True, max_size=3))
    models = {}
    for index, name in enumerate(names):
        models[name] = draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "tags": st.lists(st.sampled_from(["a", "b c", "é"]), unique=True),
                    "deployments": st.lists(
                        deployment | priced, max_size=4, unique_by=lambda one: (one["provider"], one["remote_name"])
                    ),
                    "balance": st.sampled_from(["latency", "cost", "weight"]),
                    "fallbacks": st.lists(st.sampled_from(names[index + 1 :] or ["other"]), unique=True),
                    "context_length": st.none() | st.integers(1, 10**8),
                    "capabilities": st.lists(st.sampled_from(CAPABILITIES), unique=True),
                    "is_enabled": st.booleans(),
                },
            )
        )
    if models and not any(one.partition("/")[0] in {*places, *KINDS} for one in spare):
        models[names[0]]["aliases"] = spare
    return {"providers": providers, "models": models}


@pytest.mark.django_db
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=60
)
@given(value=documents())
def test_a_document_is_the_same_when_it_comes_out_of_the_database(value: dict[str, Any]) -> None:
    changes.apply(read_document({}), OPS)  # a key that is there already is bound to its address
    given_ = read_document(value)
    keys = {name: one["key"] for name, one in value["providers"].items() if "key" in one}
    version = changes.apply(given_, OPS).version
    back = read_document(json.loads(json.dumps(document_of(read_tables()))))
    without_keys = {name: part.model_copy(update={"key": None}) for name, part in given_.providers.items()}
    models = {
        name: part.model_copy(update={"deployments": sorted(part.deployments, key=lambda one: one.rank)})
        for name, part in given_.models.items()
    }
    assert back == Document(version=None, providers=without_keys, models=models)
    on = {one.name: one.key for one in read().providers}
    assert on == {name: keys.get(name, "") for name in on}
    changes.apply(read_document({}), OPS)
    if version:
        changes.restore(version, OPS)
    assert read_document(document_of(read_tables())) == back
    assert {one.name: one.key for one in read().providers} == on


def provider(**fields: Any) -> dict[str, Any]:
    return {"providers": {"p": {"kind": "compatible"} | fields}}


def model(name: str = "m", **fields: Any) -> dict[str, Any]:
    return {"models": {name: fields}}


def wrong() -> Iterator[tuple[dict[str, Any], str]]:
    here = "http://localhost:11434/v1"
    yield provider(kind="x"), "providers.p.kind: there is no such kind; there are openai"
    for address in (
        "x",
        "ftp://h",
        "http://",
        "http://u:p@h",
        "http://h/?a=1",
        "http://h/#a",
        "http://h:0",
        "http://[::1",
        "http://h/v1 x",
        "http://h/v1\t",
        "http://h/v1/%0d%0aX: y",
        "http://h/%7F",
    ):
        yield provider(address=address), "providers.p.address: an address begins with http:// or https://"
    yield provider(address=here), "providers.p.address: that is this server itself"
    yield provider(key=""), "providers.p.key: a key is of up to 4096 ASCII characters"
    for key in (5, [], {}, {"set": 1}, {"set": True, "from": "x", "more": 1}):
        yield provider(key=key), "providers.p.key: a key is text, or null"
    yield provider(key="k"), "providers.p.key: give an address too"
    yield provider(most_calls=0), "providers.p.most_calls: should be greater than or equal to 1"
    yield provider(most_calls="5"), "providers.p.most_calls: should be a valid integer"
    yield provider(is_paid="yes"), "providers.p.is_paid: should be a valid boolean"
    yield provider(token_timeout_s=0), "providers.p.token_timeout_s: should be greater than or equal to 0.05"
    yield provider(token_timeout_s=float("inf")), "providers.p.token_timeout_s"
    yield provider(slow_after_s=9, first_token_timeout_s=8), "providers.p.slow_after_s: 9 s are more than first_token"
    yield provider(extra_body={"messages": []}), "providers.p.extra_body: what questions are made of cannot be set"
    yield provider(extra_body={"x": "y" * 9000}), "providers.p.extra_body: it may have 8192 bytes at most"
    yield provider(extra_body={"x": float("nan")}), "providers.p.extra_body: it holds something that JSON cannot"
    for number in (2**64, -(2**63) - 1, float(2**64), -float(2**63), 10**400):
        yield provider(extra_body={"x": [{"y": number}]}), "providers.p.extra_body: a number may have 64 bits at most"
    deep: Any = {}
    for _ in range(30):
        deep = {"x": deep}
    yield provider(extra_body=deep), "providers.p.extra_body: it is nested deeper"
    yield {"providers": {"local": {"kind": "openai"}}}, "providers.local: 'local' means something else here"
    yield {"providers": {"openai": {"kind": "groq"}}}, "providers.openai.kind: a provider called openai is of the kind"
    yield {"providers": {"a_b": {"kind": "groq"}}}, "a provider's name is of up to 39"
    for name in ("auto", "Auto:latest"):
        yield model(name), "leaves the choice to us"
    for name in ("a b", "a//b", "/a", "a/", "é", "a\nb", "a?b"):
        yield model(name), "a name "
    for name in ("a:cloud", "a:local", "gpt-oss:20b-cloud"):
        yield model(name), "a name cannot end with"
    yield model("x" * 256), "should have at most 255 characters"
    yield {"models": {"a": {}, "A:latest": {}}}, "'A:latest' is a name of the model 'a' already"
    yield {"models": {"a": {"aliases": ["b"]}, "B": {}}}, "models.B: 'B' is a name of the model 'a' already"
    yield (
        {"models": {"a": {"aliases": ["c"]}, "b": {"aliases": ["C"]}}},
        "models.b.aliases[0]: 'C' is a name of the model",
    )
    yield model(aliases=["m"]), "models.m.aliases[0]: 'm' is a name of the model 'm' already"
    yield model(aliases=["x", "X"]), "models.m.aliases[1]: it is there twice"
    yield model(aliases=["groq/x"]), "models.m.aliases[0]: that is a model of the provider groq"
    yield model(aliases=["auto"]), "models.m.aliases[0]: 'auto' leaves"
    yield model(fallbacks=["auto"]), "models.m.fallbacks[0]: 'auto' leaves"
    yield model(fallbacks=["M:latest"]), "models.m.fallbacks[0]: a model cannot take its own place"
    yield model(fallbacks=["x", "x"]), "models.m.fallbacks[1]: it is there twice"
    circle = {"a": {"fallbacks": ["b"]}, "b": {"aliases": ["bb"], "fallbacks": ["c"]}, "c": {"fallbacks": ["d", "bb"]}}
    yield {"models": circle}, "models.b.fallbacks: they lead in a circle: b → c → b"
    yield model(deployments=[{"remote_name": "x", "provider": "q"}]), "models.m.deployments[0].provider: there is no"
    yield model(deployments=[{"remote_name": "x"}] * 2), "models.m.deployments[1]: it is there twice"
    yield model(deployments=[{"remote_name": "a b"}]), "no local model can be called so"
    yield model(deployments=[{}]), "models.m.deployments[0].remote_name: field required"
    for price in (-1, "x", True, "NaN", "1e9", 0.0000001, [], "Infinity"):
        yield model(deployments=[{"remote_name": "x", "input_price": price}]), "models.m.deployments[0].input_price: "
    for one, missing in (("input_price", "output_price"), ("output_price", "input_price")):
        words = f"models.m.deployments[0].{missing}: input_price and output_price are given together"
        yield model(deployments=[{"remote_name": "x", one: 1}]), words
    yield model(deployments=[{"remote_name": "x", "weight": 0}]), "models.m.deployments[0].weight"
    yield model(deployments=[{"remote_name": "x", "rank": -1}]), "models.m.deployments[0].rank"
    yield model(hedge_after_s=1, deployments=[{"remote_name": "x"}]), "models.m.hedge_after_s: there is no second"
    yield model(capabilities=["flying"]), "models.m.capabilities[0]: there is no such capability"
    yield model(capabilities=["tools", "tools"]), "models.m.capabilities[1]: it is there twice"
    yield model(balance="luck"), "models.m.balance: should be 'latency', 'cost' or 'weight'"
    yield {"odd": 1}, "odd: there is no such field"
    yield {"providers": {"p": {}}}, "providers.p.kind: field required"


@pytest.mark.django_db
@pytest.mark.parametrize(("value", "words"), list(wrong()))
def test_what_is_wrong_is_told_with_its_place_and_changes_nothing(value: dict[str, Any], words: str) -> None:
    changes.apply(read_document(EVERYTHING), OPS)
    before = read_tables()
    with pytest.raises(WrongDocument) as refused:
        changes.apply(read_document(value), OPS)
    assert any(words in str(fault) for fault in refused.value.faults), [str(one) for one in refused.value.faults]
    assert (read_tables(), RegistryVersion.objects.count()) == (before, 1)


def test_prices_are_never_floats() -> None:
    document = read_document(model(deployments=[{"remote_name": "x", "input_price": 0.1, "output_price": "0.10"}]))
    (one,) = document.models["m"].deployments
    assert (one.input_price, one.output_price) == (Decimal("0.1"), Decimal("0.10"))
    assert json.loads(one.model_dump_json())["output_price"] == "0.1"


def test_many_ways_through_fallbacks_are_no_circle_and_take_no_time() -> None:
    """A ladder of diamonds has 2**60 ways through it."""
    models: dict[str, Any] = {}
    for step in range(60):
        models[f"l{step}"] = models[f"r{step}"] = {"fallbacks": [f"l{step + 1}", f"r{step + 1}"]}
    assert faults_in(read_document({"models": models})) == []


def test_circles_are_told_once_where_they_begin_and_shortly() -> None:
    """Each of a ring falls back to the next 32: there are many thousands of circles, of hundreds of models."""
    ring = {f"m{one}": {"fallbacks": [f"m{(one + step) % 600}" for step in range(1, 33)]} for one in range(600)}
    faults = faults_in(read_document({"models": ring}))
    assert len(faults) == len({fault.place for fault in faults}) == 32
    words = " → ".join([*(f"m{one}" for one in range(16)), "584 more", "m0"])
    assert faults[0].words == f"they lead in a circle: {words}"


def test_what_questions_are_made_of_is_reserved() -> None:
    """Whatever a wire sends at the top of a body cannot be written over."""
    call = ToolCall(id="call_1", name="look", arguments={"x": 1})
    turns = (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Hi", images=("aGk=",)),
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content="1", tool_name="look", tool_call_id="call_1"),
    )
    tools = ({"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}},)
    options = {"temperature": 0.5, "top_p": 0.5, "top_k": 5, "seed": 1, "stop": ["x"], "num_predict": 5}
    options |= {"presence_penalty": 0.1, "frequency_penalty": 0.1, "num_ctx": 100}
    more = {"options": options, "logprobs": True, "top_logprobs": 2, "stream": True, "keep_alive_s": 5.0}
    chats = [
        ChatRequest(model="m", messages=turns, tools=tools, think=think, format=form, **more)
        for think in (None, True, "high")
        for form in (None, "json", {"type": "object", "properties": {}, "additionalProperties": False})
    ]
    ollama_only = [
        ChatRequest(model="m", prompt="Hi", context=(1,), endpoint="/api/generate", **more),
        ChatRequest(model="m", messages=turns[1:2], suffix="x", template="y", endpoint="/api/generate", **more),
    ]
    texts = ChatRequest(model="m", inputs=("a", "b"), options={"dimensions": 3})
    found: set[str] = set()
    addresses = {preset.wire: preset.address for preset in PRESETS if preset.name != "openai"}
    for name in WIRES:
        for wire in (wire_at(name, addresses.get(name, "http://x")), wire_at(name, "https://api.openai.com/v1")):
            offer = Offer(name="m", capabilities=frozenset(CAPABILITIES), context_length=1000)
            for request in [*chats, *(ollama_only if name == "ollama" else [])]:
                found |= wire.chat(request, offer).body.keys()
            if name != "anthropic":
                for asked in wire.embeddings(texts, "m"):
                    found |= asked.body.keys()
    assert {"messages", "contents", "response_format", "max_completion_tokens", "random_seed", "input"} <= found
    assert found <= SENT


def test_a_text_is_read_strictly() -> None:
    assert read_text(json.dumps(EVERYTHING)) == read_document(EVERYTHING)
    for text in ("", "{", '{"a": 1, "a": 2}', '{"providers": NaN}', "[" * 10**5):
        with pytest.raises(WrongDocument):
            read_text(text)


def test_a_key_is_in_no_fault() -> None:
    for value in (
        provider(key=[CANARY]),
        provider(key=f"{CANARY}\n"),
        provider(address=f"http://{CANARY}@h"),
        [CANARY],
    ):
        with pytest.raises(WrongDocument) as refused:
            read_document(value)
        assert CANARY not in str(refused.value) + repr(refused.value) + repr(refused.value.faults)


def test_two_processes_at_once_lose_nothing(product: Product, admin_key: str) -> None:
    """Each adds models of its own, one change at a time; whoever reads first would write over the other's."""
    code = """
import django; django.setup()
from orchestrator.core.changing import By
from orchestrator.registry import changes
from orchestrator.registry.document import ModelPart
import sys
for number in range(10):
    changes.put_model(f"{sys.argv[1]}-{number}", ModelPart.model_validate({}), By(sys.argv[1]))
"""
    with registry_kept(product, admin_key):
        environment = product.environment() | {"DJANGO_SETTINGS_MODULE": "orchestrator.settings"}
        running = [
            subprocess.Popen(
                [sys.executable, "-c", code, who], cwd=PROJECT, env=environment, stderr=subprocess.PIPE, text=True
            )
            for who in ("alice", "bob")
        ]
        for process in running:
            assert process.communicate(timeout=60)[1] == ""
            assert process.returncode == 0
        address, headers = f"{product.base_url}/api/admin/v1", {"Authorization": f"Bearer {admin_key}"}
        models = httpx.get(f"{address}/models", headers=headers, timeout=30).json()["models"]
        assert {f"{who}-{number}" for who in ("alice", "bob") for number in range(10)} <= models.keys()
        versions = httpx.get(f"{address}/registry/versions", headers=headers, timeout=30).json()["versions"][:20]
        assert sorted(one["by"] for one in versions) == ["alice"] * 10 + ["bob"] * 10
        assert all(len(one["changes"]) == 1 for one in versions)
