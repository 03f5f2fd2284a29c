"""The application of this process in front of scripted providers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from django.conf import settings

from orchestrator import wiring
from orchestrator.core.clock import Clock
from orchestrator.core.presets import PRESETS
from orchestrator.engines.catalogue import Catalogue
from orchestrator.parts import Parts
from tests.provider import Provider
from tests.speeches import KEY, SPEECHES, Speech

Start = Callable[..., Awaitable[Provider]]
Serve = Callable[..., Awaitable[None]]


@pytest.fixture
async def serve(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serve]:
    """A function: have the application ask these addresses, by the name of the provider."""
    async with AsyncExitStack() as stack:

        async def begin(addresses: dict[str, str], *, first_token_s: float = 20, token_s: float = 20) -> None:
            nothing = {preset.name: "" for preset in PRESETS}
            monkeypatch.setattr(settings, "PROVIDER_ADDRESSES", nothing | addresses)
            monkeypatch.setattr(settings, "PROVIDER_KEYS", nothing | dict.fromkeys(addresses, KEY))
            monkeypatch.setattr(settings, "FIRST_TOKEN_TIMEOUT_S", first_token_s)
            monkeypatch.setattr(settings, "TOKEN_TIMEOUT_S", token_s)
            monkeypatch.setattr(settings, "CONNECT_TIMEOUT_S", 2)
            catalogue = Catalogue([*wiring.cloud_engines(Clock()), parts.local])
            stack.push_async_callback(catalogue.aclose)
            monkeypatch.setattr(wiring, "_parts", replace(parts, catalogue=catalogue))

        yield begin


@pytest.fixture
async def started() -> AsyncIterator[Start]:
    """A function: a scripted provider, which is stopped at the end."""
    async with AsyncExitStack() as stack:

        async def start(**fields: object) -> Provider:
            provider = await Provider(**fields).start()  # type: ignore[arg-type]  # fields of it
            stack.push_async_callback(provider.stop)
            return provider

        yield start


@pytest.fixture(params=SPEECHES, ids=lambda speech: speech.name)
def speech(request: pytest.FixtureRequest) -> Speech:
    """What the provider speaks."""
    found: Speech = request.param
    return found
