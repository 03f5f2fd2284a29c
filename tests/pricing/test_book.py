"""A process knows what each place charges, by the number of a row that is kept for good."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import pytest
from django.db import DatabaseError

from orchestrator.core.prices import Price, Rates, Stated
from orchestrator.models import PriceRow
from orchestrator.pricing import book as book_module
from orchestrator.pricing.book import PriceBook
from orchestrator.pricing.order import InForce, Place, in_force, said
from orchestrator.pricing.rows import numbered, price_in
from tests.fakes import SetClock

NOON = SetClock().now()
GPT = Place(provider="openai", model="gpt-4o", kind="openai", address="https://api.openai.com/v1")
LISTED = replace(GPT, provider="router", kind="openrouter", listed=Price(input=Decimal(3), output=Decimal(15)))


def price(asked: float, answered: float = 1, **fields: object) -> Price:
    return Price(input=Decimal(str(asked)), output=Decimal(str(answered)), **fields)  # type: ignore[arg-type]  # its


def says(place: Place, asked: float | None, since: float = 0.0) -> Stated:
    told = None if asked is None else price(asked)
    return Stated(provider=place.provider, model=place.model, since=since, price=told)


@pytest.fixture
async def book(transactional_db: None) -> AsyncIterator[PriceBook]:
    book = PriceBook(SetClock())
    yield book
    await book.aclose()


async def learnt(book: PriceBook, place: Place) -> InForce:
    book.of(place)
    async with asyncio.timeout(60):
        while book.is_behind:
            await book.catch_up()
    return book.of(place)


def test_the_operators_word_is_before_the_list_and_that_before_the_table() -> None:
    at_model = replace(LISTED, stated=price(7))
    assert in_force(at_model, [says(LISTED, 8)], NOON).price == replace(price(8), source="operator")
    assert in_force(at_model, [], NOON).price == replace(price(7), source="operator")
    assert in_force(LISTED, [], NOON).price == replace(LISTED.listed or price(0), source="list")
    table = in_force(GPT, [], NOON).price
    assert table
    assert table.source.startswith("genai-prices ")
    assert in_force(replace(GPT, model="no-such"), [], NOON) == InForce(None)


def test_a_stated_price_holds_from_its_moment_until_the_next() -> None:
    stated = [says(GPT, 1, 100), says(GPT, 3, 300), says(GPT, 2, 200), says(LISTED, 9, 150), says(GPT, 4, 300)]
    found = [said(GPT, stated, at) for at in (99.9, 100, 200, 299.9, 300)]
    assert [one.price and int(one.price.input) for one in found] == [None, 1, 2, 2, 4]
    assert [(one.since, one.until) for one in found] == [(None, 100), (100, 200), (200, 300), (200, 300), (300, None)]


def test_what_is_no_longer_said_leaves_the_word_to_others() -> None:
    stated = [says(LISTED, 1, 100), says(LISTED, None, 200)]
    assert said(LISTED, stated, 150).price == replace(price(1), source="operator", until=200)
    assert said(LISTED, stated, 200).price == replace(LISTED.listed or price(0), source="list")


def test_a_model_is_the_same_however_its_name_is_written() -> None:
    assert said(replace(GPT, model="GPT-4o"), [says(GPT, 1)], NOON).price


def test_what_is_sent_along_for_more_money_leaves_only_the_operators_word() -> None:
    fast = replace(LISTED, is_plain=False)
    assert in_force(fast, [], NOON) == in_force(replace(GPT, is_plain=False), [], NOON) == InForce(None)
    assert in_force(fast, [says(LISTED, 8)], NOON).price == replace(price(8), source="operator")


def test_where_nothing_is_charged_only_the_operators_word_counts() -> None:
    free = replace(LISTED, is_paid=False)
    assert in_force(free, [], NOON) == in_force(replace(GPT, is_paid=False), [], NOON) == InForce(None)
    assert in_force(replace(free, stated=price(2)), [], NOON).price == replace(price(2), source="operator")


LONG = Price(
    input=Decimal("1.25"),
    output=Decimal(10),
    cache_read=Decimal("0.125"),
    longer=(Rates(above=200_000, input=Decimal("2.5"), output=Decimal(15)),),
    source="genai-prices 0",
)


def test_a_row_keeps_all_that_a_price_says(db: None) -> None:
    (kept,) = numbered([("openai", "m", LONG)])
    row = PriceRow.objects.get()
    assert row.rates == [
        {"input": "1.25", "output": "10", "cache_read": "0.125"},
        {"above": 200_000, "input": "2.5", "output": "15"},
    ]
    assert price_in(row) == kept == replace(LONG, number=row.pk)


def test_the_same_price_is_one_row_and_another_a_row_of_its_own(db: None) -> None:
    same = replace(LONG, input=Decimal("1.2500"), until=5.0)
    others = [
        ("openai", "m", replace(LONG, source="list")),
        ("openai", "n", LONG),
        ("work", "m", LONG),
        ("openai", "m", replace(LONG, longer=())),
        ("openai", "m", replace(LONG, cache_write=Decimal("1.25"))),
    ]
    first = numbered([("openai", "m", LONG), ("openai", "m", same), *others])
    assert first[0].number == first[1].number
    assert len({one.number for one in first}) == PriceRow.objects.count() == 6
    at = list(PriceRow.objects.values_list("first_used_at", flat=True))
    assert [one.number for one in numbered([("openai", "m", same), *others])] == [one.number for one in first[1:]]
    assert list(PriceRow.objects.values_list("first_used_at", flat=True)) == at


async def test_a_price_is_learnt_once_and_then_known_by_its_number(
    book: PriceBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[Place]] = []
    look_up = book_module.look_up

    def counted(places: list[Place], *more: object) -> list[InForce]:
        asked.append(places)
        return look_up(places, *more)  # type: ignore[arg-type]  # as it was given

    monkeypatch.setattr(book_module, "look_up", counted)
    assert book.of(GPT).price is None
    first = (await learnt(book, GPT)).price
    assert first
    assert await asyncio.to_thread(PriceRow.objects.values_list("pk", flat=True).get) == first.number
    for _ in range(10):
        await book.renew()
        assert book.of(GPT).price is first
    assert asked == [[GPT]]


async def test_what_an_operator_says_is_so_at_once_and_later_has_its_number(book: PriceBook) -> None:
    await learnt(book, GPT)
    book.go_by((says(GPT, 2),))
    assert book.of(GPT).price == replace(price(2), source="operator")
    told = (await learnt(book, GPT)).price
    assert told == replace(price(2), source="operator", number=told and told.number)
    assert told.number
    book.go_by((says(GPT, 2),))
    assert not book.is_behind


async def test_a_price_that_ends_is_another_at_that_moment(transactional_db: None) -> None:
    clock = SetClock()
    book = PriceBook(clock)
    book.go_by((says(GPT, 1), says(GPT, 2, NOON + 60)))
    first = (await learnt(book, GPT)).price
    clock.pass_(59.5)
    assert book.of(GPT).price is first
    clock.pass_(0.5)
    assert book.of(GPT).price == replace(price(2), source="operator")
    await book.renew()  # as the watch does, though nobody asks
    second = book.of(GPT).price
    assert first
    assert second
    assert None not in {first.number, second.number}
    assert first.number != second.number
    await book.aclose()


async def test_many_first_questions_look_up_once(book: PriceBook) -> None:
    places = [replace(GPT, model=f"made-up-{number % 5}") for number in range(500)]

    async def ask(place: Place) -> InForce:
        book.of(place)
        await book.catch_up()
        return book.of(place)

    async with asyncio.timeout(60):
        found = await asyncio.gather(*(ask(place) for place in places))
    assert found == [InForce(None)] * 500
    assert not book.is_behind
    assert not await asyncio.to_thread(PriceRow.objects.exists)


async def test_what_cannot_be_kept_has_no_number_and_is_tried_again(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = SetClock()
    book = PriceBook(clock)

    def refuse(_: object) -> list[Price]:
        raise DatabaseError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(book_module, "numbered", refuse)
        price = (await learnt(book, GPT)).price
    assert price
    assert price.number is None
    assert "the disk is full" in caplog.text
    clock.pass_(book_module.AGAIN_S)
    again = (await learnt(book, GPT)).price
    assert again
    assert again.number
    await book.aclose()


async def test_a_question_that_cannot_wait_for_the_row_has_the_price_all_the_same(
    book: PriceBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while somebody else writes the database, and goes on writing."""
    may_write = threading.Event()
    numbered = book_module.numbered

    def late(prices: list[tuple[str, str, Price]]) -> list[Price]:
        may_write.wait(30)
        return numbered(prices)

    monkeypatch.setattr(book_module, "numbered", late)
    monkeypatch.setattr(book_module, "PATIENCE_S", 0.01)
    async with asyncio.timeout(60):
        while (found := book.of(GPT).price) is None:
            await book.catch_up()
    assert found.source.startswith("genai-prices ")
    assert (found.number, book.is_behind) == (None, True)
    may_write.set()
    known = (await learnt(book, GPT)).price
    assert known == replace(found, number=known and known.number)
    assert known.number


async def test_no_more_is_known_than_there_is_room_for(book: PriceBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "MOST_KNOWN", 10)
    for number in range(25):
        await learnt(book, replace(GPT, model=f"made-up-{number}"))
    assert len(book._known) == 10
