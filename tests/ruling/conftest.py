"""Rules to publish, and who does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from orchestrator.core.changing import By
from routing.rules.checking import read_document
from routing.rules.document import Rule

ANNA, BERT = By("anna", actor="user:anna"), By("bert", actor="user:bert")


@pytest.fixture(autouse=True)
def own_generation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is published counts up there."""
    monkeypatch.setattr(settings, "GENERATION_FILE", tmp_path / "generation")


def rule(name: str, **fields: Any) -> Rule:
    """A rule, as people write it."""
    return read_document({"rules": [{"name": name, "then": {"forbid": f"no {name}"}, **fields}]}).rules[0]
