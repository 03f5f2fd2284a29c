"""The table of providers, and which of them would be ourselves."""

from __future__ import annotations

import pytest

from orchestrator.core.presets import is_at


@pytest.mark.parametrize(
    ("address", "is_here"),
    [
        ("http://0.0.0.0:11434", True),
        ("http://[::]:11434/v1", True),
        ("http://127.0.0.1:11434", True),
        ("http://gateway:11434", True),
        ("http://0.0.0.0:11435", False),
        ("http://0.0.0.0", False),
        ("https://api.openai.com/v1", False),
    ],
)
def test_a_provider_at_this_port_of_this_machine_is_ourselves(address: str, is_here: bool) -> None:
    assert is_at(address, "gateway", 11434) is is_here
