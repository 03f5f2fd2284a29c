"""Where the time of a request went, as text and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.ledger.stages import MOST, Stage, read, written

SECONDS = st.floats(min_value=0, max_value=1000, allow_nan=False)
NAMES = st.sampled_from(["queue", "route", "limits", "pictures", "cache", "choice"])
TIERS = st.sampled_from(["memory", "redis", "sqlite", "semantic"])


def test_what_is_written_is_read_one_after_the_other():
    laps = {"route": 0.000412, "limits": 0.000088, "cache": 0.001153, "choice": 0.0009}
    text = written(laps, {"memory": 0.000021, "redis": 0.00039, "sqlite": 0.00073}, 0.00078)
    assert text == "route 412;limits 88;memory 21;redis 390;sqlite 730;cache 12;choice 900;hold 780"
    stages = read(text)
    assert stages[:3] == [Stage("route", 0, 412), Stage("limits", 412, 88), Stage("memory", 500, 21)]
    assert stages[-1] == Stage("hold", 2553, 780)


@pytest.mark.parametrize("text", [None, "", ";", "route", "route -1", "route x", "9", "route 1.5"])
def test_what_is_no_stage_is_none(text):
    assert read(text) == []


def test_nothing_measured_is_nothing_written():
    assert written({}, {}, 0.0) is None


@given(st.dictionaries(NAMES, SECONDS), st.dictionaries(TIERS, SECONDS), SECONDS)
def test_a_record_has_room_and_every_stage_begins_where_the_last_ended(laps, tiers, hold_s):
    text = written(laps, tiers, hold_s)
    assert text is None or len(text) <= MOST
    end = 0
    for stage in read(text):
        assert stage.begin_us == end
        end += stage.took_us


def test_what_is_cut_off_is_left_out():
    assert read("route 412;limits 88;mem") == [Stage("route", 0, 412), Stage("limits", 412, 88)]
