"""Wrong credentials are held up by address, and right ones are not."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from orchestrator.core.errors import TooMany, Unauthorized
from orchestrator.identity import digests, guesses, keys
from orchestrator.identity.callers import Identity
from orchestrator.identity.guesses import MOST_WRONG, WITHIN_S, Guesses
from tests.fakes import SetClock
from tests.keys import issue_key

ONE, OTHER = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def identity(clock: SetClock, transactional_db: None) -> Any:
    one = Identity(clock, lambda: 1, require_keys=True)
    yield one
    one.close()


def wrong_key() -> str:
    return f"orch_{secrets.token_hex(5)}_{secrets.token_urlsafe(32)}"


async def flood(identity: Identity, address: str, count: int = MOST_WRONG) -> None:
    for _ in range(count):
        with pytest.raises(Unauthorized):
            await identity.caller("", wrong_key(), address)


async def test_after_many_wrong_ones_an_address_is_told_to_wait(identity: Identity, clock: SetClock) -> None:
    bad = wrong_key()
    with pytest.raises(Unauthorized):
        await identity.caller("", bad, ONE)
    await flood(identity, ONE, MOST_WRONG - 1)
    for shown in (bad, "no-key-at-all"):
        with pytest.raises(TooMany) as told:
            await identity.caller("", shown, ONE)
        assert told.value.retry_after_s == WITHIN_S
    with pytest.raises(Unauthorized):
        await identity.caller("", "", ONE)
    with pytest.raises(Unauthorized):
        await identity.caller("", wrong_key(), OTHER)
    clock.pass_(WITHIN_S)
    with pytest.raises(Unauthorized):
        await identity.caller("", bad, ONE)


async def test_a_flood_of_wrong_keys_holds_up_no_right_one(identity: Identity, clock: SetClock) -> None:
    known, new = await asyncio.to_thread(issue_key, "known", "acme"), await asyncio.to_thread(issue_key, "new", "acme")
    await identity.caller("", known, ONE)
    await flood(identity, ONE)
    with pytest.raises(Unauthorized):
        await identity.caller("", wrong_key(), ONE)  # one a second is tried
    with pytest.raises(TooMany):
        await identity.caller("", new, ONE)
    clock.pass_(1.1)  # what is remembered is forgotten
    assert (await identity.caller("", known, ONE)).key_name == "known"
    assert (await identity.caller("", new, ONE)).key_name == "new"
    assert (await identity.caller("", new, OTHER)).key_name == "new"


async def test_whoever_shows_the_same_wrong_key_all_day_locks_no_neighbour_out(
    identity: Identity, clock: SetClock
) -> None:
    bad, good = wrong_key(), await asyncio.to_thread(issue_key, "good", "acme")
    refusals = []
    for _ in range(MOST_WRONG + 30):
        with pytest.raises((Unauthorized, TooMany)) as told:
            await identity.caller("", bad, ONE)
        refusals.append(told.type)
    assert refusals == [Unauthorized] * MOST_WRONG + [TooMany] * 30
    assert (await identity.caller("", good, ONE)).key_name == "good"


def test_an_ipv6_customer_is_one_and_so_is_a_mapped_address() -> None:
    counted = Guesses(SetClock())
    for number in range(MOST_WRONG):
        counted.wrong(f"2001:db8:1:1::{number:x}")
        counted.wrong("::ffff:192.0.2.1")
    for address in ("2001:db8:1:1:ffff::1", "192.0.2.1"):
        with pytest.raises(TooMany):
            counted.check(address)
    for address in ("2001:db8:1:2::1", "192.0.2.2", "", "/run/socket"):
        counted.check(address)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "MOST_ADDRESSES", 3)
    counted = Guesses(SetClock())
    for number in range(10):
        counted.wrong(f"192.0.2.{number}")
    assert len(counted._wrong) == 3


@pytest.mark.django_db(transaction=True)
def test_a_key_takes_one_query_and_as_many_comparisons_whether_its_prefix_is_known_or_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = issue_key("web", "acme")
    compared: list[int] = []
    compare = digests.hmac.compare_digest

    def counting(one: str, other: str) -> bool:
        compared.append(len(other))
        return compare(one, other)

    monkeypatch.setattr(digests.hmac, "compare_digest", counting)
    for shown in (right[:-1] + ("A" if right[-1] != "A" else "B"), wrong_key()):
        with CaptureQueriesContext(connections["default"]) as queries:
            assert keys.find_key(shown) is None
        assert len(queries) == 1
    assert compared == compared[:2] * 2 != []  # as it is kept, and as it was before digests named their secret
