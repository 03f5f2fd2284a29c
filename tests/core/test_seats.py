"""How many may wait: in all, of a tenant, of those who share a bound."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.seats import NoSeat, Seat, Seats
from orchestrator.core.turns import Turn


def sit(seats: Seats, tenant: int, *bounds: tuple[str, int]) -> Seat:
    """A seat that notes when it is lost."""
    return seats.take(Turn(tenant=tenant, bounds=bounds), lambda: None)


def test_one_tenant_alone_may_have_them_all() -> None:
    seats = Seats(3)
    taken = [sit(seats, 1) for _ in range(3)]
    with pytest.raises(NoSeat) as refused:
        sit(seats, 1)
    assert not refused.value.is_share, "all places are taken, and nobody else has any"
    taken[0].leave()
    sit(seats, 1)


def test_who_has_most_makes_room_for_who_has_fewer() -> None:
    seats = Seats(4)
    lost: list[int] = []
    for number in range(4):
        seats.take(Turn(tenant=1), lambda number=number: lost.append(number))  # type: ignore[misc]
    calm = [sit(seats, 2) for _ in range(2)]
    assert lost == [3, 2], "the newest first"
    with pytest.raises(NoSeat) as refused:
        sit(seats, 2)
    assert refused.value.is_share, "it has as many as the other"
    with pytest.raises(NoSeat) as refused:
        sit(seats, 1)
    assert refused.value.is_share
    assert (len(seats), seats.of(1), seats.of(2)) == (4, 2, 2)
    calm[0].leave()
    sit(seats, 1)


def test_who_has_none_is_refused_only_when_everybody_has_one() -> None:
    seats = Seats(2)
    sit(seats, 1)
    sit(seats, 2)
    with pytest.raises(NoSeat) as refused:
        sit(seats, 3)
    assert not refused.value.is_share


def test_a_bound_in_common_is_counted_over_tenants() -> None:
    seats = Seats(10)
    first = sit(seats, 1, ("few all", 2), ("many tenant 1", 5))
    sit(seats, 2, ("few all", 2))
    with pytest.raises(NoSeat) as refused:
        sit(seats, 3, ("few all", 2))
    assert refused.value.bound == "few all"
    first.leave()
    first.leave()
    sit(seats, 3, ("few all", 2))


acts = st.lists(st.tuples(st.sampled_from(["take", "take", "leave"]), st.integers(1, 4), st.integers(0, 50)))


@given(acts, st.integers(1, 8))
def test_places_never_leak(acts: list[tuple[str, int, int]], most: int) -> None:
    seats = Seats(most)
    held: list[Seat] = []
    for act, tenant, place in acts:
        if act == "leave" and held:
            held.pop(place % len(held)).leave()
        elif act == "take":
            slot: list[Seat] = []
            before = Counter(seat.turn.tenant for seat in held)
            try:
                seat = seats.take(
                    Turn(tenant=tenant, bounds=(("even", 3),) if tenant % 2 == 0 else ()),
                    lambda slot=slot: held.remove(slot[0]),  # type: ignore[misc]
                )
            except NoSeat as error:
                is_bound = error.bound == "even"
                assert is_bound or max(before.values()) <= before[tenant] + 1, "others have more"
            else:
                slot.append(seat)
                held.append(seat)
        counted = Counter(seat.turn.tenant for seat in held)
        assert len(seats) == len(held) <= most
        assert all(seats.of(tenant) == counted[tenant] for tenant in range(1, 5))
        assert counted[2] + counted[4] <= 3
    for seat in held:
        seat.leave()
    assert (len(seats), seats._of, seats._having, seats._longest, +seats._bounded) == (0, {}, {}, 0, Counter())
