"""Places at a model: in turn, and none is ever lost."""

from __future__ import annotations

import asyncio
import random

import pytest

from orchestrator.core.turns import Turn
from orchestrator.modelhost.places import Places


async def test_one_question_of_another_tenant_waits_for_no_more_than_its_turn() -> None:
    places = Places(2)
    served: list[int] = []

    async def ask(tenant: int) -> None:
        await places.take(Turn(tenant=tenant))
        served.append(tenant)
        await asyncio.sleep(0)
        places.give_back()

    flood = [asyncio.create_task(ask(1)) for _ in range(500)]
    await asyncio.sleep(0)
    await asyncio.gather(*flood, asyncio.create_task(ask(2)))
    assert served.index(2) <= 5
    assert places.is_free


@pytest.mark.parametrize("seed", range(5))
async def test_places_never_leak_under_random_cancels(seed: int) -> None:
    places, chance = Places(3), random.Random(seed)
    held = 0

    async def ask(tenant: int) -> None:
        nonlocal held
        await places.take(Turn(tenant=tenant, weight=tenant))
        held += 1
        assert held <= 3
        try:
            await asyncio.sleep(0)
        finally:
            held -= 1
            places.give_back()

    tasks = []
    for _ in range(500):
        match chance.choice(["come", "come", "leave", "turn"]):
            case "come":
                tasks.append(asyncio.create_task(ask(chance.randint(1, 5))))
            case "leave" if tasks:
                chance.choice(tasks).cancel()
            case _:
                await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert places._free == 3
    assert len(places._queue) == 0
