"""POST /api/show, of a model that Ollama stored and of one that a provider has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.core.types import Model
from orchestrator.engines.llamacpp import describe
from orchestrator.modelhost.details import ModelDetails, details
from orchestrator.modelhost.store import Store
from tests.fakes import FakeEngine
from tests.modelhost.files import SMALL, gguf
from tests.modelhost.test_store import put_manifest

SHOW = "/api/show"
METADATA = SMALL | {
    "general.name": "Tiny",
    "general.basename": "small",
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": ["x"] * 500,
    "tokenizer.ggml.merges": ["x x"] * 500,
}
LAYERS = [
    ("model", gguf(METADATA, {"token_embd.weight": (64, 2)})),
    ("template", b"{{ .Prompt }}"),
    ("system", b"Be brief."),
    ("params", json.dumps({"stop": ["<a>", "<b>"], "temperature": 0.5, "num_ctx": 4096}).encode()),
    ("license", b"MIT"),
    ("license", b"and more"),
    ("messages", b'[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]'),
]


@pytest.fixture
def stored(tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Store:
    """`tiny`, as Ollama stores a model with everything in it."""
    store = Store(tmp_path / "models")
    put_manifest(store, "registry.ollama.ai/library/tiny/latest", LAYERS)
    found = store.find("tiny")
    assert found
    engine.model = describe(found)

    async def show(model: Model, *, verbose: bool = False) -> ModelDetails:
        return details(found, verbose=verbose)

    monkeypatch.setattr(engine, "show", show, raising=False)
    return store


async def shown(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post(SHOW, json={"model": "tiny", **fields}, headers=fields.pop("headers", {}))
    assert response.status_code == 200, response.text
    value: dict[str, Any] = response.json()
    return value


pytestmark = pytest.mark.usefixtures("stored")

FIELDS: dict[str, Any] = {
    "license": "MIT\nand more",
    "template": "{{ .Prompt }}",
    "system": "Be brief.",
    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}],
    "capabilities": ["completion"],
    "tensors": [{"name": "token_embd.weight", "type": "F32", "shape": [64, 2]}],
    "parameters": "\n".join(
        [
            "num_ctx                        4096",
            'stop                           "<a>"',
            'stop                           "<b>"',
            "temperature                    0.5",
        ]
    ),
}


@pytest.mark.parametrize(("field", "value"), FIELDS.items(), ids=FIELDS.keys())
async def test_each_part_of_a_stored_model_is_shown(client: httpx.AsyncClient, field: str, value: Any) -> None:
    assert (await shown(client))[field] == value


async def test_a_parameter_is_its_name_padded_to_30_columns_a_space_and_its_value(client: httpx.AsyncClient) -> None:
    for line in (await shown(client))["parameters"].splitlines():
        assert line[30] == " "
        assert line[:30].rstrip() in {"num_ctx", "stop", "temperature"}
        json.loads(line[31:])


async def test_the_modelfile_opens_with_three_comments_and_can_be_built_from(client: httpx.AsyncClient) -> None:
    lines = (await shown(client))["modelfile"].splitlines()
    assert [line[:1] for line in lines[:4]] == ["#", "#", "#", ""]
    assert lines[1] == "# To build a new Modelfile based on this, replace FROM with:"
    assert lines[2] == "# FROM tiny:latest"
    assert lines[4].startswith("FROM /")
    rest = lines[5:]
    words = [line.split()[0] for line in rest if line.split()[0].isupper() and len(line.split()) > 1]
    assert [word for place, word in enumerate(words) if word not in words[:place]] == [
        "TEMPLATE",
        "SYSTEM",
        "PARAMETER",
        "MESSAGE",
        "LICENSE",
    ]
    assert 'PARAMETER stop "<a>"' in rest


async def test_details_and_the_time_of_change_are_always_there(client: httpx.AsyncClient) -> None:
    for name in ("tiny", "openai/big", "auto"):
        value = await shown(client, model=name)
        assert value["details"]["parent_model"] == ""
        assert value["modified_at"]
        assert isinstance(value["model_info"], dict)


async def test_what_is_empty_is_left_out(
    client: httpx.AsyncClient, engine: FakeEngine, stored: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_manifest(stored, "registry.ollama.ai/library/bare/latest", LAYERS[:1])
    bare = stored.find("bare")
    assert bare

    async def show(model: Model, *, verbose: bool = False) -> ModelDetails:
        return details(bare)

    monkeypatch.setattr(engine, "show", show)
    kept = {"modelfile", "template", "details", "capabilities", "modified_at", "model_info", "tensors"}
    assert (await shown(client)).keys() == kept


@pytest.mark.parametrize("name", ["model", "name"])
async def test_the_model_is_named_by_either_word(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.post(SHOW, json={name: "tiny"})).status_code == 200


@pytest.mark.parametrize("extra", [{"system": "x"}, {"template": "x"}, {"options": {"num_ctx": 1}}])
async def test_what_a_caller_would_have_in_place_of_it_is_ignored(
    client: httpx.AsyncClient, extra: dict[str, Any]
) -> None:
    assert await shown(client, **extra) == await shown(client)


async def test_model_info_is_the_files_metadata_in_flat_keys(client: httpx.AsyncClient) -> None:
    info = (await shown(client))["model_info"]
    assert info["general.architecture"] == "llama"
    assert info["general.parameter_count"] == 128
    assert info["llama.context_length"] == 2048
    assert info["llama.embedding_length"] > 0
    assert info["tokenizer.ggml.model"] == "gpt2"


@pytest.mark.parametrize("key", ["general.name", "tokenizer.chat_template"])
@pytest.mark.parametrize("verbose", [True, False])
async def test_two_keys_are_taken_out(client: httpx.AsyncClient, key: str, verbose: bool) -> None:
    assert key in METADATA
    assert key not in (await shown(client, verbose=verbose))["model_info"]


@pytest.mark.parametrize("key", ["tokenizer.ggml.tokens", "tokenizer.ggml.merges"])
async def test_a_long_array_is_null_unless_all_is_asked_for(client: httpx.AsyncClient, key: str) -> None:
    assert (await shown(client))["model_info"][key] is None
    assert (await shown(client, verbose=True))["model_info"][key] == METADATA[key]


@pytest.mark.parametrize("name", ["tiny", "TINY:latest", "openai/big"])
async def test_copilot_is_told_the_name_it_asked_for_as_the_base_name(client: httpx.AsyncClient, name: str) -> None:
    copilot = {"User-Agent": "GitHubCopilotChat/0.30"}
    response = await client.post(SHOW, json={"model": name}, headers=copilot)
    assert response.json()["model_info"]["general.basename"] == name
    assert (await shown(client, model=name))["model_info"]["general.basename"] != name


async def test_of_a_providers_model_little_is_known_and_said(client: httpx.AsyncClient, cloud: FakeEngine) -> None:
    cloud.model = replace(cloud.model, remote_name="big", context_length=8192, embedding_length=64)
    value = await shown(client, model="openai/big")
    assert (value["remote_model"], value["remote_host"]) == ("big", "openai")
    assert value["model_info"] == {
        "general.architecture": "tiny",
        "general.basename": "big",
        "tiny.context_length": 8192,
        "tiny.embedding_length": 64,
    }
    assert not value.keys() & {"tensors", "license", "modelfile", "template"}


async def test_capabilities_are_of_ollamas_words(client: httpx.AsyncClient) -> None:
    words = {"completion", "tools", "insert", "vision", "embedding", "thinking", "image", "audio"}
    for name in ("tiny", "openai/big", "auto"):
        assert set((await shown(client, model=name))["capabilities"]) <= words
