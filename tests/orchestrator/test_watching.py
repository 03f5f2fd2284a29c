"""Whatever the database does, a process goes on by what it read last, says so once, and reads on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from orchestrator import watching
from orchestrator.catalogue import Catalogue
from orchestrator.core import following
from orchestrator.core.clock import Clock
from orchestrator.core.threads import WorkerThread
from orchestrator.registry.breakers import GONE, tell
from orchestrator.registry.entries import ModelEntry, Registry
from orchestrator.registry.models import OpenBreaker
from orchestrator.registry.reading import Reading
from orchestrator.watching import RegistryWatch
from routing.health import Health, Open


@pytest.fixture
async def watch(monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> AsyncIterator[RegistryWatch]:
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.01)
    catalogue, thread = Catalogue([]), WorkerThread("registry")
    watch = RegistryWatch(catalogue, Health(Clock()), thread, lambda: 1, worker="one", first_token_s=60)
    yield watch
    await watch.aclose()


async def until(found: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not found():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("error", [TypeError("a row of another kind"), TimeoutError()], ids=lambda one: str(one))
@pytest.mark.parametrize("what", ["look", "_news"])
async def test_what_cannot_be_read_is_said_once_and_read_again(
    watch: RegistryWatch,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    what: str,
) -> None:
    failing, asked = True, 0
    readings = {
        "look": lambda: Reading(Registry(models=(ModelEntry(name="m"),))),
        "_news": lambda: (0, {}, frozenset()),
    }

    def ask() -> object:
        nonlocal asked
        asked += 1
        if failing:
            raise error
        return readings[what]()

    for name, reading in readings.items():
        monkeypatch.setattr(watching, name, ask if name == what else reading)
    with caplog.at_level(logging.WARNING, logger="orchestrator.core.following"):
        watch.start()
        await until(lambda: asked > 5)
        failing = False
        await until(lambda: any("can be read again" in line for line in caplog.messages))
    assert len(caplog.messages) == 2
    assert "what was read before holds" in caplog.messages[0]
    assert [model.name for model in watch._catalogue.registry.models] == ["m"]


def test_what_a_worker_does_not_ask_goes_a_day_after_the_worker_did(transactional_db: None) -> None:
    place = Open("openai", "openai/big", 1_800_000_000.0, "silent")
    tell("gone", [place])
    tell("here", [place])
    OpenBreaker.objects.filter(worker="gone").update(seen_at=timezone.now() - GONE - timedelta(minutes=1))
    tell("here", [place])
    assert [row.worker for row in OpenBreaker.objects.all()] == ["here"]
    tell("here", [])
    assert not OpenBreaker.objects.exists()
