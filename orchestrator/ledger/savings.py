"""What an answer saved that took no call, and by what that is known.

It is claimed as a record is written, and `orchestrator.proof.savings` reckons it again from what paid for the answer,
sharing nothing with this.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from orchestrator.core.types import Done, MadeBy, Model, Usage

PRICE = "price"  # the price of a call now, for the tokens that the call of then was charged for
CHARGE = "charge"  # what that call was charged
FREE = "free"  # a call costs nothing, or did not
UNKNOWN = "unknown"  # nobody knows what a call costs, or which one paid


class Saving(NamedTuple):
    """A claim: `microusd` is None where why is UNKNOWN."""

    microusd: int | None
    why: str
    of: str | None = None  # the request whose call paid
    price_id: int | None = None
    until: float | None = None  # seconds since the epoch when it may be another; None: nobody knows of an end


def signed(done: Done, model: Model, request_id: str, charged: Usage) -> Done:
    """The end of an answer by `model`, with what the answer is to remember of its call.

    charged  the usage that it tells, with estimates for what it does not tell.
    """
    cost: int | None = 0
    if model.is_paid:
        cost = charged.cost_microusd
        if cost is None and model.price is not None:
            cost = model.price.of(charged)
    maker = MadeBy(
        request_id=request_id,
        is_paid=model.is_paid,
        cost_microusd=cost,
        usage=None if charged == done.usage else charged,
    )
    return replace(done, made_by=maker)


def of_hit(kept: Done, model: Model) -> Saving:
    """What it saves to be answered from what is kept, where `model` would be asked otherwise."""
    maker = kept.made_by
    if not model.is_paid or (maker is not None and not maker.is_paid):
        return Saving(0, FREE, maker.request_id if maker else None)
    if maker is None:
        return Saving(None, UNKNOWN)
    price = model.price
    if price is not None and price.number is not None:  # without a row of its own it would prove nothing
        return Saving(price.of(maker.usage or kept.usage), PRICE, maker.request_id, price.number, price.until)
    return _as_charged(maker)


def of_shared(done: Done, model: Model) -> Saving:
    """What it saves to hear another's call to its end: the same call once more. `model` is the one that was asked."""
    maker = done.made_by
    if maker is None:
        return Saving(None, UNKNOWN) if model.is_paid else Saving(0, FREE)
    return _as_charged(maker) if maker.is_paid else Saving(0, FREE, maker.request_id)


def _as_charged(maker: MadeBy) -> Saving:
    why = UNKNOWN if maker.cost_microusd is None else CHARGE
    return Saving(maker.cost_microusd, why, maker.request_id)


def columns(saving: Saving | None) -> dict[str, Any]:
    """The columns of a record that say it."""
    claim = saving or Saving(None, "")
    return {
        "saved_microusd": claim.microusd,
        "saved_why": claim.why or None,
        "saved_of": claim.of,
        "saved_price_id": claim.price_id,
    }
