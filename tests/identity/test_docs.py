"""What docs/keys.md shows can be done, and it names every field, word and command there is."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from orchestrator.core.limits import EACH, KINDS
from orchestrator.core.permissions import ALLOWED, DIALECTS, FAMILIES, Permission, Role
from orchestrator.identity.asked import KeyAsked, LimitAsked, Rotation
from tests.product import PROJECT, Product

TEXT = (PROJECT / "docs" / "keys.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)


def test_what_it_types_does_what_it_says(product: Product) -> None:
    """One after another, as somebody types it who reads it from the top."""
    typed = "\n".join(BLOCKS).replace("localhost:11434", product.base_url.removeprefix("http://"))
    typed = typed.replace("curl ", "curl --silent --show-error --fail-with-body ").replace(
        ".venv/bin/python", sys.executable
    )
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", typed],
        cwd=PROJECT, env=product.environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "events are as they were written" in done.stdout


@pytest.mark.parametrize("asked", [KeyAsked, LimitAsked, Rotation])
def test_every_field_is_described(asked: type[KeyAsked | LimitAsked | Rotation]) -> None:
    assert [name for name in asked.model_fields if not re.search(rf"[`\"]{name}[`\"]", TEXT)] == []


@pytest.mark.parametrize("word", [*DIALECTS, *FAMILIES, *KINDS, *EACH])
def test_every_word_is_named(word: str) -> None:
    assert f"`{word}`" in TEXT


@pytest.mark.parametrize("permission", list(Permission))
def test_the_table_of_roles_is_the_one_that_holds(permission: Permission) -> None:
    (line,) = re.findall(rf"^\| {permission} \|(.*)\|$", TEXT, re.MULTILINE)
    assert [cell.strip() == "yes" for cell in line.split("|")] == [permission in ALLOWED[role] for role in Role]
