"""Two and three scripted providers of one model: who is asked, in which order, how often, by their own logs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from orchestrator import failover
from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import Attempt, RequestRecord
from orchestrator.parts import Parts
from orchestrator.registry.entries import DeploymentEntry, ModelEntry, ProviderEntry
from tests.fakes import SetClock
from tests.faults.conftest import Serve, Start, entry
from tests.faults.dialects import PATHS, Heard, ask, eventually
from tests.faults.test_faults import FAULTS, Fault
from tests.provider import Provider
from tests.provider.behaviours import OTHER
from tests.servers import free_ports
from tests.speeches import GOOD, SPEECHES

TEXT = "".join(GOOD)
CALLERS = 50
PAUSE_S = 2.5  # a little more than a breaker's first
FAILURES = 5  # open it
OURS = {"400": "bad_request"}  # what no other place would do better
TOLD_FIRST = [fault for fault in FAULTS if not fault.is_begun and fault.name not in OURS]
TOLD_LATE = [fault for fault in FAULTS if fault.is_begun]
Recorded = Callable[[int], Awaitable[list[RequestRecord]]]


@pytest.fixture
async def three(started: Start) -> tuple[Provider, Provider, Provider]:
    """Providers of three kinds."""
    one, two, three = [await started(speech=speech) for speech in SPEECHES[:3]]
    return one, two, three


def at(provider: Provider, **fields: object) -> ProviderEntry:
    """The provider, called by what it speaks."""
    return entry(provider.speech, provider.address, **fields)


def big(*providers: Provider, remote: str = "good", **fields: object) -> ModelEntry:
    """The model `big`, to be had at each of them, asked in this order."""
    deployments = [
        DeploymentEntry(provider=one.speech.name, remote_name=remote, rank=rank) for rank, one in enumerate(providers)
    ]
    return ModelEntry(name="big", deployments=tuple(deployments), **fields)  # type: ignore[arg-type]  # fields of it


def is_right(heard: Heard) -> bool:
    return (heard.status, heard.text, heard.error, heard.is_complete, heard.complaints) == (200, TEXT, "", True, ())


@pytest.mark.parametrize("fault", TOLD_FIRST, ids=lambda fault: fault.name)
async def test_where_the_first_place_fails_the_second_answers(
    client: httpx.AsyncClient,
    parts: Parts,
    serve: Serve,
    three: tuple[Provider, Provider, Provider],
    recorded: Recorded,
    fault: Fault,
) -> None:
    first, second, third = three
    first.instead = fault.name
    patience_s = 0.3 if fault.waits else 20.0
    await serve(at(first, first_token_timeout_s=patience_s), at(second), at(third), models=[big(first, second, third)])
    for number, path in enumerate(PATHS[:3]):
        told = await ask(client, path, "big", f"What? {number}", stream=bool(number % 2))
        assert is_right(told), told
        again = await ask(client, path, "big", f"What? {number}", stream=True)
        assert is_right(again)
        assert "hit" in again.headers["Cache-Status"], "it is an answer of the model that was asked"
    asked = 1 if fault.kind == "rate_limited" else 3
    # Where a deadline ends it, that may pass on a busy machine before a call has got through.
    lost = 1 if fault.waits else 0
    assert asked - lost <= len(first.calls) <= asked, "it is asked once, and left alone where it said so"
    assert (len(second.calls), len(third.calls)) == (3, 0)
    assert not len(parts.inflight)
    records = await recorded(6)
    assert [record.provider for record in records[::2]] == [second.speech.name] * 3
    attempts = await parts.reads.run(60, lambda: list(Attempt.objects.of(EVERYBODY).order_by("id")))
    assert [one.provider for one in attempts] == [first.speech.name] * asked
    assert {one.outcome for one in attempts} <= {kind for kind, _ in fault.told()}


@pytest.mark.parametrize("fault", TOLD_LATE, ids=lambda fault: fault.name)
async def test_after_the_first_byte_nobody_else_is_asked_and_the_error_is_seen(
    client: httpx.AsyncClient, parts: Parts, serve: Serve, three: tuple[Provider, Provider, Provider], fault: Fault
) -> None:
    first, second, third = three
    first.instead = fault.name
    patience_s = 0.3 if fault.waits else 20.0
    await serve(at(first, token_timeout_s=patience_s), at(second), at(third), models=[big(first, second, third)])
    for path in PATHS[:3]:
        told = await ask(client, path, "big", "What?", stream=True)
        assert (told.status, told.is_complete, told.complaints) == (200, False, ())
        assert told.text
        assert told.error
    assert (len(first.calls), len(second.calls), len(third.calls)) == (3, 0, 0)
    assert (await parts.cache.holding_here())["memory"].entries == 0
    assert not len(parts.inflight)


async def test_what_no_other_place_would_do_better_is_asked_of_no_other(
    client: httpx.AsyncClient, serve: Serve, three: tuple[Provider, Provider, Provider]
) -> None:
    first, second, third = three
    first.instead = "400"
    await serve(at(first), at(second), at(third), models=[big(first, second, third)])
    told = await ask(client, "/api/chat", "big", "What?", stream=False)
    assert (told.status, len(second.calls)) == (400, 0)


@pytest.mark.parametrize("name", ["500", "busy_untold", "html", "closes", "401"])
async def test_three_places_are_asked_and_no_more_and_the_caller_is_told_of_each(
    client: httpx.AsyncClient, serve: Serve, started: Start, name: str
) -> None:
    places = [await started(speech=speech, instead=name) for speech in SPEECHES[:4]]
    await serve(*map(at, places), models=[big(*places)])
    told = await ask(client, "/api/chat", "big", "What?", stream=True)
    assert told.status >= 400
    assert not told.is_complete
    assert [len(place.calls) for place in places] == [1, 1, 1, 0]
    assert all(f"{place.speech.name}/good: " in told.error for place in places[:3]), told.error


async def test_who_asked_for_a_pause_is_not_asked_until_it_is_over(
    client: httpx.AsyncClient, serve: Serve, three: tuple[Provider, Provider, Provider]
) -> None:
    first, second, _ = three
    first.instead = "429"  # come back in seven seconds
    clock = SetClock()
    await serve(at(first), at(second), models=[big(first, second)], clock=clock)
    for number in range(3):
        assert is_right(await ask(client, "/api/chat", "big", f"{number}?", stream=False))
    clock.pass_(6.5)
    assert is_right(await ask(client, "/api/chat", "big", "Still?", stream=False))
    assert (len(first.calls), len(second.calls)) == (1, 4)
    first.instead = ""
    clock.pass_(1)
    assert is_right(await ask(client, "/api/chat", "big", "And now?", stream=False))
    assert (len(first.calls), len(second.calls)) == (2, 4)


async def test_a_place_of_its_own_that_asked_for_a_pause_is_not_asked_either(
    client: httpx.AsyncClient, serve: Serve, three: tuple[Provider, Provider, Provider]
) -> None:
    first, *_ = three
    first.instead = "429"
    clock = SetClock()
    await serve(at(first), clock=clock)
    model = f"{first.speech.name}/good"
    for number in range(3):
        told = await ask(client, "/api/chat", model, f"{number}?", stream=False)
        assert (told.status, told.headers["Retry-After"]) == (429, "7")
    assert len(first.calls) == 1
    first.instead = ""
    clock.pass_(7.5)
    assert is_right(await ask(client, "/api/chat", model, "And now?", stream=False))


async def open_breaker(client: httpx.AsyncClient, first: Provider, model: str) -> None:
    """Have it fail until it is not asked any more."""
    first.instead = "500"
    for number in range(FAILURES):
        await ask(client, "/api/chat", model, f"{number}?", stream=False)
    assert len(first.calls) == FAILURES
    await ask(client, "/api/chat", model, "And now?", stream=False)
    assert len(first.calls) == FAILURES, "it is not asked"


@pytest.mark.parametrize("is_alone", [False, True])
async def test_one_caller_of_fifty_finds_out_whether_a_place_is_back(
    client: httpx.AsyncClient,
    serve: Serve,
    three: tuple[Provider, Provider, Provider],
    monkeypatch: pytest.MonkeyPatch,
    is_alone: bool,
) -> None:
    monkeypatch.setattr(failover, "PROBE_S", 60.0)  # the machine may be busy
    first, second, _ = three
    model = f"{first.speech.name}/good" if is_alone else "big"
    clock = SetClock()
    await serve(at(first), at(second), models=[big(first, second)], clock=clock)
    await open_breaker(client, first, model)
    for turn, behaviour in enumerate(["500", "held"]):  # it is not back yet, and then it is
        first.gate.clear()
        first.instead = behaviour
        clock.pass_(PAUSE_S * 2**turn)
        before = len(first.calls), len(second.calls)
        asking = [
            asyncio.create_task(ask(client, "/api/chat", model, f"{turn} {number}?", stream=False))
            for number in range(CALLERS)
        ]
        await eventually(lambda: sum(task.done() for task in asking) >= CALLERS - 1, "the others to be told")  # noqa: B023
        first.gate.set()
        told = await asyncio.gather(*asking)
        assert len(first.calls) - before[0] == 1
        if is_alone:
            assert sum(is_right(one) for one in told) == (behaviour == "held")
            refused = [one for one in told if not is_right(one)]
            assert all(one.headers["Retry-After"] for one in refused)
        else:
            assert all(is_right(one) for one in told)
            assert len(second.calls) - before[1] == CALLERS - (behaviour == "held")
    first.instead = ""
    assert is_right(await ask(client, "/api/chat", model, "Back?", stream=False))
    assert first.calls[-1].is_whole


@pytest.mark.parametrize("is_alone", [False, True])
async def test_a_place_that_is_slow_is_left_alone_as_one_that_fails(
    client: httpx.AsyncClient, serve: Serve, three: tuple[Provider, Provider, Provider], is_alone: bool
) -> None:
    first, second, _ = three
    first.instead, first.late_s = "late", 0.1
    model = f"{first.speech.name}/good" if is_alone else "big"
    await serve(at(first, slow_after_s=0.05), at(second), models=[big(first, second)], clock=SetClock())
    for number in range(FAILURES):
        assert is_right(await ask(client, "/api/chat", model, f"{number}?", stream=True))
    assert len(first.calls) == FAILURES
    told = await ask(client, "/api/chat", model, "And now?", stream=True)
    assert len(first.calls) == FAILURES
    assert told.status == (503 if is_alone else 200)


async def test_what_is_asked_again_is_a_tenth_of_what_is_asked(
    client: httpx.AsyncClient, serve: Serve, three: tuple[Provider, Provider, Provider]
) -> None:
    first, *_ = three
    model = f"{first.speech.name}/good"
    await serve(at(first))
    asked = 0
    for number in range(16):
        for turn, behaviour in enumerate(["busy_untold", "good", "good", "good"]):  # what was answered is forgiven
            first.instead = behaviour
            told = await ask(client, "/api/chat", model, f"{number} {turn}?", stream=False)
            assert told.status == (200 if turn else 502)
            asked += 1
    again = len(first.calls) - asked
    assert 3 <= again <= 3 + asked / 10, "three may be asked again in any case"


async def test_the_quicker_of_two_answers_and_the_other_is_let_go(
    client: httpx.AsyncClient, parts: Parts, serve: Serve, three: tuple[Provider, Provider, Provider]
) -> None:
    first, second, _ = three
    first.instead = "silent"
    await serve(at(first), at(second), models=[big(first, second, hedge_after_s=0.05)])
    told = await ask(client, "/api/chat", "big", "What?", stream=True)
    assert is_right(told)
    (silent,) = first.calls
    await eventually(lambda: silent.closed_at, "who lost to be hung up on")
    assert (len(second.calls), silent.is_whole, silent.sent) == (1, False, 0)
    await eventually(lambda: not len(parts.inflight), "nothing to go on")


@pytest.mark.parametrize("hedge_after_s", [None, 0.05])
async def test_who_hangs_up_ends_every_call_that_was_made_for_them(
    client: httpx.AsyncClient,
    parts: Parts,
    serve: Serve,
    three: tuple[Provider, Provider, Provider],
    recorded: Recorded,
    hedge_after_s: float | None,
) -> None:
    first, second, _ = three
    first.instead = second.instead = "silent"
    places = await serve(at(first), at(second), models=[big(first, second, hedge_after_s=hedge_after_s)])
    asking = asyncio.create_task(ask(client, "/api/chat", "big", "What?", stream=True))
    wanted = [first, second] if hedge_after_s else [first]
    await eventually(lambda: all(place.calls for place in wanted), "the calls to be made")
    asking.cancel()
    await asyncio.wait([asking])
    for place in wanted:
        (call,) = place.calls
        await eventually(lambda: call.closed_at, "the call to be closed")  # noqa: B023
    await eventually(lambda: not len(parts.inflight), "nothing to go on")
    assert {calls for _, calls in places.calls()} == {0}
    assert [record.outcome for record in await recorded(1)] == ["cancelled"]
    assert (await parts.cache.holding_here())["memory"].entries == 0


async def test_an_answer_of_a_fallback_is_its_own_and_never_the_asked_models(
    client: httpx.AsyncClient, serve: Serve, three: tuple[Provider, Provider, Provider]
) -> None:
    first, second, _ = three
    first.instead = "500"
    other = f"{second.speech.name}/other"
    await serve(at(first), at(second), models=[big(first, fallbacks=(other,))], clock=SetClock())
    told = await ask(client, "/api/chat", "big", "What?", stream=False)
    assert (told.text, told.headers["X-Orchestrator-Model"]) == ("".join(OTHER), other)
    first.instead = ""
    theirs = await ask(client, "/api/chat", other, "What?", stream=False)
    assert ("hit" in theirs.headers["Cache-Status"], theirs.text) == (True, "".join(OTHER))
    ours = await ask(client, "/api/chat", "big", "What?", stream=False)
    assert is_right(ours)
    assert "miss" in ours.headers["Cache-Status"]
    assert (len(first.calls), len(second.calls)) == (2, 1)


async def test_a_provider_that_dies_and_comes_back_fails_nobody(
    client: httpx.AsyncClient, serve: Serve, started: Start
) -> None:
    (port,) = free_ports(1)  # nobody else gets it meanwhile
    first, second = await Provider().start(port), await started(speech=SPEECHES[1])
    clock = SetClock()
    await serve(at(first), at(second), models=[big(first, second)], clock=clock)
    assert is_right(await ask(client, "/api/chat", "big", "Before?", stream=True))
    await first.stop()
    for number in range(10):
        assert is_right(await ask(client, "/api/chat", "big", f"{number}?", stream=True))
    assert (len(first.calls), len(second.calls)) == (1, 10)
    back = await Provider().start(port)
    clock.pass_(60)
    assert is_right(await ask(client, "/api/chat", "big", "After?", stream=True))
    assert len(back.calls) == 1
    await back.stop()
