"""What docs/rules.md shows can be done, and it names all there is."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from orchestrator.api.policy import TABLE
from orchestrator.management.commands.rules import Command
from orchestrator.ruling import versions
from orchestrator.ruling.dry_run import LONGEST_S, MOST_REQUESTS, DryRun
from tests.product import PROJECT

TEXT = (PROJECT / "docs" / "rules.md").read_text()
ROOT = "/api/admin/v1/routing"


def test_every_route_is_named() -> None:
    paths = {path.removeprefix(ROOT).replace("{path:", "{") for _, path in TABLE if path.startswith(f"{ROOT}/")}
    named = set(re.findall(r"(/(?:rules|draft|check|dry-run|publish|versions|results|learned)[^ `?,]*)", TEXT))
    assert paths <= named | {""}


@pytest.mark.parametrize("command", sorted(name for name in vars(Command) if re.fullmatch(r"_[a-z]+", name)))
def test_every_command_is_shown(command: str) -> None:
    assert command == "_tell" or f"manage.py rules {command[1:]}" in TEXT


def test_what_is_counted_and_how_much_is_kept_is_told() -> None:
    unknown = {"unread", "failed", "unheard", "uncertain", "unpriced", "is_cut"}
    assert unknown <= {one.name for one in fields(DryRun)}
    assert [name for name in unknown if f"`{name}`" not in TEXT] == []
    assert f"The newest {versions.MOST_VERSIONS} are kept" in TEXT
    assert f"up to {MOST_REQUESTS}" in TEXT
    assert LONGEST_S == 5
