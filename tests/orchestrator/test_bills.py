"""What one asking of a provider comes to, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from orchestrator.core.budgets import Budget
from orchestrator.core.errors import BudgetSpent, LedgerUnavailable, PriceUnknown
from orchestrator.core.prices import Price, Rates
from orchestrator.core.types import Caller, ChatRequest, Chunk, Done, Message, Model, ToolCall, Usage
from orchestrator.ledger.bills import UNSEEN_A_SECOND, Bill, price_of
from orchestrator.ledger.estimate import MOST_A_PICTURE, UNCAPPED, about, at_most
from orchestrator.ledger.writer import Entry
from tests.fakes import Books, SetClock

PRICE = Price(input=Decimal("2.5"), output=Decimal(10), number=7)
PIECE = Chunk(text="four")
MODEL = Model(name="openai/big", digest="d", engine="openai", is_paid=True, remote_name="big", price=PRICE)
THINKS = replace(MODEL, capabilities=frozenset({"completion", "thinking"}))
ASKED = ChatRequest(model="openai/big", messages=(Message(role="user", content="What is 2+2? " * 4),))  # 52 bytes
CALLER = Caller(tenant_id=3, tenant="acme", key_id=5, team_id=4, tags=("ci",))
BUDGET = Budget(id=1, name="all", period="month", each="tenant", amount=1_000_000)
AT = datetime(2026, 11, 26, 23, 59, tzinfo=UTC)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def books(transactional_db: None, clock: SetClock) -> Iterator[Books]:
    books = Books(clock)
    yield books
    books.close()


@pytest.fixture
def bill(books: Books, clock: SetClock) -> Callable[..., Bill]:
    """A function: the bill of a call that is under way, of which so much was seen."""

    def begin(*chunks: Chunk, model: Model = MODEL, asked: ChatRequest = ASKED, **fields: Any) -> Bill:
        entry = Entry(asked, replace(CALLER, **fields), AT, clock.monotonic())
        made = Bill(entry, model, asked, books, clock)
        made.asked()
        for chunk in chunks:
            made.saw(chunk)
        return made

    return begin


def end(**usage: Any) -> Chunk:
    return Chunk(done=Done(reason="stop", usage=Usage(**usage)))


def charge(bill: Bill, outcome: str = "done", **how: bool) -> dict[str, Any]:
    bill.settle(outcome, **how)
    (charged,) = bill._entry.charges
    assert not charged.is_free
    assert charged.hold == charged.row["hold"] == bill.hold
    return charged.row


@pytest.mark.parametrize(
    ("usage", "price", "cost", "source", "doubt"),
    [
        ({"prompt_tokens": 100, "completion_tokens": 7}, PRICE, 320, "price", ""),
        ({"prompt_tokens": 1, "completion_tokens": 1}, Price(input=Decimal("0.15"), output=Decimal(0)), 1, "price", ""),
        ({"prompt_tokens": 100, "completion_tokens": 7}, None, None, "unknown", ""),
        ({"prompt_tokens": 100, "completion_tokens": 7, "cost_microusd": 5}, PRICE, 5, "told", ""),
        ({"prompt_tokens": 100, "completion_tokens": 7, "cost_microusd": 5}, None, 5, "told", ""),
        ({"prompt_tokens": 100, "completion_tokens": 7}, Price(input=Decimal(0), output=Decimal(0)), 0, "price", ""),
        ({"prompt_tokens": 100, "completion_tokens": 7, "cost_microusd": 0}, PRICE, 0, "told", "nothing"),
        (
            {"prompt_tokens": 100, "completion_tokens": 7, "cost_microusd": 0},
            Price(input=Decimal(0), output=Decimal(0)),
            0,
            "told",
            "",
        ),
        ({"prompt_tokens": 100, "completion_tokens": 7, "is_implausible": True}, PRICE, 320, "price", "counts"),
        (
            {"prompt_tokens": 100, "completion_tokens": 7, "extras": ("web search",), "cost_microusd": 9},
            PRICE,
            9,
            "told",
            "",
        ),
    ],
)
def test_a_cost_is_the_providers_own_figure_or_by_its_price_or_unknown(
    bill: Callable[..., Bill], usage: dict[str, Any], price: Price | None, cost: int | None, source: str, doubt: str
) -> None:
    row = charge(bill(PIECE, end(**usage), model=replace(MODEL, price=price)))
    assert (row["cost_microusd"], row["source"], row["doubt"]) == (cost, source, doubt)
    assert not row["is_estimated"]


def test_what_a_price_does_not_tell_of_is_charged_at_what_was_reserved(bill: Callable[..., Bill]) -> None:
    made = bill(PIECE, end(prompt_tokens=100, completion_tokens=7, extras=("service_tier priority",)))
    row = charge(made)
    assert (row["cost_microusd"], row["source"], row["is_estimated"]) == (made.amount, "reserved", True)
    own = replace(MODEL, extras=("service_tier",), price=replace(PRICE, source="operator"))  # who wrote it knew
    row = charge(bill(end(prompt_tokens=100, completion_tokens=7, extras=("service_tier priority",)), model=own))
    assert (row["cost_microusd"], row["source"], row["is_estimated"]) == (320, "price", False)


def test_a_providers_cache_and_long_questions_have_rates_of_their_own(bill: Callable[..., Bill]) -> None:
    rates = {"cache_read": Decimal("0.3"), "cache_write": Decimal("3.75"), "cache_write_1h": Decimal(6)}
    long = Rates(above=200_000, input=Decimal(6), output=Decimal("22.5"))
    model = replace(MODEL, price=Price(input=Decimal(3), output=Decimal(15), longer=(long,), **rates))
    read = {"prompt_tokens": 10_000, "cached_tokens": 9_000, "completion_tokens": 10}
    assert charge(bill(end(**read), model=model))["cost_microusd"] == 3_000 + 2_700 + 150
    written = {"prompt_tokens": 10_000, "cache_write_tokens": 9_000, "cache_write_1h_tokens": 4_000}
    row = charge(bill(end(completion_tokens=10, reasoning_tokens=8, ref="gen-1", **written), model=model))
    assert row["cost_microusd"] == 3_000 + 5_000 * 15 // 4 + 24_000 + 150
    assert (row["cache_write_tokens"], row["cache_write_1h_tokens"]) == (9_000, 4_000)
    assert (row["reasoning_tokens"], row["provider_ref"]) == (8, "gen-1")
    assert charge(bill(end(prompt_tokens=200_001, completion_tokens=2), model=model))["cost_microusd"] == 1_200_051


def test_a_charge_says_whose_it_is_and_by_which_price(bill: Callable[..., Bill]) -> None:
    row = charge(bill(end(prompt_tokens=1, completion_tokens=1), asked=replace(ASKED, request_id="r", tags=("x",))))
    assert (row["tenant_id"], row["team_id"], row["key_id"], row["tags"]) == (3, 4, 5, "ci,x")
    assert (row["request_id"], row["at"], row["price_id"]) == ("r", AT, 7)
    assert (row["provider"], row["model"], row["purpose"], row["outcome"]) == ("openai", "openai/big", "answer", "done")


@pytest.mark.parametrize("outcome", ["cancelled", "engine_error", "engine_timeout", "rate_limited"])
def test_what_was_made_before_a_break_is_paid_for_by_estimate(bill: Callable[..., Bill], outcome: str) -> None:
    row = charge(bill(PIECE, PIECE, PIECE), outcome, is_free=True)  # whatever such an error says of others
    assert (row["prompt_tokens"], row["completion_tokens"], row["cost_microusd"]) == (13, 3, 63)
    assert (row["is_estimated"], row["outcome"]) == (True, outcome)


def test_a_piece_may_hold_many_tokens(bill: Callable[..., Bill]) -> None:
    assert charge(bill(Chunk(text="x" * 10_000)), "cancelled")["completion_tokens"] == 2_500
    assert charge(bill(Chunk(thinking="é" * 2_000)), "cancelled")["completion_tokens"] == 1_000
    assert charge(bill(*[Chunk(text="x")] * 90), "cancelled")["completion_tokens"] == 90


def test_calls_of_tools_are_paid_for_whole_or_not(bill: Callable[..., Bill]) -> None:
    call = ToolCall(id="1", name="write", arguments={"text": "x" * 8_000})
    assert charge(bill(Chunk(tool_calls=(call,))), "engine_error")["completion_tokens"] == 2_004
    written = Chunk(usage=Usage(completion_tokens=2_000, is_estimated=True))  # its reader counts what is not passed on
    row = charge(bill(written), "engine_error", is_free=True)
    assert (row["completion_tokens"], row["cost_microusd"]) == (2_000, 33 + 20_000)


def test_what_comes_after_a_count_is_added_to_it(bill: Callable[..., Bill]) -> None:
    told = Chunk(text="ab", usage=Usage(prompt_tokens=40, cached_tokens=30, completion_tokens=9))
    row = charge(bill(PIECE, told, Chunk(text="x" * 40)), "cancelled")
    assert (row["prompt_tokens"], row["cached_tokens"], row["completion_tokens"]) == (40, 30, 19)
    row = charge(bill(Chunk(text="a", usage=Usage(prompt_tokens=40)), PIECE), "cancelled")
    assert (row["prompt_tokens"], row["completion_tokens"], row["cost_microusd"]) == (40, 2, 120)


def test_thoughts_that_nobody_sees_are_paid_for_by_their_time(bill: Callable[..., Bill], clock: SetClock) -> None:
    def after(seconds: float, *chunks: Chunk, **fields: Any) -> int:
        made = bill(**fields)
        clock.pass_(seconds)
        for chunk in chunks:
            made.saw(chunk)
        tokens: int = charge(made, "cancelled")["completion_tokens"]
        return tokens

    assert after(0.5, model=THINKS) == 0, "the question is read first"
    assert after(11, model=THINKS) == after(11) == 10 * UNSEEN_A_SECOND
    assert after(11, PIECE, model=THINKS) == 10 * UNSEEN_A_SECOND + 1
    assert after(11, PIECE) == 1, "it does not think"
    assert after(11, PIECE, model=THINKS, asked=replace(ASKED, think=False)) == 1
    assert after(11, Chunk(thinking="Hm."), model=THINKS) == 1, "it shows them"
    assert after(11, model=THINKS, asked=replace(ASKED, options={"num_predict": 50})) == 50
    assert after(3600, model=THINKS) == UNCAPPED
    assert after(11, asked=ChatRequest(model="m", inputs=("a",))) == 0


def test_what_was_never_asked_or_refused_is_free(bill: Callable[..., Bill], books: Books, clock: SetClock) -> None:
    never = Bill(Entry(ASKED, CALLER, AT, 0.0), MODEL, ASKED, books, clock)
    never.settle("outraced")
    refused = bill()
    refused.settle("rate_limited", is_free=True)
    read = bill(Chunk(usage=Usage(prompt_tokens=9)))
    read.settle("rate_limited", is_free=True)
    assert [one._entry.charges[0].is_free for one in (never, refused, read)] == [True, True, False]
    assert (refused._entry.cost_microusd, refused._entry.tokens, refused._entry.has_spent) == (0, 0, False)


def test_a_bill_is_settled_once_and_after_its_request_by_itself(bill: Callable[..., Bill], books: Books) -> None:
    made = bill(PIECE)
    made.settle("outraced")
    made.settle("done")
    assert [charged.row["outcome"] for charged in made._entry.charges] == ["outraced"]
    late = bill(PIECE)
    late._entry.is_posted = True
    late.settle("outraced")
    assert ([charged.hold for charged in books.late], late._entry.charges) == ([late.hold], [])


def test_a_record_costs_what_was_charged_for_it_and_shows_the_tokens_of_who_answers(
    books: Books, clock: SetClock
) -> None:
    entry = Entry(ASKED, CALLER, AT, clock.monotonic())

    def call(model: Model, *chunks: Chunk) -> Bill:
        made = Bill(entry, model, ASKED, books, clock)
        made.asked()
        for chunk in chunks:
            made.saw(chunk)
        made.settle("done")
        return made

    call(MODEL, PIECE)  # it broke off: 13 and 1 by estimate
    entry.ended("cancelled", clock.monotonic())
    assert (entry.usage.prompt_tokens, entry.usage.completion_tokens, entry.cost_microusd) == (13, 1, 43)
    answered = call(MODEL, end(prompt_tokens=40, completion_tokens=5, eval_ns=9))
    entry.answered_by, entry.engine_first_s = answered.hold, 0.1
    entry.saw(end(prompt_tokens=40, completion_tokens=5, eval_ns=9), clock.monotonic())
    entry.ended("done", clock.monotonic())
    assert (entry.usage.prompt_tokens, entry.usage.completion_tokens, entry.usage.eval_ns) == (40, 5, 9)
    assert (entry.usage.is_estimated, entry.cost_microusd, entry.tokens) == (False, 43 + 150, 59)
    call(replace(MODEL, price=None), PIECE)
    assert entry.cost_microusd is None, "what nobody knows is not nothing"


def test_an_answer_for_nothing_shows_its_own_tokens(bill: Callable[..., Bill], clock: SetClock) -> None:
    made = bill(PIECE)
    made.settle("engine_timeout")
    entry = made._entry
    entry.engine_first_s = 0.1  # another answers, that does not charge
    entry.saw(PIECE, clock.monotonic())
    entry.ended("cancelled", clock.monotonic())
    assert (entry.usage.prompt_tokens, entry.usage.completion_tokens) == (0, 1)
    assert (entry.tokens, entry.cost_microusd, entry.has_spent) == (14 + 1, 43, True)


async def test_where_a_hard_budget_is_about_it_a_call_waits_until_the_most_is_reserved(
    bill: Callable[..., Bill], books: Books
) -> None:
    of_key = replace(BUDGET, id=2, name="key", each="key", period="day", is_hard=False)
    elsewhere = replace(BUDGET, id=3, provider="groq")
    made = bill(asked=replace(ASKED, options={"num_predict": 100}), budgets=(BUDGET, of_key, elsewhere))
    await made.reserve()
    ((hold, at, amount, lines, call),) = books.reserved
    assert (hold, at, call["hold"], call["model"], books.held) == (made.hold, AT, hold, "openai/big", [])
    assert amount == PRICE.most(*at_most(made.request, MODEL)) >= 100 * 10 + 13 * 2
    assert [tuple(line) for line in lines] == [
        (1, "all", "3", date(2026, 11, 1), True),
        (2, "key", "5", date(2026, 11, 26), False),
    ]
    assert (made.request.cap, made.cap) == (100, None)


async def test_without_a_hard_budget_nobody_waits(bill: Callable[..., Bill], books: Books) -> None:
    made = bill(budgets=(replace(BUDGET, is_hard=False),))
    await made.reserve()
    assert ([one.hold for one in books.held], books.reserved) == ([made.hold], [])
    assert made.request is ASKED, "no cap is set"
    unpriced = bill(model=replace(MODEL, price=None))
    await unpriced.reserve()
    assert books.held[-1].amount is None


@pytest.mark.parametrize(
    ("fields", "cap"),
    [
        ({}, UNCAPPED),
        ({"most_output": 16_384}, 16_384),
        ({"most_output": 16_384, "context_length": 8_192}, 8_192 - 13),
        ({"context_length": 10}, UNCAPPED),  # it does not fit anyway
    ],
)
def test_the_cap_that_is_reserved_is_sent(bill: Callable[..., Bill], fields: dict[str, int], cap: int) -> None:
    made = bill(model=replace(MODEL, **fields), budgets=(BUDGET,))  # type: ignore[arg-type]  # numbers
    assert (made.cap, made.request.cap) == (cap, cap)
    assert made.amount == PRICE.most(91, cap)


def test_no_more_is_reserved_than_the_model_can_answer(bill: Callable[..., Bill]) -> None:
    long = replace(ASKED, options={"num_predict": 50_000})
    assert bill(asked=long, model=replace(MODEL, most_output=16_384)).amount == PRICE.most(91, 16_384)
    assert bill(asked=long, model=MODEL).amount == PRICE.most(91, 50_000)


async def test_a_price_that_nobody_knows_keeps_within_no_budget(bill: Callable[..., Bill], books: Books) -> None:
    with pytest.raises(PriceUnknown, match="budget 'all'"):
        await bill(model=replace(MODEL, price=None), budgets=(BUDGET,)).reserve()
    assert not books.reserved


@pytest.mark.parametrize("error", [BudgetSpent("spent"), LedgerUnavailable("it cannot be written")])
async def test_what_the_ledger_refuses_is_its_own_to_let_go(
    bill: Callable[..., Bill], books: Books, error: BudgetSpent | LedgerUnavailable
) -> None:
    books.refuses = error
    with pytest.raises(type(error)):
        await bill(budgets=(BUDGET,)).reserve()
    assert not books.released


def test_what_is_sent_along_makes_a_price_unknown_unless_who_wrote_it_knew() -> None:
    assert price_of(MODEL) == PRICE
    assert price_of(replace(MODEL, extras=("service_tier",))) is None
    own = replace(PRICE, source="operator")
    assert price_of(replace(MODEL, extras=("service_tier",), price=own)) == own


def test_the_question_is_estimated_with_all_that_is_sent() -> None:
    def tokens(**fields: Any) -> int:
        return about(ChatRequest(model="m", **fields))

    call = ToolCall(id="1", name="look", arguments={"at": "x" * 400})
    assert tokens() == 0
    assert tokens(inputs=("four", "fo")) == 2
    assert tokens(prompt="é" * 8, suffix="four") == 5
    assert tokens(messages=(Message(role="user", images=("aGk=" * 10**6,) * 2),)) == 2_048
    assert 100 < tokens(messages=(Message(role="assistant", tool_calls=(call,)),)) < 110
    assert 100 < tokens(tools=({"function": {"description": "x" * 400}},)) < 110
    assert tokens(tools=({"function": {"huge": 2**80}},)) > 5
    assert 100 < tokens(format={"title": "x" * 400}) < 110
    assert tokens(format="json") == 0


def test_the_most_is_no_less_than_what_is_expected() -> None:
    for fields in (
        {"messages": (Message(role="user", content="é" * 999, images=("aGk=",)),)},
        {"messages": (Message(role="user", content="x"),) * 500},
        {"tools": ({"function": {"description": "x" * 400}},)},
        {"prompt": "x" * 100},
    ):
        asked = ChatRequest(model="m", **fields)  # type: ignore[arg-type]  # fields of it
        assert at_most(asked, MODEL).prompt > about(asked)
    pictures = (Message(role="user", images=("aGk=",) * 2),)
    assert at_most(ChatRequest(model="m", messages=pictures), MODEL).prompt > 2 * MOST_A_PICTURE
    assert at_most(ChatRequest(model="m", inputs=("a",)), MODEL).completion == 0
