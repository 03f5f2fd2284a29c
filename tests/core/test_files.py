"""As many open files as may be, and no more callers than they are enough for."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from orchestrator.core.files import ENOUGH, RESERVED, most_callers, most_open, raise_limit


@pytest.fixture
def hard() -> Iterator[int]:
    """How many files may be allowed; as many as before are at the end."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_limit_is_raised_to_what_is_allowed(hard: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    assert most_open() == 512
    assert raise_limit() == min(hard, ENOUGH)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most_open(), hard)


def test_it_is_never_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    high = ENOUGH * 2
    monkeypatch.setattr(resource, "getrlimit", lambda _: (high, high))
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    assert raise_limit() == high
    assert asked == [(high, high)]


def test_a_system_that_refuses_leaves_it_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, limits: tuple[int, int]) -> None:
        raise ValueError("current limit exceeds maximum limit")

    before = most_open()
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_limit() == before


@pytest.mark.parametrize(
    ("soft", "callers"), [(1024, (1024 - RESERVED) // 2), (100, 1), (resource.RLIM_INFINITY, (ENOUGH - RESERVED) // 2)]
)
def test_every_caller_may_need_two(monkeypatch: pytest.MonkeyPatch, soft: int, callers: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, resource.RLIM_INFINITY))
    assert most_callers() == callers
