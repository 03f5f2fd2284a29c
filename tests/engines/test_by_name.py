"""The tables of what models differ in by their names, and that the document says the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.engines.wires.by_name import CLAUDES, CLAUDES_THINKING, GEMINIS, GPTS, GPTS_CAPS, Row, Table
from tests.engines.test_models_by_name import ANTHROPIC, GEMINI, OPENAI

DOCUMENT = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()
TABLES = {"claudes": CLAUDES, "claudes thinking": CLAUDES_THINKING, "geminis": GEMINIS, "gpts": GPTS, "caps": GPTS_CAPS}
NOT_YET = ("gemini-2-flash", "gemini-2-pro")  # what a later model of that number would be taken for
NAMES = [
    *(
        line.partition(" ")[0].lower().removeprefix("ft:")
        for table in (ANTHROPIC, GEMINI, OPENAI)
        for line in table.split("\n")
    ),
    *NOT_YET,
]
ROWS = [
    pytest.param(table, row, id=f"{what}: {row.names} {row.since}")
    for what, table in TABLES.items()
    for row in table.rows
]


def test_the_first_row_that_fits_is_the_one() -> None:
    new = Row("gpt-5", since=(5, 7), refuses={"effort", "seed"}, takes={"stop unless thinking"})
    table = Table((new, Row("gpt-", before=(5, 0)), Row("gpt-", most_output=7)), number=r"gpt-(\d+)(?:\.(\d+))?")
    assert [table.row(name).most_output for name in ("gpt-4.9", "gpt-5", "gpt-5.6", "gpt-x", "o3")] == [0, 7, 7, 0, 0]
    assert table.row("gpt-5.10") is new
    assert new.of({"effort unless tools", "seed", "stop", "top_p"}) == {"stop unless thinking", "top_p"}
    assert table.row("o3").of({"seed"}) == {"seed"}


@pytest.mark.parametrize(("table", "row"), ROWS)
def test_no_row_stands_in_the_shade_of_another(table: Table, row: Row) -> None:
    assert any(table.row(name) is row for name in NAMES)


def beginnings(names: str) -> list[str]:
    """`gpt-4o` and `gpt-5` of the pattern `gpt-4o|gpt-5(-mini)?`."""
    alternatives = re.split(r"\|(?![^(]*\))", names)
    return [one[0].replace("\\", "") for names in alternatives if (one := re.match(r"(?:[\w-]|\\\.)*\w", names))]


@pytest.mark.parametrize(("table", "row"), ROWS)
def test_the_document_names_what_a_row_is_about(table: Table, row: Row) -> None:
    assert [name for name in beginnings(row.names) if name not in DOCUMENT.lower()] == []
    if row.since > (1, 0):
        assert ".".join(map(str, row.since)) in DOCUMENT
    if row.most_output:
        assert f"{row.most_output:,}" in DOCUMENT


@pytest.mark.parametrize(("table", "row"), ROWS)
def test_every_row_says_where_that_is_told(table: Table, row: Row) -> None:
    assert re.search(r"seen in refusals|, 20\d\d-\d\d|github\.com/", row.told)
