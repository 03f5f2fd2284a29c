"""A day through the product: it does what was reckoned, and a request of which it does something else is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from orchestrator.rehearsal.apart import rehearsed
from orchestrator.rehearsal.day import DayDiffers, Rehearsal
from orchestrator.rehearsal.driving import Done, Ledgered, must_agree
from orchestrator.rehearsal.sold import ASKED, DATA, TRACE, expected
from routing.day.arrivals import day_of
from routing.day.questions import questions_of
from routing.day.ways import fixed


@pytest.mark.parametrize(("name", "is_paid"), [("nine", False), ("mmlu", True)])
def test_the_product_does_what_was_reckoned(tmp_path: Path, name: str, is_paid: bool) -> None:
    found = rehearsed(Rehearsal(name, 160, 0.5, 0.3, 0, str(tmp_path)))
    assert found["requests"] == 160
    assert found["afternoon"]["hits"] > 0.2
    assert found["saved_by_cache_usd"] == found["proven_usd"]
    assert not is_paid or (found["spent_usd"] > 0 and found["proven_usd"] > 0)


def test_a_day_that_cannot_be_asked_says_why(tmp_path: Path) -> None:
    with pytest.raises(DayDiffers, match="nowhere"):
        rehearsed(Rehearsal("nowhere", 10, 0.0, 0.0, 0, str(tmp_path)))


def test_the_first_request_that_differs_is_named() -> None:
    source = ASKED["mmlu"]
    asked = questions_of(DATA / source.file, source.candidates(datetime.now(UTC)), 1.0, 0, expected)
    day = day_of(TRACE, asked, 20, 0.5, 0.0, 0)
    run = fixed(day, asked, np.full(20, asked.strong), keeps=True)
    name = asked.candidates[asked.strong].name
    done = {
        day.request_id(place): Done(name, "memory" if run.is_hit[place] else "miss", int(run.cost[place]), None)
        for place in range(20)
    }
    must_agree(Ledgered(done, 1.0), run, day, asked)
    place = int(np.flatnonzero(~run.is_hit)[-1])
    wrong = [
        done[day.request_id(place)]._replace(cost=int(run.cost[place]) + 1),
        done[day.request_id(place)]._replace(tier="sqlite"),
        done[day.request_id(place)]._replace(model="another"),
    ]
    for one in wrong:
        with pytest.raises(DayDiffers, match=f"^{day.request_id(place)}: "):
            must_agree(replace(Ledgered(done, 1.0), done=done | {day.request_id(place): one}), run, day, asked)
    del done[day.request_id(place)]
    with pytest.raises(DayDiffers, match="no record"):
        must_agree(Ledgered(done, 1.0), run, day, asked)
