"""Whose turn it is: a caller's tenant, priority and limits of the queue, up to where a local model is waited for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_network

import pytest

from orchestrator.admission.gate import Gate
from orchestrator.core.errors import TooMany
from orchestrator.core.limits import Each, Limit
from orchestrator.core.turns import Turn
from orchestrator.core.types import Caller, ChatRequest, Message
from orchestrator.modelhost import wire
from orchestrator.parts import Parts
from orchestrator.pipeline import answer
from tests.fakes import FakeEngine

ALICE = Caller(tenant_id=7, tenant="acme", key_id=3, team_id=2, priority=9)


def limit(each: Each, **fields: object) -> Limit:
    return Limit(id=1, name=f"by-{each}", kind="queue", each=each, amount=4, **fields)  # type: ignore[arg-type]


def test_a_caller_has_the_turn_of_its_tenant() -> None:
    assert ALICE.turn("tiny", "10.0.0.1") == Turn(tenant=7, weight=9)


def test_limits_of_the_queue_are_bounds_for_those_they_count_together() -> None:
    limits = tuple(map(limit, ("key", "team", "tenant", "model", "address", "all")))
    other = replace(limit("all"), kind="requests")
    elsewhere = limit("all", model="openai/*")
    turn = replace(ALICE, limits=(*limits, other, elsewhere)).turn("tiny", "10.0.0.1")
    assert dict(turn.bounds) == {
        "by-key key 3 of 7": 4,
        "by-team team 2 of 7": 4,
        "by-tenant tenant 7": 4,
        "by-model tiny": 4,
        "by-address 10.0.0.1": 4,
        "by-all ": 4,
    }


def test_addresses_of_one_customer_are_one_however_they_are_written() -> None:
    caller = replace(ALICE, limits=(limit("address"), limit("all", network=ip_network("10.0.0.0/8"))))
    bounds = {caller.turn("", address).bounds for address in ("10.0.0.1", "::ffff:10.0.0.1")}
    assert bounds == {(("by-address 10.0.0.1", 4), ("by-all ", 4))}
    bounds = {caller.turn("", f"2001:db8::{one}").bounds for one in ("1", "2%eth0", "ffff:1")}
    assert bounds == {(("by-address 2001:db8::/64", 4),)}


def test_addresses_that_one_customer_makes_up_are_one_in_the_queue() -> None:
    caller = replace(ALICE, limits=(limit("address"),))
    first, second, other = (
        caller.turn("tiny", address) for address in ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1")
    )
    assert first == second != other


async def test_a_local_model_is_told_and_a_provider_is_not(
    parts: Parts, cast: dict[str, Caller], engine: FakeEngine, cloud: FakeEngine
) -> None:
    caller = replace(cast["alice"], priority=9)
    for asked, model in ((engine, "tiny"), (cloud, "openai/big")):
        request = ChatRequest(model=model, messages=(Message(role="user", content="hello"),))
        begun = await answer(request, caller, parts)
        assert [chunk async for chunk in begun.chunks]
        turn = Turn(tenant=caller.tenant_id, weight=9)
        assert asked.asked[-1].turn == (turn if asked is engine else None)


async def test_what_is_one_too_many_of_who_began_a_call_is_none_of_who_shares_it(
    parts: Parts, cast: dict[str, Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bob's key has no limit; the call that he shares is begun by one whose limit has no room left."""
    enter, release = type(parts.gate).enter, asyncio.Event()
    alice = replace(cast["alice"], limits=(limit("key"),))

    async def full_for_alice(gate: Gate, turn: Turn) -> float:
        if turn.bounds:
            await release.wait()
            raise TooMany("As many wait as the limit by-key allows; try again later.")
        return await enter(gate, turn)

    monkeypatch.setattr(type(parts.gate), "enter", full_for_alice)

    async def heard(caller: Caller) -> str:
        request = ChatRequest(model="tiny", messages=(Message(role="user", content="hello"),), stream=True)
        return "".join([chunk.text async for chunk in (await answer(request, caller, parts)).chunks])

    asking = [asyncio.create_task(heard(caller)) for caller in (alice, cast["bob"])]
    while parts.inflight.listeners < 2:
        await asyncio.sleep(0)
    release.set()
    refused, told = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(refused, TooMany)
    assert told == "four"


def test_the_turn_travels_to_the_model_host() -> None:
    turn = Turn(tenant=7, weight=9, bounds=(("brief tenant 7", 4),))
    request = ChatRequest(model="tiny", turn=turn)
    assert wire.from_frame(wire.to_frame(request)) == request
