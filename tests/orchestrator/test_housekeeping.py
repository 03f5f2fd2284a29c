"""What is done in the background does not stand in its own way."""

from __future__ import annotations

import threading

import pytest

from orchestrator import tasks
from orchestrator.ledger import retention


def test_what_takes_longer_than_until_it_is_due_again_is_not_begun_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    is_under_way, may_end = threading.Event(), threading.Event()

    def slow(days: int) -> int:
        begun.append(days)
        is_under_way.set()
        may_end.wait(10)
        raise OSError("it fails in the end")

    def fail() -> None:
        with pytest.raises(OSError, match="in the end"):
            tasks.prune_records()

    monkeypatch.setattr(retention, "prune", slow)
    failing = threading.Thread(target=fail)
    failing.start()
    try:
        assert is_under_way.wait(10)
        tasks.prune_records()
        assert len(begun) == 1
    finally:
        may_end.set()
        failing.join(10)
    fail()
    assert len(begun) == 2
