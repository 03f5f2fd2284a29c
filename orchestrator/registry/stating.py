"""What operators say that models charge: said from a moment on, and never taken out of the history."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.utils import timezone

from orchestrator.audit import note
from orchestrator.core.changing import By
from orchestrator.core.errors import BadRequest, NotThere
from orchestrator.core.presets import BY_NAME
from orchestrator.core.prices import plain
from orchestrator.registry.changes import MOST_SHOWN, MOST_VERSIONS
from orchestrator.registry.models import Provider, RegistryVersion, StatedPrice
from orchestrator.registry.reading import newest_version
from orchestrator.registry.stored import read_tables

RATES = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
MOST = Decimal(999_999)  # dollars for a million tokens; a column holds no more


def state(provider: str, model: str, rates: Mapping[str, Decimal], holds_from: datetime | None, by: By) -> StatedPrice:
    """Say that a model charges so from a moment on, or from now. It is a version of the registry.

    rates  dollars for a million tokens, by the names of RATES; none at all: nothing is said any more.
    Raises BadRequest, NotThere.
    """
    now = timezone.now()
    _check(provider, model, rates)
    if holds_from is not None and holds_from < now:
        raise BadRequest("A price holds from now on, or later: what was charged by another stays as it is.")
    row = StatedPrice(
        provider=provider, model=model, holds_from=holds_from or now, by=(by.actor or by.name)[:150], **rates
    )
    words = f"price of {provider}/{model} from {row.holds_from:%Y-%m-%d %H:%M} UTC: {said(rates)}"
    with transaction.atomic():
        by.must_still()
        row.save()
        version = RegistryVersion.objects.create(
            by=by.name[:150], reason=by.reason[:200], summary=words, document=_as_it_is()
        )
        told = {"from": row.holds_from.isoformat(), **{rate: plain(price) for rate, price in rates.items()}}
        note(by.actor or by.name, "price.stated", f"{provider}/{model}", None, told, by.request_id)
        RegistryVersion.objects.filter(number__lte=version.number - MOST_VERSIONS).delete()
    return row


def history(provider: str, model: str) -> list[StatedPrice]:
    """All that was ever said of a model, the newest first."""
    rows = StatedPrice.objects.filter(provider=provider, model__iexact=model)
    return list(rows.order_by("-holds_from", "-id"))


def said(rates: Mapping[str, Decimal | None]) -> str:
    """Rates in words; those that are not set are left out."""
    told = [f"{rate.replace('_', ' ')} {plain(price)}" for rate, price in rates.items() if price is not None]
    return ", ".join(told) or "no longer said"


def _check(provider: str, model: str, rates: Mapping[str, Decimal]) -> None:
    if provider not in BY_NAME and not Provider.objects.filter(name=provider).exists():
        raise NotThere(f"There is no provider {provider[:MOST_SHOWN]!r} in the registry.")
    if not model or len(model) > MOST_SHOWN or not model.isprintable() or model != model.strip():
        raise BadRequest("A model is named as its provider calls it.")
    for rate, price in rates.items():
        if rate not in RATES:
            raise BadRequest(f"There is no rate {rate!r}; there are {', '.join(RATES)}.")
        if not price.is_finite() or not 0 <= price <= MOST or price != round(price, 6):
            raise BadRequest(f"{rate}: a price is of 0 to {MOST} US dollars, and six digits after the point at most.")
    if rates and not {"input", "output"} <= rates.keys():
        raise BadRequest("input: input and output are given together; 0 is for free.")


def _as_it_is() -> object:
    """The registry as of its newest version: a price is not of its document."""
    newest = RegistryVersion.objects.filter(number=newest_version()).first()
    return newest.document if newest else read_tables()
