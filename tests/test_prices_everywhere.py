"""What a model charges is known in every process from the first question on, and is another as soon as one says so."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import httpx
import pytest

from orchestrator.core.prices import Price
from orchestrator.core.types import Usage
from tests.product import PROJECT, Product
from tests.provider import Provider

WITHIN_S = 30.0  # on a machine that is busy with other things; the promise is one
MODEL = "openai/gpt-4o"


@pytest.fixture(scope="module")
def product(provider: Provider) -> Iterator[Product]:
    """Two web workers, and a proxy of one's own to a provider."""
    with Product(ORCHESTRATOR_WEB_WORKERS="2", OPENAI_API_KEY="sk-x", OPENAI_BASE_URL=provider.address) as product:
        yield product


def ask(product: Product, what: str) -> list[dict[str, Any]]:
    """Ask over so many connections that both workers are met; the records of it."""
    for number in range(24):
        body = {"model": MODEL, "stream": False, "messages": [{"role": "user", "content": f"{what} {number}"}]}
        assert httpx.post(f"{product.base_url}/api/chat", json=body, timeout=30).status_code == 200
    with closing(sqlite3.connect(product.data / "ledger.sqlite3")) as ledger:
        ledger.row_factory = sqlite3.Row
        newest = ledger.execute("SELECT * FROM orchestrator_requestrecord ORDER BY id DESC LIMIT 24")
        return [dict(row) for row in newest.fetchall()]


def rows(product: Product) -> list[tuple[str, str, Any]]:
    """The prices that are kept."""
    with closing(sqlite3.connect(product.data / "ledger.sqlite3")) as ledger:
        found = ledger.execute("SELECT model, source, rates FROM orchestrator_pricerow ORDER BY id").fetchall()
    return [(model, source.partition(" ")[0], json.loads(rates)) for model, source, rates in found]


def costs(record: dict[str, Any], rates: dict[str, str]) -> int:
    price = Price(
        input=Decimal(rates["input"]), output=Decimal(rates["output"]), cache_read=Decimal(rates["cache_read"])
    )
    counts = {name: record[name] for name in ("prompt_tokens", "completion_tokens", "cached_tokens")}
    return price.of(Usage(**counts))


def test_every_worker_knows_it_from_the_first_question_and_hears_of_another(product: Product) -> None:
    records = ask(product, "first")
    ((model, source, rates),) = rows(product)
    assert (model, source) == ("gpt-4o", "genai-prices")
    assert {record["cost_microusd"] for record in records} == {costs(record, rates[0]) for record in records}
    assert all(record["cost_microusd"] > 0 for record in records)

    said = ["--input", "1000", "--output", "2000", "--cache-read", "500"]
    done = subprocess.run(
        [sys.executable, "manage.py", "prices", "set", MODEL, *said],
        cwd=PROJECT,
        env=product.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    give_up = time.monotonic() + WITHIN_S
    told = {"input": "1000", "output": "2000", "cache_read": "500"}
    while not all(record["cost_microusd"] == costs(record, told) for record in ask(product, f"at {time.monotonic()}")):
        assert time.monotonic() < give_up
    assert rows(product) == [("gpt-4o", "genai-prices", rates), ("gpt-4o", "operator", [told])]


def test_the_table_is_loaded_where_somebody_charges_and_nowhere_else(product: Product) -> None:
    """It takes 25 MB: where no provider charges nobody has them."""
    code = "import orchestrator.asgi, orchestrator.wiring, sys; print('genai_prices' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=product.environment(), capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "False\n", done.stderr
