"""A registry without an environment, and a document that says something of everything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from orchestrator.core.changing import By
from orchestrator.core.presets import PRESETS
from orchestrator.registry import rows

CANARY = "sk-canary-0123456789-abcdefghijkl-WXYZ"
OPS = By("ops")

EVERYTHING: dict[str, Any] = {
    "providers": {
        "openai": {"kind": "openai", "key": CANARY, "most_calls": 40},
        "azure-eu": {
            "kind": "compatible",
            "address": "https://eu.example.com/openai/v1",
            "key": "another-key-of-some-length",
            "first_token_timeout_s": 20,
            "token_timeout_s": 10,
            "answer_timeout_s": 300,
            "slow_after_s": 4,
            "is_paid": True,
            "lists_models": False,
            "extra_body": {"user": "gateway", "nested": {"a": [1, 2.5, None, True]}},
        },
        "gpu": {"kind": "ollama", "address": "http://gpu.example.com:11434", "is_enabled": False},
    },
    "models": {
        "smart": {
            "aliases": ["best", "gpt-4o"],
            "tags": ["chat"],
            "deployments": [
                {"provider": "openai", "remote_name": "gpt-4o", "input_price": "2.50", "output_price": 10},
                {
                    "provider": "azure-eu",
                    "remote_name": "gpt4o-prod",
                    "rank": 1,
                    "weight": 3,
                    "input_price": 2.75,
                    "output_price": "11",
                },
            ],
            "balance": "cost",
            "fallbacks": ["small", "anthropic/claude-sonnet-4-5"],
            "hedge_after_s": 1.5,
            "context_length": 128000,
            "capabilities": ["vision", "tools", "completion"],
        },
        "small": {"deployments": [{"remote_name": "smollm2:135m"}]},
        "openai/gpt-4o-mini": {"tags": ["cheap"], "is_enabled": False},
    },
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Nothing is set; a function that sets keys and addresses of providers as the environment would."""

    def set_up(keys: dict[str, str] | None = None, addresses: dict[str, str] | None = None) -> None:
        nothing = {preset.name: "" for preset in PRESETS}
        monkeypatch.setattr(settings, "PROVIDER_KEYS", nothing | (keys or {}))
        monkeypatch.setattr(settings, "PROVIDER_ADDRESSES", nothing | (addresses or {}))

    monkeypatch.setattr(settings, "GENERATION_FILE", tmp_path / "generation")
    set_up()
    return set_up


@pytest.fixture(autouse=True)
def nothing_was_said() -> None:
    """What is logged once is logged once in each test."""
    rows._told.clear()
