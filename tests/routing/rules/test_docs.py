"""What docs/rules-language.md shows can be published, and its tables name everything there is."""

from __future__ import annotations

import json
import re

import pytest
from pydantic import BaseModel

from routing.rules import checking, document, expressions
from routing.rules.facts import FACTS
from tests.product import PROJECT

TEXT = (PROJECT / "docs" / "rules-language.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The rows of the tables that have this heading, without it: the cells as they are shown."""
    table = TEXT[TEXT.index(f"| {heading} |") :].partition("\n\n")[0]
    cells = [re.split(r"(?<!\\)\|", line.strip("| ")) for line in table.splitlines()[2:]]
    return [[cell.strip().replace("\\|", "|") for cell in row] for row in cells]


def test_the_example_can_be_published() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert checking.faults_in(checking.read_document(json.loads(example))) == []


@pytest.mark.parametrize("shown", [row[0].strip("`") for row in rows("expression | holds when")])
def test_an_expression_that_is_shown_can_be_published(shown: str) -> None:
    assert expressions.faults_in(shown) == []


@pytest.mark.parametrize("row", rows("expression | what is told"))
def test_a_fault_that_is_shown_is_what_is_told(row: list[str]) -> None:
    assert expressions.faults_in(row[0].strip("`")) == [row[1].strip("`")]


def test_every_fact_is_there_with_its_kind_and_type() -> None:
    shown = {name: row[1:3] for row in rows("fact | kind | in expressions") for name in re.findall(r"`(\w+)`", row[0])}
    types = {"words": "list of strings", "time": "timestamp"}
    wanted = {name: [fact.kind, expressions.VARIABLES[name]] for name, fact in FACTS.items()}
    assert shown == {name: [kind, types.get(type_, type_)] for name, (kind, type_) in wanted.items()}


def test_every_way_to_compare_is_there() -> None:
    shown = {row[0]: tuple(re.findall(r"`(\w+)`", row[1])) for row in rows("kind | op | value")}
    assert shown == checking.OPS


@pytest.mark.parametrize(
    "part",
    [document.Actions, document.Rule, document.Hours, document.Split, document.CachePart, document.AimPart],
)
def test_every_field_is_named(part: type[BaseModel]) -> None:
    assert [name for name in part.model_fields if f"`{name}`" not in TEXT and f'"{name}"' not in TEXT] == []


def test_every_action_has_its_row() -> None:
    shown = [name for row in rows("action | what becomes of the request") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(shown) == sorted(document.Actions.model_fields)


def test_the_bounds_are_those_that_hold() -> None:
    bounds = TEXT[TEXT.index("## Bounds") :]
    for most in (
        f"{document.MOST_RULES:,} rules and {checking.MOST_EXPRESSIONS} expressions",
        f"a rule {document.MOST_CONDITIONS} conditions",
        f"a condition {document.MOST_VALUES} values",
        f"an expression {document.LONGEST_EXPRESSION:,} characters",
        f"`text` is named {expressions.MOST_TEXTS} times",
        f"has {expressions.LONGEST_PATTERN} characters",
        f"come to {expressions.MOST_REPEATS}",
        f"comes to {expressions.MOST_STATES:,} states",
        f"comes to {expressions.MOST_STEPS:,} at most: `tags` counts as {expressions.MOST_TAGS} values",
        f"`+` stands within loops {expressions.MOST_SUMS} times",
    ):
        assert most in " ".join(bounds.split())
    assert expressions.MOST_MAPS == 1
    assert "There is one `map`" in bounds
    assert {f"`{loop}`" for loop in expressions.LOOPS} <= set(re.findall(r"`\w+`", bounds))
