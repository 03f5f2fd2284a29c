"""Drawings as path data."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from dashboard import charts
from dashboard.costs.today import Hour, Today
from dashboard.costs.today_chart import money
from orchestrator.core.permissions import EVERYBODY
from orchestrator.ledger.costs import Sums
from orchestrator.ledger.stats import figures
from tests.dashboard.site import record

NOW = datetime(2026, 11, 23, 12, 0, 30, tzinfo=UTC)


def test_boxes_without_height_are_left_out():
    path = charts.outline([(0, 10, 100, 50), (10, 20, 100, 100), (20, 30, 100, 0)])
    assert path.count("M") == path.count("z") == 2
    assert charts.outline([(0, 10, 100, 100)]) == ""


@pytest.mark.parametrize(
    ("most", "ticks"), [(0, [0, 1]), (1, [0, 1]), (187, [0, 50, 100, 150, 200]), (5, [0, 1, 2, 3, 4, 5])]
)
def test_ticks_are_round_and_reach_the_most(most, ticks):
    assert charts.round_ticks(most) == ticks


def test_a_line_breaks_where_nothing_is_known():
    assert charts.curve([(0, 10, 50), None, (20, 30, 40)]).count("M") == 2
    assert charts.spark([None, None]).path == ""
    assert charts.spark([1, None, 3]).path.count("M") == 2


def test_names_at_the_right_do_not_touch():
    names = charts._apart([charts.Name("p50", 50), charts.Name("p95", 49)])
    assert names[0].at - names[1].at == charts.LABEL_GAP


@pytest.mark.django_db
def test_stacked_layers_fill_the_height_of_the_busiest_bucket():
    for tier in ("memory", "redis", "miss"):
        record(NOW - timedelta(minutes=5), tier=tier)
    drawn = charts.steps(figures(NOW - timedelta(hours=1), NOW, EVERYBODY))
    assert [row.requests for row in drawn.legend] == [1, 0, 1, 1]
    heights = re.findall(r"[MV][\d.]* ?([\d.]+)", "".join(layer.path for layer in drawn.layers))
    assert min(map(float, heights)) == 0
    assert drawn.answered == 3
    assert drawn.x[-1].label == "now"


@pytest.mark.django_db
def test_the_open_bucket_is_as_wide_as_the_others_from_its_first_second_on():
    now = NOW.replace(second=1)
    record(now, tier="memory")
    record(now, tier="miss")
    drawn = charts.steps(figures(now - timedelta(hours=1), now + timedelta(seconds=1), EVERYBODY))
    for layer in (drawn.layers[0], drawn.layers[-1]):
        left = float(re.match(r"M([\d.]+)", layer.path)[1])
        assert "H1000.0" in layer.path
        assert 1000 - left == pytest.approx(1000 / 61, abs=0.1)


@pytest.mark.django_db
def test_an_answer_of_minutes_has_its_place_in_the_heat():
    record(NOW - timedelta(minutes=5), total_us=200_000_000)
    record(NOW - timedelta(minutes=5), total_us=3)
    drawn = charts.heat(figures(NOW - timedelta(hours=1), NOW, EVERYBODY))
    assert drawn.y[-1].label == f"100{charts.formats.NARROW}s"  # no further than the data
    assert all(0 <= tick.at <= 100 for tick in drawn.y)
    assert [line.name for line in drawn.lines] == ["p50", "p95"]


@pytest.mark.django_db
def test_the_axis_of_time_to_answer_ends_at_ten_seconds_where_nothing_took_longer():
    record(NOW - timedelta(minutes=5), total_us=10_000_000)
    drawn = charts.heat(figures(NOW - timedelta(hours=1), NOW, EVERYBODY))
    assert [tick.label for tick in drawn.y][-1] == f"10{charts.formats.NARROW}s"
    assert drawn.rows == charts.LEAST_ROWS


@pytest.mark.django_db
def test_percentiles_beside_the_chart_are_those_of_the_whole_window():
    for took in (2_000, 2_000, 2_000, 900_000):
        record(NOW - timedelta(minutes=20), total_us=took)
    record(NOW - timedelta(minutes=1), total_us=29_000_000)
    drawn = charts.heat(figures(NOW - timedelta(hours=1), NOW, EVERYBODY))
    assert [name.text for name in drawn.names] == [
        f"p50 2.0{charts.formats.NARROW}ms",
        f"p95 29.0{charts.formats.NARROW}s",
    ]


@pytest.mark.django_db
@pytest.mark.parametrize(("days", "is_day"), [(1, False), (7, True), (30, True)])
def test_an_axis_of_days_tells_days(days, is_day):
    record(NOW - timedelta(minutes=5))
    ticks = charts.time_ticks(figures(NOW - timedelta(days=days), NOW, EVERYBODY))
    assert 3 <= len(ticks) <= 6
    assert [tick.is_day for tick in ticks] == [is_day] * (len(ticks) - 1) + [False]


def test_the_money_of_a_day_ends_where_its_sums_do() -> None:
    at = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    hours = [Hour(midnight + timedelta(hours=number), 1_000_000 * number, 0) for number in range(3)]
    sums = Sums(calls=9, cost_microusd=6_000_000, saved_calls=4, saved_microusd=2_000_000)
    drawn = money(Today(at, sums, Sums(), hours, None))
    assert [tick.label for tick in drawn.y][-1] == "$8"
    assert drawn.spent.endswith("L104.2 25.00V100z")
