"""How long models stay, and what lets them go; with a real model in the running product."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.product import Product, until

MODEL = "smollm2:135m"


def loaded(client: httpx.Client) -> dict[str, Any] | None:
    """What /api/ps says of the model."""
    found: list[dict[str, Any]] = [one for one in client.get("/api/ps").json()["models"] if one["name"] == MODEL]
    return found[0] if found else None


def stays(client: httpx.Client) -> timedelta:
    entry = loaded(client)
    assert entry
    return datetime.fromisoformat(entry["expires_at"]) - datetime.now(UTC)


def ask(client: httpx.Client, **fields: Any) -> Any:
    options = {"num_predict": 1, "temperature": 0}
    body = {"model": MODEL, "prompt": "hello", "stream": False, "options": options, **fields}
    response = client.post("/api/generate", json=body, headers={"Cache-Control": "no-cache"})
    assert response.status_code == 200, response.text
    return response.json()


@pytest.fixture
def running(product: Product) -> Any:
    """A client of the product; the model stays as long as by default afterwards."""
    with httpx.Client(base_url=product.base_url, timeout=60) as client:
        yield client
        ask(client)


@pytest.mark.parametrize(("keep_alive", "minutes"), [(None, 5), ("1h", 60), (600, 10)])
def test_each_request_sets_how_long_the_model_stays(running: httpx.Client, keep_alive: object, minutes: int) -> None:
    ask(running, keep_alive=keep_alive)
    assert timedelta(minutes=minutes - 1) < stays(running) <= timedelta(minutes=minutes)


def test_a_model_that_is_kept_forever_expires_in_292_years(running: httpx.Client) -> None:
    ask(running, keep_alive=-1)
    assert timedelta(days=290 * 365) < stays(running) < timedelta(days=294 * 365)


def test_a_keep_alive_of_zero_with_a_prompt_answers_and_then_unloads(running: httpx.Client) -> None:
    assert ask(running, keep_alive=0)["done_reason"] == "length"
    until(lambda: loaded(running) is None, "the model to be let go")


def test_a_request_without_a_prompt_loads_and_one_with_zero_unloads_at_once(running: httpx.Client) -> None:
    ask(running, prompt="", keep_alive="10m")
    assert loaded(running)
    ask(running, prompt="", keep_alive=0)
    assert loaded(running) is None
