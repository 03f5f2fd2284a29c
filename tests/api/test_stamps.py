"""Copies of an answer that differ in nothing but when, under which id, and how fast."""

from __future__ import annotations

import pytest

from orchestrator.api.stamps import HOLES, Template, rfc3339

NOW_NS = 1_790_000_000_123_456_000


def test_what_was_left_out_is_filled_in_wherever_it_stands() -> None:
    body = f'{{"at":"{HOLES.created_at}","ns":{HOLES.total_ns},"s":{HOLES.created}}}\n{{"ns":{HOLES.total_ns}}}'
    filled = Template(body.encode()).fill(NOW_NS, 21_000)
    assert filled == b'{"at":"2026-09-21T14:13:20.123456Z","ns":21000,"s":1790000000}\n{"ns":21000}'


def test_an_id_is_one_within_a_copy_and_another_in_the_next() -> None:
    template = Template(f"{HOLES.id} {HOLES.id}".encode())
    first, second = (template.fill(NOW_NS, 1).split() for _ in range(2))
    assert first[0] == first[1] != second[0]
    assert len(first[0]) == 24


@pytest.mark.parametrize("text", ["100 %", "%b %s %(a)s %%", "{created_at}", "created_at.", "", "\x00 é🎈"])
def test_what_an_answer_says_stays_as_it_is(text: str) -> None:
    assert Template(text.encode()).fill(NOW_NS, 1) == text.encode()
    around = f"{text}{HOLES.total_ns}{text}"
    assert Template(around.encode()).fill(NOW_NS, 7) == f"{text}7{text}".encode()


def test_moments_are_written_as_go_writes_them() -> None:
    assert rfc3339(1_790_000_000_000_000_000) == "2026-09-21T14:13:20Z"
    assert rfc3339(1_790_000_000_120_000_000) == "2026-09-21T14:13:20.12Z"
    assert rfc3339(1_790_000_001_000_000_001) == "2026-09-21T14:13:21.000000001Z"
    assert rfc3339(1_790_000_000_000_000_001) == "2026-09-21T14:13:20.000000001Z", "an earlier second again"
