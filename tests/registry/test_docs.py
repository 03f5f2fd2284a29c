"""What docs/registry.md shows can be done, and its tables name every field there is."""

from __future__ import annotations

import json
import re

import pytest

from orchestrator.core.presets import KINDS
from orchestrator.management.commands.registry import Command
from orchestrator.registry import changes
from orchestrator.registry.document import CAPABILITIES, DeploymentPart, ModelPart, ProviderPart, read_text
from orchestrator.registry.reading import read
from orchestrator.registry.rules import SOURCES, TAKEN
from orchestrator.registry.stored import read_tables, shown
from tests.product import PROJECT
from tests.registry.conftest import OPS

TEXT = (PROJECT / "docs" / "registry.md").read_text()


@pytest.mark.django_db
def test_the_example_can_be_applied() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    document = read_text(example.replace("…", "0123456789"))
    assert changes.apply(document, OPS).lines
    registry = read()
    assert [one.name for one in registry.providers] == ["azure-eu", "gpu", "openai"]
    smart = next(one for one in registry.models if one.name == "smart")
    assert [one.provider for one in smart.deployments] == ["openai", "azure-eu"]
    assert read_text(json.dumps(shown(read_tables()))).models == dict(sorted(document.models.items()))


@pytest.mark.parametrize("part", [ProviderPart, ModelPart, DeploymentPart])
def test_every_field_is_described(part: type[ProviderPart | ModelPart | DeploymentPart]) -> None:
    assert [name for name in part.model_fields if f"`{name}`" not in TEXT and name != "is_enabled"] == []


@pytest.mark.parametrize("word", sorted({*KINDS, *CAPABILITIES, *TAKEN, *SOURCES}))
def test_every_word_is_named(word: str) -> None:
    assert f"`{word}`" in TEXT


def test_every_command_is_described() -> None:
    parser = Command().create_parser("manage.py", "registry")
    (commands,) = (action.choices for action in parser._actions if action.dest == "command")
    assert commands is not None
    assert [name for name in commands if not re.search(rf"^\| `{name}\b", TEXT, re.MULTILINE)] == []
