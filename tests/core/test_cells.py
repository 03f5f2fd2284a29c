"""Text that a spreadsheet would reckon with is text in every CSV."""

from __future__ import annotations

from decimal import Decimal

import pytest

from orchestrator.core.cells import FORMULA, harmless


@pytest.mark.parametrize("start", FORMULA)
def test_what_begins_as_a_formula_is_text(start: str) -> None:
    assert harmless(f"{start}1+1") == f"'{start}1+1"


@pytest.mark.parametrize("cell", ["", "openai/big", "1=1", 7, Decimal("-0.5"), None])
def test_everything_else_is_left_as_it_is(cell: object) -> None:
    assert harmless(cell) is cell
