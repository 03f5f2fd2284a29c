"""The table's prices are read as it reckons by them itself; what it does not know is unknown, and never nothing."""

from __future__ import annotations

import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING

import pytest
from genai_prices import Usage as Told
from genai_prices import calc_price
from genai_prices.data_snapshot import get_snapshot

from orchestrator.core.presets import KINDS
from orchestrator.core.types import Usage
from orchestrator.pricing.library import IDS, price_of

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
LENGTHS = (0, 1, 500, 127_999, 128_000, 128_001, 199_999, 200_000, 200_001, 272_000, 272_001, 900_000)


def usual(kind: str) -> str:
    return KINDS[kind].address


def charged(kind: str, model: str, usage: Usage, at: datetime) -> int:
    """What the table itself says."""
    told = Told(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
    )
    price = calc_price(told, model, provider_id=IDS[kind], genai_request_timestamp=at).total_price
    return int((price * 1_000_000).to_integral_value(ROUND_CEILING))


def some_usage(chance: random.Random) -> Usage:
    prompt = chance.choice(LENGTHS)
    cached = chance.randint(0, prompt // 2)
    written = chance.randint(0, (prompt - cached) // 2)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=chance.randint(0, 5000),
        cached_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=chance.randint(0, written),
    )


@pytest.mark.parametrize("kind", IDS)
def test_a_price_costs_what_the_table_says(kind: str) -> None:
    chance = random.Random(kind)
    (vendor,) = (one for one in get_snapshot().providers if one.id == IDS[kind])
    priced = 0
    for model in vendor.models:
        for at in (NOW, NOW + timedelta(hours=chance.randint(0, 23)), NOW + timedelta(days=chance.randint(-500, 100))):
            price = price_of(kind, usual(kind), model.id, at)
            if price is None or not model.is_match(model.id):
                continue
            priced += 1
            usage = some_usage(chance)
            assert price.of(usage) == charged(kind, model.id, usage, at), (model.id, at, usage, price)
    assert priced > len(vendor.models)


@pytest.mark.parametrize("kind", IDS)
def test_a_price_holds_until_it_says(kind: str) -> None:
    """A moment before it is the same; where none is said it is the same in years."""
    (vendor,) = (one for one in get_snapshot().providers if one.id == IDS[kind])
    for model in vendor.models:
        price = price_of(kind, usual(kind), model.id, NOW)
        if price is None:
            continue
        last = datetime.fromtimestamp(price.until, UTC) if price.until else NOW + timedelta(days=2000)
        for at in (NOW + (last - NOW) / 2, last - timedelta(seconds=1)):
            assert price_of(kind, usual(kind), model.id, at) == price


def test_some_price_changes_by_the_day_and_some_by_the_hour() -> None:
    untils = [
        (model.id, price.until)
        for kind, vendor_id in IDS.items()
        for vendor in get_snapshot().providers
        if vendor.id == vendor_id
        for model in vendor.models
        if (price := price_of(kind, usual(kind), model.id, datetime(2025, 6, 1, 3, tzinfo=UTC))) and price.until
    ]
    assert any(until % 86_400 for _, until in untils if until)
    assert any(not until % 86_400 for _, until in untils if until)


@pytest.mark.parametrize(
    ("kind", "address", "model"),
    [
        ("openai", usual("openai"), "gpt-4o-mini-new-thing"),
        ("openai", usual("openai"), ""),
        ("anthropic", usual("anthropic"), "claude-sonnet-9"),
        ("openrouter", usual("openrouter"), "auto"),
        ("compatible", "http://127.0.0.1:8000/v1", "gpt-4o"),
        ("compatible", "https://llm.example.com/v1", "gpt-4o"),
        ("openai", "https://cheap.example.com/v1", "gpt-4o"),  # they take what they like
        ("ollama", "http://gpu:11434", "llama3.2"),
        ("openai", usual("openai"), "gpt-image-1"),  # pictures have a price of their own
        ("perplexity", "https://api.perplexity.ai", "sonar"),  # and so has each request
        ("openai", usual("openai"), "gpt-5-search-api"),  # and each search, of which the table says nothing
        ("openai", usual("openai"), "gpt-4o-search-preview-2025-03-11"),
        ("openai", usual("openai"), "o4-mini-deep-research"),
    ],
)
def test_what_it_does_not_know_is_unknown(kind: str, address: str, model: str) -> None:
    assert price_of(kind, address, model, NOW) is None


@pytest.mark.parametrize(
    ("kind", "address", "model"),
    [
        ("compatible", "https://api.x.ai/v1", "grok-4"),
        ("compatible", "https://api.fireworks.ai/inference/v1", "accounts/fireworks/models/gpt-oss-120b"),
        ("openai", "http://litellm:4000/v1", "gpt-4o"),  # a proxy of one's own
        ("gemini", usual("gemini"), "models/gemini-2.5-pro"),
        ("openai", usual("openai"), "GPT-4O"),
    ],
)
def test_an_address_tells_whose_price_it_is(kind: str, address: str, model: str) -> None:
    price = price_of(kind, address, model, NOW)
    assert price is not None
    assert price.input > 0
    assert price.source.startswith("genai-prices ")


def test_long_questions_cost_more_where_they_do() -> None:
    price = price_of("gemini", usual("gemini"), "gemini-2.5-pro", NOW)
    assert price is not None
    (long,) = price.longer
    assert (long.above, long.input > price.input, long.output > price.output) == (200_000, True, True)


def test_nothing_is_asked_of_a_network() -> None:
    """Where no name can be looked up and no connection be made, and with nothing that would fetch newer prices."""
    code = """
import socket, threading
def never(*args, **kwargs): raise SystemExit(f"it asked {args}")
socket.getaddrinfo = socket.create_connection = socket.socket.connect = never
from datetime import UTC, datetime
from orchestrator.pricing.library import price_of
import sys
assert "genai_prices" not in sys.modules
assert price_of("openai", "https://api.openai.com/v1", "gpt-4o", datetime.now(UTC))
assert threading.active_count() == 1
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
