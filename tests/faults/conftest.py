"""The application of this process in front of scripted providers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

import pytest

from orchestrator import wiring
from orchestrator.catalogue import Catalogue
from orchestrator.core.clock import Clock
from orchestrator.core.presets import BY_NAME
from orchestrator.engines import listing
from orchestrator.parts import Parts
from orchestrator.registry.entries import ModelEntry, ProviderEntry, Registry
from routing import retries
from routing.health import Health
from tests.provider import Provider
from tests.speeches import KEY, SPEECHES, Speech

Start = Callable[..., Awaitable[Provider]]
Serve = Callable[..., Awaitable[Health]]


def entry(speech: Speech, address: str, **fields: object) -> ProviderEntry:
    """A provider that is set up, with patience unless `fields` say otherwise."""
    preset = BY_NAME[speech.name]
    given = {
        "name": speech.name,
        "kind": speech.name,
        "address": address,
        "key": KEY,
        "address_from": preset.address_variable,
        "key_from": preset.key_variables[0],
        "connect_timeout_s": 5.0,
        "first_token_timeout_s": 20.0,
        "token_timeout_s": 20.0,
    }
    return ProviderEntry(**given | fields)  # type: ignore[arg-type]  # fields of it


@pytest.fixture
async def serve(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serve]:
    """A function: have the application ask these providers; what it knows of them from then on."""
    monkeypatch.setattr(listing, "GLANCE_S", listing.DEADLINE_S)  # the machine may be busy
    monkeypatch.setattr(retries, "FIRST_PAUSE_S", 0.01)  # many are asked again here, and one by one
    async with AsyncExitStack() as stack:

        async def begin(
            *providers: ProviderEntry, models: Iterable[ModelEntry] = (), clock: Clock | None = None
        ) -> Health:
            catalogue = Catalogue([parts.local], partial(wiring.engine_for, clock=Clock()))
            stack.push_async_callback(catalogue.aclose)
            places = Health(clock or Clock())
            places.slow_after_s = {one.name: one.slow_after_s for one in providers if one.slow_after_s is not None}
            places.most_calls = {one.name: one.most_calls for one in providers if one.most_calls is not None}
            monkeypatch.setattr(wiring, "_parts", replace(parts, catalogue=catalogue, places=places))
            catalogue.apply(Registry(providers=tuple(providers), models=tuple(models)))
            return places

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
