"""Prices are read from lists that tell them; what is odd is unknown, and never nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest

from orchestrator.core.prices import Price
from orchestrator.core.types import Usage
from orchestrator.engines.wires.openai import OpenAI


def price(pricing: Any) -> Price | None:
    (offer,) = OpenAI().offers(orjson.dumps({"data": [{"id": "a", "pricing": pricing}]}))
    return offer.price


@pytest.mark.parametrize(
    ("pricing", "told", "answered"),
    [
        ({"prompt": "0.00000015", "completion": "0.0000006"}, "0.15", "0.6"),  # OpenRouter: a token
        ({"prompt": "0", "completion": "0", "image": "0"}, "0", "0"),
        ({"prompt": "1e-6", "completion": "0.0001"}, "1", "100"),
        ({"hourly": 0, "input": 0.18, "output": 0.59, "base": 0}, "0.18", "0.59"),  # Together: a million
        ({"input": 3, "output": 0}, "3", "0"),
    ],
)
def test_a_price_is_exact(pricing: Any, told: str, answered: str) -> None:
    assert price(pricing) == Price(input=Decimal(told), output=Decimal(answered))


@pytest.mark.parametrize(
    "pricing",
    [
        {"prompt": "-1", "completion": "-1"},  # openrouter/auto: as what it chooses
        {"prompt": "0.000001", "completion": "0.000001", "request": "0.005"},  # each request costs as well
        {"prompt": "0.000001", "completion": "0.000001", "request": "much"},
        {"prompt": "0.1"},
        {"prompt": "0.000001", "completion": ""},
        {"prompt": "NaN", "completion": "0"},
        {"prompt": "1000", "completion": "0"},
        {"prompt": 0.000001, "completion": 0.000002},  # a token or a million: who knows
        {"input": 0, "output": 0, "hourly": 0},  # so it says of what it does not sell by tokens
        {"input": "0.000003", "output": "0.000015"},
        {"input": -0.1, "output": 1},
        {"input": True, "output": 1},
        {"input": 1e30, "output": 1},
        {},
        [],
        None,
        "cheap",
    ],
)
def test_an_odd_price_is_unknown(pricing: Any) -> None:
    assert price(pricing) is None


@pytest.mark.parametrize(
    ("told", "read", "written"),
    [
        ({"input_cache_read": "0.0000003", "input_cache_write": "0.00000375"}, "0.3", "3.75"),
        ({"input_cache_read": "0", "input_cache_write": ""}, None, None),
        ({"input_cache_read": "-1"}, None, None),
        ({}, None, None),
    ],
)
def test_what_a_cache_costs_is_told_too(told: dict[str, str], read: str | None, written: str | None) -> None:
    known = price({"prompt": "0.000003", "completion": "0.000015", "request": "0", **told})
    assert known
    assert known == Price(
        input=Decimal(3),
        output=Decimal(15),
        cache_read=None if read is None else Decimal(read),
        cache_write=None if written is None else Decimal(written),
    )


def test_a_cost_is_rounded_up_to_the_millionth() -> None:
    known = price({"prompt": "0.00000015", "completion": "0.0000006"})
    assert known
    assert known.of(Usage(prompt_tokens=1, completion_tokens=0)) == 1
    assert known.of(Usage(prompt_tokens=1_000_000, completion_tokens=1_000)) == 150_600
