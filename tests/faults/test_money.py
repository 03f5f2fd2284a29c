"""What is charged for calls over real connections that are left, broken or raced: a charge for each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from orchestrator import failover, wiring
from orchestrator.answers import Answer
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.types import Caller, ChatRequest, Message
from orchestrator.models import Charge, RequestRecord
from orchestrator.parts import Parts
from orchestrator.pipeline import answer
from orchestrator.registry.entries import DeploymentEntry, ModelEntry
from tests.faults.conftest import Serve, Start, entry
from tests.faults.dialects import eventually
from tests.provider import Provider
from tests.speeches import SPEECHES, Speech

QUESTION = "What is it, and why is it so?"  # 29 bytes: 8 tokens by estimate
ASKED = 8
CHARGING = [speech for speech in SPEECHES if speech.name != "openrouter"]  # which tells its own cost
Begin = Callable[..., Awaitable[Answer]]
Booked = dict[str, Any]


def priced(*providers: Provider, **fields: Any) -> ModelEntry:
    """The model `big`, at 2 and 10 dollars a million at the first of them, ten times that at the next."""
    deployments = [
        DeploymentEntry(
            provider=one.speech.name,
            remote_name="good",
            rank=rank,
            input_price=Decimal(2 * 10**rank),
            output_price=Decimal(10 * 10**rank),
        )
        for rank, one in enumerate(providers)
    ]
    return ModelEntry(name="big", deployments=tuple(deployments), **fields)


@pytest.fixture
def begin(cast: dict[str, Caller]) -> Begin:
    async def begin(stream: bool = True) -> Answer:
        messages = (Message(role="user", content=QUESTION),)
        return await answer(ChatRequest(model="big", messages=messages, stream=stream), cast["alice"], wiring.parts())

    return begin


async def booked(parts: Parts, *providers: Provider) -> tuple[RequestRecord, list[Booked]]:
    """The record and its charges, which add up to it; there is one for each call that a provider knows of."""
    await failover.closed()
    await eventually(lambda: parts.ledger.written > 0, "the record")
    await asyncio.to_thread(parts.ledger.close)
    record, charges = await parts.reads.run(
        60,
        lambda: (
            RequestRecord.objects.of(EVERYBODY).get(),
            list(Charge.objects.of(EVERYBODY).order_by("provider").values()),
        ),
    )
    assert record.cost_microusd == sum(charge["cost_microusd"] for charge in charges)
    for provider in providers:
        of_it = [charge for charge in charges if charge["provider"] == provider.speech.name]
        assert len(of_it) == len(provider.calls)
    return record, charges


async def leave(begun: Answer, once: Callable[[], bool]) -> None:
    """Hang up as soon as something is so."""

    async def read() -> None:
        async for _ in begun.chunks:
            pass

    reading = asyncio.ensure_future(read())
    await eventually(once, "what is waited for")
    reading.cancel()
    await asyncio.wait({reading})
    await begun.chunks.aclose()


@pytest.mark.parametrize("speech", CHARGING, ids=lambda speech: speech.name)
async def test_who_hangs_up_in_the_middle_is_charged_for_what_was_told_and_seen(
    parts: Parts, serve: Serve, started: Start, begin: Begin, speech: Speech
) -> None:
    provider = await started(speech=speech, instead="stall")
    await serve(entry(speech, provider.address), models=[priced(provider)])
    begun = await begin()
    assert (await anext(begun.chunks)).text == "Par"
    await begun.chunks.aclose()
    _, (charge,) = await booked(parts, provider)
    prompt = 11 if speech.name in {"anthropic", "gemini"} else ASKED  # these tell it at once
    told = (charge["prompt_tokens"], charge["completion_tokens"], charge["cost_microusd"])
    assert told == (prompt, 1, 2 * prompt + 10)
    assert (charge["outcome"], charge["is_estimated"], charge["source"]) == ("cancelled", True, "price")


async def test_who_hangs_up_during_a_second_attempt_is_charged_for_both(
    parts: Parts, serve: Serve, started: Start, begin: Begin
) -> None:
    first, second = [await started(speech=speech) for speech in SPEECHES[:2]]
    first.instead, second.instead = "closes", "silent"
    await serve(
        entry(first.speech, first.address), entry(second.speech, second.address), models=[priced(first, second)]
    )
    await leave(await begin(), lambda: bool(second.calls))
    _, charges = await booked(parts, first, second)
    assert [(one["outcome"], one["prompt_tokens"], one["cost_microusd"]) for one in charges] == [
        ("engine_error", ASKED, 16),
        ("cancelled", ASKED, 160),
    ]


async def test_both_that_raced_are_charged(parts: Parts, serve: Serve, started: Start, begin: Begin) -> None:
    first, second = [await started(speech=speech) for speech in (SPEECHES[0], SPEECHES[2])]
    first.instead = "silent"
    models = [priced(first, second, hedge_after_s=0.05)]
    await serve(entry(first.speech, first.address), entry(second.speech, second.address), models=models)
    begun = await begin()
    assert [chunk async for chunk in begun.chunks][-1].done
    record, charges = await booked(parts, first, second)
    assert {one["provider"]: (one["outcome"], one["cost_microusd"]) for one in charges} == {
        first.speech.name: ("outraced", 16),
        second.speech.name: ("done", 11 * 20 + 2 * 100),
    }
    assert (record.provider, record.prompt_tokens) == (second.speech.name, 11)


async def test_who_hangs_up_during_a_race_is_charged_for_both(
    parts: Parts, serve: Serve, started: Start, begin: Begin
) -> None:
    first, second = [await started(speech=speech, instead="silent") for speech in (SPEECHES[0], SPEECHES[2])]
    models = [priced(first, second, hedge_after_s=0.05)]
    await serve(entry(first.speech, first.address), entry(second.speech, second.address), models=models)
    await leave(await begin(), lambda: bool(second.calls))
    _, charges = await booked(parts, first, second)
    assert sorted((one["outcome"], one["cost_microusd"]) for one in charges) == [("cancelled", 16), ("cancelled", 160)]


async def test_arguments_of_a_call_that_breaks_off_are_charged(
    parts: Parts, serve: Serve, started: Start, begin: Begin
) -> None:
    provider = await started(instead="torn_call")
    await serve(entry(provider.speech, provider.address), models=[priced(provider)])
    begun = await begin()
    with pytest.raises(OrchestratorError):
        assert [chunk async for chunk in begun.chunks]
    _, (charge,) = await booked(parts, provider)
    assert charge["completion_tokens"] == 2_003
    assert charge["cost_microusd"] == 2 * ASKED + 10 * 2_003


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("speech", CHARGING, ids=lambda speech: speech.name)
async def test_what_is_told_at_the_end_is_charged_as_told(
    parts: Parts, serve: Serve, started: Start, begin: Begin, speech: Speech, *, stream: bool
) -> None:
    provider = await started(speech=speech)
    await serve(entry(speech, provider.address), models=[priced(provider)])
    begun = await begin(stream)
    assert [chunk async for chunk in begun.chunks][-1].done
    _, (charge,) = await booked(parts, provider)
    told = (charge["prompt_tokens"], charge["completion_tokens"], charge["cost_microusd"], charge["is_estimated"])
    assert told == (11, 2, 42, False)


@pytest.mark.parametrize("status", ["400", "401", "402", "403", "404", "429", "500", "529", "no_address"])
async def test_what_is_refused_costs_nothing(
    parts: Parts, serve: Serve, started: Start, begin: Begin, status: str
) -> None:
    provider = await started(instead=status)
    await serve(entry(provider.speech, provider.address), models=[priced(provider)])
    begun = await begin()
    with suppress(OrchestratorError):
        assert not [chunk async for chunk in begun.chunks]
    assert provider.calls
    record, charges = await booked(parts)
    assert (record.cost_microusd, charges) == (0, [])


async def test_trouble_within_an_answer_is_no_refusal(parts: Parts, serve: Serve, started: Start, begin: Begin) -> None:
    provider = await started(instead="error_inside")
    await serve(entry(provider.speech, provider.address), models=[priced(provider)])
    begun = await begin()
    with pytest.raises(OrchestratorError):
        assert [chunk async for chunk in begun.chunks]
    _, (charge,) = await booked(parts, provider)
    assert (charge["completion_tokens"], charge["cost_microusd"]) == (1, 2 * ASKED + 10)


async def test_trouble_in_place_of_an_answer_is_charged_each_time(
    parts: Parts, serve: Serve, started: Start, begin: Begin
) -> None:
    provider = await started(instead="error_first")
    await serve(entry(provider.speech, provider.address), models=[priced(provider)])
    begun = await begin()
    with pytest.raises(OrchestratorError):
        assert [chunk async for chunk in begun.chunks]
    _, charges = await booked(parts, provider)
    assert {one["cost_microusd"] for one in charges} == {2 * ASKED}
