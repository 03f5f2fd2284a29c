"""Each drill in its short form: what it is about holds."""

from __future__ import annotations

import pytest

from tests.drills.base import carry_out
from tests.drills.table import NAMES, drill

SEED = 20261123


@pytest.mark.parametrize("name", NAMES)
def test_what_the_drill_is_about_holds(name: str) -> None:
    verdict = carry_out(drill(name), seed=SEED).verdict()
    assert verdict["verdict"] == "held", verdict["why"]
