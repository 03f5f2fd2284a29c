"""The product as people run it, with a provider beside it that costs nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tests.product import Product
from tests.provider import Provider


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    """A provider on a thread and event loop of its own: the clients here block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    provider = asyncio.run_coroutine_threadsafe(Provider().start(), loop).result(10)
    yield provider
    asyncio.run_coroutine_threadsafe(provider.stop(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture(scope="session")
def product(provider: Provider) -> Iterator[Product]:
    with Product(OPENAI_API_KEY="sk-test", OPENAI_BASE_URL=provider.address) as product:
        yield product
