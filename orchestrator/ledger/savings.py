"""What an answer saved that took no call, and by what that is known.

It is claimed as a record is written, and `orchestrator.proof.savings` reckons it again from what paid for the answer,
sharing nothing with this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from orchestrator.core.prices import Price
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


def signed(done: Done, request_id: str, counted: Usage, charge: Mapping[str, Any] | None) -> Done:
    """The end of an answer, with what it is to remember of its call.

    counted  the usage that it tells, with estimates for what it does not tell.
    charge   the row of who answered; None where that costs nothing.
    """
    maker = MadeBy(
        request_id=request_id,
        is_paid=charge is not None,
        cost_microusd=charge["cost_microusd"] if charge else 0,
        usage=None if counted is done.usage or counted == done.usage else counted,
    )
    return replace(done, made_by=maker)


def of_hit(kept: Done, model: Model, price: Price | None) -> Saving:
    """What it saves to be answered from what is kept, where `model` would be asked otherwise, at `price`."""
    maker = kept.made_by
    if not model.is_paid or (maker is not None and not maker.is_paid):
        return Saving(0, FREE, maker.request_id if maker else None)
    if maker is None:
        return Saving(None, UNKNOWN)
    usage = maker.usage or kept.usage
    if price is None or price.number is None or usage.extras:  # without a row of its own a price would prove nothing
        return _as_charged(maker)
    return Saving(price.of(usage), PRICE, maker.request_id, price.number, price.until)


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
