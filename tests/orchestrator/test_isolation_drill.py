"""The drill of isolation sees what it is there to see."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cache.generation import Generation
from cache.keys import keys_for
from cache.purges import PurgeLog
from cache.tiered import TieredCache
from cache.tiers.memory import MemoryTier
from orchestrator.core.clock import Clock
from orchestrator.core.types import Caller, ChatRequest, Model
from orchestrator.replay import Asked
from tests.drills import isolation
from tests.drills.base import Run
from tests.drills.isolation import MOST_AUC, pairs, rank_statistic


async def crossings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(isolation, "PAIRS", (1500, 0))
    generation, clock = Generation(tmp_path / "generation"), Clock()
    cache = TieredCache([MemoryTier(clock, 10 * 1024**2)], clock, generation, PurgeLog(None))
    run = Run("isolation", seed=1)
    try:
        await pairs(run, cache)
    finally:
        await cache.aclose()
        generation.close()
    assert run.counts["pairs"] == 1500
    assert run.counts["granted"]
    assert run.counts["calls shared"]
    return run.counts["crossings"]


def blind(**same: Any) -> Any:
    """Keys that do not hold something."""

    def keys(request: ChatRequest, caller: Caller, model: Model) -> Any:
        for name, value in same.items():
            if hasattr(caller, name):
                caller = replace(caller, **{name: value})
            elif hasattr(model, name):
                model = replace(model, **{name: value})
            else:
                request = replace(request, **{name: value})
        return keys_for(request, caller, model)

    return keys


async def test_with_the_keys_there_are_nothing_crosses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await crossings(tmp_path, monkeypatch) == 0


LEFT_OUT: tuple[dict[str, Any], ...] = (
    {"tenant_id": 1},
    {"tenant": "a"},
    {"namespace": ""},
    {"digest": "d"},
    {"name": "m"},
    {"options": {}},
)


@pytest.mark.parametrize("same", LEFT_OUT, ids=str)
async def test_a_key_that_leaves_something_out_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: dict[str, Any]
) -> None:
    monkeypatch.setattr(isolation, "keys_for", blind(**same))
    assert await crossings(tmp_path, monkeypatch) > 0


async def test_a_replay_key_without_its_tenant_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Asked, "key", lambda self, tenant_id, key_id: (self.path, key_id, self.body))
    assert await crossings(tmp_path, monkeypatch) > 0


def test_the_rank_statistic_is_that_of_mann_and_whitney() -> None:
    assert rank_statistic([1, 2, 3], [4, 5, 6]) == 1
    assert rank_statistic([4, 5, 6], [1, 2, 3]) == 0
    assert rank_statistic([1, 2], [1, 2]) == 0.5
    assert rank_statistic([1, 3], [2, 2, 3]) == pytest.approx((1 + 1 + 1 + 0 + 0 + 0.5) / 6)


def test_a_time_that_tells_is_told_from_chance() -> None:
    chance = random.Random(1)
    nobodys = [chance.gauss(1, 0.1) for _ in range(6000)]
    for slower, is_seen in ((0.0, False), (0.02, True)):
        run = Run("isolation", seed=1, is_long=True)
        isolation._told_apart(run, "looks", nobodys, [chance.gauss(1 + slower, 0.1) for _ in range(6000)])
        assert bool(run.reasons) == is_seen
        assert run.figures["looks_auc_95_percent_within_share"] < MOST_AUC[1] - 0.5
