"""The product as people run it: what its records claim is proven while it runs, and after it was killed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.product import Product, until
from tests.provider import Provider

PATHS = ("/api/chat", "/v1/chat/completions", "/v1/messages")


@pytest.fixture
def own(provider: Provider) -> Iterator[Product]:
    """One to kill, with two web workers and a price."""
    with Product(OPENAI_API_KEY="sk-test", OPENAI_BASE_URL=provider.address, ORCHESTRATOR_WEB_WORKERS="2") as product:
        manage(product, "prices", "set", "openai/good", "--input", "3", "--output", "15.5")
        yield product


def manage(product: Product, *arguments: str) -> Any:
    """What a command says in JSON. It has to go well."""
    run = subprocess.run(
        [sys.executable, "manage.py", *arguments, "--json"],
        env=product.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(run.stdout)


def ask(client: httpx.Client, seed: int) -> None:
    chance = random.Random(seed)
    body = {
        "model": "openai/good",
        "messages": [{"role": "user", "content": f"What is {chance.randrange(30)}?"}],
        "stream": chance.random() < 0.5,
        "max_tokens": 64,
    }
    response = client.post(chance.choice(PATHS), json=body)
    assert response.status_code == 200, response.text


def claimed(product: Product) -> int:
    found = manage(product, "savings", "verify")
    assert (found["differing"], found["unknown"]) == (0, 0)
    assert found["claimed_microusd"] == found["proven_microusd"]
    amount: int = found["claimed_microusd"]
    return amount


def test_its_claims_are_proven_while_it_runs_and_after_it_was_killed(own: Product) -> None:
    with httpx.Client(base_url=own.base_url, timeout=30) as client:

        def known() -> bool:
            ask(client, 0)
            saved: dict[str, Any] = client.get("/api/stats").json()["saved"]
            return bool(saved["microusd"])

        until(known, "a price that both workers know", 30)
        with ThreadPoolExecutor(8) as callers:
            list(callers.map(lambda seed: ask(client, seed), range(200)))
            before = claimed(own)
            assert before > 0
            asked: list[int] = []

            def ask_on(seed: int) -> None:
                while True:  # until nobody answers
                    ask(client, seed)
                    asked.append(seed := seed + 8)

            asking = [callers.submit(ask_on, seed) for seed in range(200, 208)]
            until(lambda: len(asked) > 200, "some of them to be answered", 30)
            own.kill()
        assert all(isinstance(one.exception(), httpx.HTTPError | AssertionError) for one in asking)
    assert claimed(own) >= before
    own.start()
    with httpx.Client(base_url=own.base_url, timeout=30) as client:
        ask(client, 1)
    assert claimed(own) >= before
