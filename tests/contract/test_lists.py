"""GET /api/tags and /api/ps."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import httpx
import pytest

from orchestrator.api.local import local_time
from orchestrator.core.types import Model
from orchestrator.engines.llamacpp import LoadedModel
from tests.fakes import FakeEngine
from tests.product import Product

LOCAL_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?(Z|[+-]\d\d:\d\d)")
DETAILS = ["parent_model", "format", "family", "families", "parameter_size", "quantization_level"]
LENGTHS = ["context_length", "embedding_length"]
REAL = "smollm2:135m"


@pytest.fixture
def running(product: Product) -> Any:
    """A client of the product."""
    with httpx.Client(base_url=product.base_url, timeout=60) as client:
        yield client


def entry(client: httpx.Client, path: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [one for one in client.get(path).json()["models"] if one["name"] == REAL]
    return found[0]


def test_an_entry_of_tags_has_the_keys_that_clients_read(running: httpx.Client) -> None:
    one = entry(running, "/api/tags")
    assert list(one) == ["name", "model", "modified_at", "size", "digest", "details", "capabilities"]
    assert one["name"] == one["model"] == REAL
    assert re.fullmatch("[0-9a-f]{64}", one["digest"])
    assert one["size"] > 50_000_000
    assert LOCAL_STAMP.fullmatch(one["modified_at"])
    assert "completion" in one["capabilities"]


def test_the_details_of_a_model_have_the_keys_that_clients_read(running: httpx.Client) -> None:
    details = entry(running, "/api/tags")["details"]
    assert list(details) == [*DETAILS, *LENGTHS]
    assert details == {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "134.52M",
        "quantization_level": "Q4_1",
        "context_length": 8192,
        "embedding_length": 576,
    }


async def test_a_model_of_a_provider_names_what_it_is_there(client: httpx.AsyncClient, cloud: FakeEngine) -> None:
    cloud.model = replace(cloud.model, remote_name="big")
    (one,) = [one for one in (await client.get("/api/tags")).json()["models"] if one["name"] == "openai/big"]
    assert list(one)[:4] == ["name", "model", "remote_model", "remote_host"]
    assert (one["remote_model"], one["remote_host"]) == ("big", "openai")


async def test_tags_come_newest_first(client: httpx.AsyncClient, engine: FakeEngine, cloud: FakeEngine) -> None:
    for older, newer in ((engine, cloud), (cloud, engine)):
        older.model, newer.model = replace(older.model, modified_at=1.0), replace(newer.model, modified_at=2.0)
        names = [one["name"] for one in (await client.get("/api/tags")).json()["models"]]
        assert names[1:] == [newer.model.name, older.model.name]


async def test_without_models_the_lists_are_empty(
    client: httpx.AsyncClient, engine: FakeEngine, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none() -> list[Model]:
        return []

    for one in (engine, cloud):
        monkeypatch.setattr(one, "models", none)
    assert (await client.get("/api/tags")).json() == {"models": []}
    assert (await client.get("/api/ps")).json() == {"models": []}


def test_an_entry_of_ps_has_the_keys_that_clients_read(running: httpx.Client) -> None:
    running.post("/api/generate", json={"model": REAL})
    one = entry(running, "/api/ps")
    keys = ["name", "model", "size", "digest", "details", "expires_at", "size_vram", "context_length"]
    assert list(one) == keys
    listed = entry(running, "/api/tags")
    assert [one[key] for key in ("name", "model", "digest", "details")] == [
        listed[key] for key in ("name", "model", "digest", "details")
    ]
    assert LOCAL_STAMP.fullmatch(one["expires_at"])
    assert one["size"] > 0
    assert one["size_vram"] == 0, "it is computed on the processor"
    assert 0 < one["context_length"] <= 8192


async def test_ps_comes_longest_remaining_first(
    client: httpx.AsyncClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one(name: str, expires_at: float | None) -> LoadedModel:
        model = replace(engine.model, name=name)
        none = {"slots": 1, "busy": 0, "waiting": 0, "tokens_per_s": 0.0, "threads": 1, "pid": 1}
        return LoadedModel(model=model, size=1, context_length=1, expires_at=expires_at, **none)  # type: ignore[arg-type]

    async def ps() -> list[LoadedModel]:
        return [one("soon", 2e9), one("never", None), one("later", 3e9)]

    monkeypatch.setattr(engine, "ps", ps)
    assert [one["name"] for one in (await client.get("/api/ps")).json()["models"]] == ["never", "later", "soon"]


@pytest.mark.parametrize(("seconds", "shown"), [(0, "1970-01-01T00:00:00Z"), (0.5, "1970-01-01T00:00:00.5Z")])
def test_the_fraction_of_a_local_time_has_no_zeros_at_its_end(seconds: float, shown: str) -> None:
    assert local_time(seconds) == shown
