"""GET /v1/models and /v1/models/<name>."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from tests.fakes import FakeEngine

PATH = "/v1/models"


async def test_a_list_has_each_models_name_with_its_tag_its_time_and_its_owner(
    client: httpx.AsyncClient, engine: FakeEngine
) -> None:
    engine.model = replace(engine.model, modified_at=1_700_000_000.9)
    response = await client.get(PATH)
    assert response.headers["Content-Type"] == "application/json"
    value = response.json()
    assert (list(value), value["object"]) == (["object", "data"], "list")
    assert value["data"][-1] == {
        "id": "tiny:latest",
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "library",
    }


@pytest.mark.parametrize(
    ("name", "owner"),
    [("tiny:latest", "library"), ("alice/tiny:latest", "alice"), ("hf.co/bob/tiny:Q4", "bob")],
)
async def test_the_owner_is_the_namespace(client: httpx.AsyncClient, engine: FakeEngine, name: str, owner: str) -> None:
    engine.model = replace(engine.model, name=name)
    assert (await client.get(PATH)).json()["data"][-1]["owned_by"] == owner


@pytest.mark.parametrize("name", ["tiny", "TINY", "tiny:latest"])
async def test_one_model_is_called_as_it_was_asked_for(client: httpx.AsyncClient, name: str) -> None:
    value = (await client.get(f"{PATH}/{name}")).json()
    assert (value["id"], value["object"]) == (name, "model")


async def test_an_unknown_model_is_404_in_openais_shape(client: httpx.AsyncClient) -> None:
    response = await client.get(f"{PATH}/nobody")
    error = {"message": "model 'nobody' not found", "type": "not_found_error", "param": None, "code": None}
    assert (response.status_code, response.json()) == (404, {"error": error})
