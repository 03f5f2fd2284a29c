"""The console on a socket, with a fake model host and a real cache."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from playwright.async_api import Page, expect

from cache.purges import PurgeLog
from cache.tiered import TieredCache
from cache.tiers import sqlite as sqlite_tier
from cache.tiers.memory import MemoryTier
from cache.tiers.sqlite import SQLiteTier
from dashboard.reading import reader
from orchestrator import wiring
from orchestrator.core.permissions import Role
from orchestrator.parts import Parts
from tests.dashboard.site import FakeLocal, opened, served, somebody

expect.set_options(timeout=20_000)  # ms; a deadline for a machine that has other things to do, and nobody waits for it


@pytest.fixture
def local() -> FakeLocal:
    """The model host."""
    return FakeLocal()


@pytest.fixture
async def console(parts: Parts, local: FakeLocal, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Parts]:
    """The parts of this process, as the dashboard finds them."""
    monkeypatch.setattr(sqlite_tier, "READ_S", 60.0)  # a test is about what is found, not about how busy the machine is
    file = SQLiteTier(Path(connections["cache"].settings_dict["NAME"]), parts.clock, 10 * 1024**2)
    tiers = (MemoryTier(parts.clock, 10 * 1024**2), file)
    cache = TieredCache(tiers, parts.clock, parts.generation, PurgeLog(file))
    mine = dataclasses.replace(parts, local=local, cache=cache)  # type: ignore[arg-type]  # a fake
    monkeypatch.setattr(wiring, "_parts", mine)
    reader.forget()
    yield mine
    await cache.aclose()
    monkeypatch.setattr(wiring, "_parts", parts)


@pytest.fixture
async def address(console: Parts) -> AsyncIterator[str]:
    """Where the console is served."""
    from orchestrator.asgi import application

    async with served(application) as address:
        yield address


@pytest.fixture
def operator(transactional_db: None) -> User:
    """Somebody who may see everything."""
    return somebody("mira", Role.ADMIN, password="correct horse")


@pytest.fixture
def passer_by(transactional_db: None) -> User:
    """Somebody with an account, and no business here."""
    return User.objects.create_user("charlie", password="battery staple")


@pytest.fixture
def client() -> Client:
    """A visitor without a browser."""
    return Client()


@pytest.fixture
async def visit(address, browser, operator) -> AsyncIterator[Any]:
    """A function that opens a page as the operator; at the end none may have complained."""
    pages: list[Page] = []

    async def go(path: str, **options: Any) -> Page:
        page = await opened(browser, address, operator, **options)
        pages.append(page)
        await page.goto(address + path)
        return page

    yield go
    for page in pages:
        assert page.complaints == []  # type: ignore[attr-defined]  # see `opened`
