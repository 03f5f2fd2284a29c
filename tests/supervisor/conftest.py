"""Programs to supervise, and places for them."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.supervisor.child import Child, Program
from orchestrator.supervisor.reaper import Reaper


@pytest.fixture
async def reaper() -> AsyncIterator[Reaper]:
    loop, reaper = asyncio.get_running_loop(), Reaper()
    loop.add_signal_handler(signal.SIGCHLD, reaper.reap)
    yield reaper
    loop.remove_signal_handler(signal.SIGCHLD)


@pytest.fixture
async def keep(reaper: Reaper) -> AsyncIterator[Callable[..., Child]]:
    """Keep a Python program running until the test is over."""
    children: list[Child] = []

    def keep(code: str, **rest: object) -> Child:
        argv = (sys.executable, "-c", code)
        program = Program(role="web", name="web 1", argv=argv, **rest)  # type: ignore[arg-type]
        child = Child(program, reaper, lambda: None)
        children.append(child)
        child.start()
        return child

    yield keep
    for child in children:
        child.kill()
        await child.stop()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A fresh data directory: pytest's own have paths too long for a socket."""
    path = Path(tempfile.mkdtemp(prefix="orch-"))
    yield path
    shutil.rmtree(path)
