"""Whose word counts on what a model charges: the operator's, then its provider's list, then the table's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from orchestrator.core.extras import asked_in
from orchestrator.core.prices import Price, Stated
from orchestrator.pricing import library

OPERATOR, LIST = "operator", "list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A model at a provider, with all that its price hangs on.

    stated  what an operator says of it where the model is registered.    listed  what its provider's list says.
    """

    provider: str
    model: str  # as the provider calls it
    kind: str = ""
    address: str = ""
    is_paid: bool = True
    is_plain: bool = True  # nothing goes along with its questions that they cost more for
    stated: Price | None = None
    listed: Price | None = None


class Seller(Protocol):
    """A provider, as far as prices hang on it."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def is_paid(self) -> bool: ...
    @property
    def extra_body(self) -> Mapping[str, Any]: ...


def place_at(seller: Seller, model: str, *, stated: Price | None = None, listed: Price | None = None) -> Place:
    """A model at a provider of the registry."""
    return Place(
        provider=seller.name,
        model=model,
        kind=seller.kind,
        address=seller.address,
        is_paid=seller.is_paid,
        is_plain=not asked_in(seller.extra_body),
        stated=stated,
        listed=listed,
    )


@dataclass(frozen=True, slots=True)
class InForce:
    """What a place charges at a moment; None when nobody knows.

    until  seconds since the epoch when it may be another; None: nobody knows of an end.
    since  from when on an operator said it; None: it is not theirs, or always was.
    """

    price: Price | None
    until: float | None = None
    since: float | None = None


def said(place: Place, stated: Sequence[Stated], at: float) -> InForce:
    """What is said of a place by an operator, or by its provider; that can be told without the table.

    stated  what operators said of all places, the later word after the earlier one.
    """
    about = [one for one in stated if _is_about(one, place)]
    until = min((one.since for one in about if one.since > at), default=None)
    newest = max((one for one in about if one.since <= at), key=lambda one: one.since, default=None)
    if newest is not None:
        last = [one for one in about if one.since == newest.since][-1]
        if last.price is not None:
            return InForce(replace(last.price, source=OPERATOR, until=until), until, last.since)
    if place.stated is not None:
        return InForce(replace(place.stated, source=OPERATOR, until=until), until)
    if place.listed is not None and place.is_paid and place.is_plain:
        return InForce(replace(place.listed, source=LIST, until=until), until)
    return InForce(None, until)


def in_force(place: Place, stated: Sequence[Stated], at: float) -> InForce:
    """What a place charges. It loads the table where that is asked, so not on an event loop."""
    found = said(place, stated, at)
    if found.price is not None or not place.is_paid or not place.is_plain:
        return found
    price = library.price_of(place.kind, place.address, place.model, datetime.fromtimestamp(at, UTC))
    if price is None:
        return found
    until = min((end for end in (found.until, price.until) if end is not None), default=None)
    return InForce(replace(price, until=until), until)


def _is_about(one: Stated, place: Place) -> bool:
    return one.provider == place.provider and one.model.lower() == place.model.lower()
