"""What one asking of a provider comes to: reserved before it is asked, counted while it answers, settled once.

A provider charges for what it made, whether or not anybody heard it. So every asking has a bill of its own, and each
way it can end settles it: answered, broken off, given up, outraced. Where the provider told its counts they are
taken as they are. What it did not tell is estimated from what was seen, and said to be that.
"""

from __future__ import annotations

from dataclasses import replace
from secrets import token_hex
from typing import Any, Literal

import orjson

from orchestrator.core.budgets import begins, under
from orchestrator.core.clock import Clock
from orchestrator.core.errors import PriceUnknown
from orchestrator.core.prices import Price
from orchestrator.core.tokens import size_of, tokens_in
from orchestrator.core.types import Caller, ChatRequest, Chunk, Model, Usage
from orchestrator.ledger.estimate import about, at_most
from orchestrator.ledger.holds import Charged, Line, Reservation
from orchestrator.ledger.writer import Entry, Ledger
from orchestrator.models import Charge

Purpose = Literal["answer", "embedding", "shadow", "judge"]
# A model may think without showing it. While nothing of an answer is seen it is taken to write so many tokens a second,
# as quick ones do, once the question has come to it and was read.
UNSEEN_A_SECOND = 100
READ_S = 1.0
LONGEST_REF = 128
BY_OPERATOR = "operator"  # the source of a price that somebody wrote who knows what is sent along


class Bill:
    """The bill of one asking of a provider that charges."""

    def __init__(
        self,
        entry: Entry,
        model: Model,
        request: ChatRequest,
        ledger: Ledger,
        clock: Clock,
        purpose: Purpose = "answer",
    ) -> None:
        """Nothing is reserved yet; see `reserve`.

        request  as this place would be asked. Where a hard budget is about it and it has no cap, it is given one.
        """
        self._entry, self._model, self._ledger, self._clock = entry, model, ledger, clock
        self.hold = token_hex(16)
        self.price = price_of(model)
        self.lines = _lines(entry, model)
        most = at_most(request, model)
        self.cap: int | None = None  # that its caller did not set
        if request.cap is None and most.completion and any(line.is_hard for line in self.lines):
            self.cap = most.completion
            request = replace(request, options={**request.options, "num_predict": most.completion})
        self.request = request
        self.amount = self.price.most(*most) if self.price else None
        self._call = _columns(entry, model, self.hold, self.price, purpose)
        self._most_answer = most.completion
        self._began: float | None = None  # all in monotonic seconds
        self._first: float | None = None  # when something of the answer was seen
        self._is_settled = False
        self._told = Usage()
        self._is_complete = False
        self._is_thinking_seen = False
        self._pieces = self._size = 0  # of what was seen since it last told how much it had answered

    async def reserve(self) -> None:
        """Reserve what the call may cost: on disk where a hard budget is about it, else with the next batch.

        Raises BudgetSpent, LedgerUnavailable, or PriceUnknown where a budget cannot be kept without one.
        """
        reservation = Reservation(self.hold, self._entry.at, self.amount, self.lines, self._call)
        hard = next((line for line in self.lines if line.is_hard), None)
        if hard is None:
            self._ledger.must_be_writable()
            self._ledger.hold(reservation)
            return
        if self.amount is None:
            raise PriceUnknown(
                f"Nobody knows what {self._model.name} charges, so the budget '{hard.name}' refuses it; "
                "ask your operator to set its price."
            )
        await self._ledger.reserve(reservation)

    def asked(self) -> None:
        """The question leaves: what comes of it is charged."""
        self._began = self._clock.monotonic()

    def saw(self, chunk: Chunk) -> None:
        """Take note of a piece of the answer."""
        if chunk.text or chunk.thinking or chunk.tool_calls or chunk.logprobs:
            self._pieces += bool(chunk.text or chunk.thinking or chunk.logprobs)
            self._size += size_of(chunk.text) + size_of(chunk.thinking) + sum(map(_size_of_call, chunk.tool_calls))
            self._is_thinking_seen = self._is_thinking_seen or bool(chunk.thinking)
            if self._first is None:
                self._first = self._clock.monotonic()
        if chunk.usage:
            self._tell(chunk.usage)
        if chunk.done:
            self._told = chunk.done.usage
            self._is_complete = True

    def _tell(self, usage: Usage) -> None:
        """What the provider told so far; what follows it comes on top."""
        self._told = usage
        if usage.completion_tokens:
            self._pieces = self._size = 0
            if self._first is None:
                self._first = self._clock.monotonic()

    def settle(self, outcome: str, *, is_free: bool = False) -> int | None:
        """The call is over: what it cost, in millionths of a dollar; None where nobody knows.

        A second time it does nothing.

        outcome  done, cut, or why it ended before its end.
        is_free  nothing was made. What was seen or told of it proves otherwise.
        """
        if self._is_settled:
            return None
        self._is_settled = True
        charged = self._charged(outcome, is_free=is_free)
        if self._entry.is_posted:  # it ended after its request
            self._ledger.charge(charged)
        else:
            self._entry.charges.append(charged)
        cost: int | None = 0 if charged.is_free else charged.row["cost_microusd"]
        return cost

    def _charged(self, outcome: str, *, is_free: bool) -> Charged:
        is_seen = self._first is not None or bool(self._told.prompt_tokens or self._told.cost_microusd)
        if self._began is None or (is_free and not is_seen):
            return Charged(self.hold, self._call | {"outcome": outcome}, is_free=True)
        usage = self._counted()
        cost, source, doubt = self._cost(usage)
        row = self._call | {
            "outcome": outcome,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "cache_write_1h_tokens": usage.cache_write_1h_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
            "is_estimated": usage.is_estimated or source is Charge.Source.RESERVED,
            "cost_microusd": cost,
            "source": source.value,
            "doubt": doubt,
            "provider_ref": usage.ref[:LONGEST_REF],
        }
        return Charged(self.hold, row)

    def _counted(self) -> Usage:
        """What it read and wrote, as it told or else by estimate."""
        usage = self._told
        if not usage.prompt_tokens:
            usage = replace(usage, prompt_tokens=about(self.request), is_estimated=True)
        if self._is_complete:
            return usage
        written = usage.completion_tokens + tokens_in(self._size, self._pieces)
        written += min(self._unseen(), max(self._most_answer - written, 0))
        return replace(usage, completion_tokens=written, is_estimated=True)  # its end would have told

    def _unseen(self) -> int:
        """The tokens it may have written before anything was seen: all it had time for.

        Where something was seen they are thoughts, which are not taken for hidden where some were shown.
        """
        assert self._began is not None
        may_think = "thinking" in self._model.capabilities and self.request.think is not False
        if self._first is not None and (self._told.completion_tokens or self._is_thinking_seen or not may_think):
            return 0
        until = self._clock.monotonic() if self._first is None else self._first
        return int(max(until - self._began - READ_S, 0) * UNSEEN_A_SECOND)

    def _cost(self, usage: Usage) -> tuple[int | None, Charge.Source, str]:
        """What it cost, who says so, and what is to be doubted of it."""
        is_for_extras = bool(self._model.extras and self.price and self.price.source == BY_OPERATOR)
        by_price = self.price.of(usage) if self.price and (is_for_extras or not usage.extras) else None
        doubt = Charge.Doubt.COUNTS.value if usage.is_implausible else ""
        if usage.cost_microusd is not None:
            if not usage.cost_microusd and by_price:
                doubt = Charge.Doubt.NOTHING.value
            return usage.cost_microusd, Charge.Source.TOLD, doubt
        if by_price is not None:
            return by_price, Charge.Source.PRICE, doubt
        return self.amount, Charge.Source.UNKNOWN if self.amount is None else Charge.Source.RESERVED, doubt


def price_of(model: Model) -> Price | None:
    """What `model` charges; None where nobody knows, as where something is sent along that is charged for by itself.

    An operator who wrote both knows what they come to together.
    """
    if model.extras and model.price and model.price.source != BY_OPERATOR:
        return None
    return model.price


def is_capped(request: ChatRequest, model: Model, caller: Caller) -> bool:
    """Whether its bill would set an end to the answer, which its caller did not: a hard budget is about it."""
    if request.cap is not None or request.inputs is not None or not model.is_paid:
        return False
    return any(budget.is_hard and budget.is_about(model.name, model.engine) for budget in caller.budgets)


def _lines(entry: Entry, model: Model) -> tuple[Line, ...]:
    """The budgets that a call counts against."""
    caller = entry.caller
    return tuple(
        Line(
            budget.id,
            budget.name,
            under(budget, caller, model.name, model.engine),
            begins(budget.period, entry.at),
            budget.is_hard,
        )
        for budget in caller.budgets
        if budget.is_about(model.name, model.engine)
    )


def _columns(entry: Entry, model: Model, hold: str, price: Price | None, purpose: Purpose) -> dict[str, Any]:
    """Its charge, with all that is known before it is made."""
    caller = entry.caller
    return {
        "hold": hold,
        "request_id": entry.request.request_id,
        "at": entry.at,
        "tenant_id": caller.tenant_id,
        "key_id": caller.key_id,
        "team_id": caller.team_id,
        "provider": model.engine,
        "model": model.name,
        "purpose": purpose,
        "outcome": "",
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "cache_write_1h_tokens": 0,
        "reasoning_tokens": 0,
        "is_estimated": False,
        "cost_microusd": None,
        "source": Charge.Source.UNKNOWN.value,
        "doubt": "",
        "price_id": price.number if price else None,
        "provider_ref": "",
        "tags": entry.tags,
    }


def _size_of_call(call: Any) -> int:
    try:
        return len(call.name) + len(orjson.dumps(call.arguments, default=dict))
    except TypeError:  # what JSON holds and orjson does not
        return len(call.name) + size_of(str(call.arguments))
