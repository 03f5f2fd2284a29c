"""Reads all that is kept of one request: its record, who was tried, what it cost, why it went there, what was said."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import Any

from django.db import DatabaseError, close_old_connections
from django.db.models import OuterRef, QuerySet, Subquery

from cache.codec import BadEntry, decode
from cache.entries import CacheKey
from cache.models import CacheEntry
from orchestrator.choosing.explaining import inputs_of, told_of
from orchestrator.core.permissions import Reach
from orchestrator.ledger.belonging import charged_for, decided_for, tried_for
from orchestrator.ledger.stats import FROM_CACHE
from orchestrator.models import AnswerOutcome, Attempt, Charge, PriceRow, RequestRecord, ShadowRun
from orchestrator.outcomes.saying import said_of
from routing.deciding import decide

log = logging.getLogger(__name__)

MOST = 20  # of each kind that belongs to a request
LONGEST_SHOWN = 20_000  # characters of an answer
AFTERWARDS = frozenset({"shadow", "judge"})  # purposes of calls that nobody waited for


@dataclass(frozen=True, slots=True)
class Kept:
    """The answer that is kept under the request's key now, where whoever looks may read it."""

    text: str
    thinking: str
    expires_at: Any
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class One:
    """A request, and what belongs to it."""

    record: RequestRecord
    tried: list[Attempt] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    prices: dict[int, PriceRow] = field(default_factory=dict)
    decision: dict[str, Any] | None = None
    said: list[AnswerOutcome] = field(default_factory=list)
    shadows: list[ShadowRun] = field(default_factory=list)
    kept: Kept | None = None
    paid_by: int | None = None  # the number of the request whose call paid for this answer

    @property
    def whose(self) -> Reach:
        """Its tenant's."""
        return Reach(frozenset({self.record.tenant_id}))


def read_one(number: int, reach: Reach, *, sees_answers: Reach) -> One | None:
    """The request of that number; None where it is not there, or not in `reach`."""
    close_old_connections()
    record = RequestRecord.objects.of(reach).select_related("tenant", "key").filter(pk=number).first()
    if record is None:
        return None
    whose = Reach(frozenset({record.tenant_id}))
    charges = list(_with_rates(charged_for(record)).order_by("id")[:MOST])
    prices = {one.price_id: one for one in charges if one.price_id and one.rates}
    return One(
        record=record,
        tried=list(tried_for(record).order_by("id")[:MOST]),
        charges=charges,
        prices={pk: PriceRow(pk=pk, source=one.price_source, rates=one.rates) for pk, one in prices.items()},
        decision=_decision(record),
        said=said_of(whose, record.request_id),
        shadows=_shadows(record, whose),
        kept=_kept(record) if sees_answers.covers(whose) and record.cache_key else None,
        paid_by=_payer(record, whose),
    )


def _with_rates(charges: QuerySet[Charge]) -> QuerySet[Any]:
    """The same, each with the price that it was reckoned by."""
    price = PriceRow.objects.filter(pk=OuterRef("price_id"))
    return charges.annotate(rates=Subquery(price.values("rates")), price_source=Subquery(price.values("source")))


def find(number: int, reach: Reach) -> RequestRecord | None:
    """Only its record."""
    close_old_connections()
    return RequestRecord.objects.of(reach).filter(pk=number).first()


def _decision(record: RequestRecord) -> dict[str, Any] | None:
    """Why it went there, where that was kept; the choice is made again from what it followed from."""
    row = decided_for(record).defer("vector").order_by("-id").first()
    if row is None:
        return None
    try:
        document = json.loads(row.document)
        kept = document.get("decision")
        inputs = inputs_of(kept["inputs"]) if kept else None
        choice = told_of(inputs, decide(inputs)) if inputs else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # another release wrote it
        log.warning("the decision of request %s cannot be read: %s", record.pk, error)
        return None
    return {
        "rules": row.rules,
        "task": row.task,
        "complexity": row.complexity,
        "verdict": document.get("verdict", {}),
        "facts": document.get("facts", {}),
        "notes": document.get("notes", []),
        "trial": document.get("trial"),
        "choice": choice,
    }


def _payer(record: RequestRecord, whose: Reach) -> int | None:
    if not record.saved_of or record.granted_by_id is not None:  # another tenant's is not shown
        return None
    paid = RequestRecord.objects.of(whose).filter(request_id=record.saved_of, pk__lte=record.pk)
    return paid.order_by("-pk").values_list("pk", flat=True).first()


def _shadows(record: RequestRecord, whose: Reach) -> list[ShadowRun]:
    """Models that were asked the same, beside one that answered; beside the cache none is."""
    if record.tier in FROM_CACHE:
        return []
    return list(ShadowRun.objects.of(whose).filter(request_id=record.request_id).order_by("id")[:MOST])


def _kept(record: RequestRecord) -> Kept | None:
    """The answer under its key, of its own tenant; None when it is gone, or was never kept."""
    try:
        entry = CacheEntry.objects.of(Reach(frozenset({record.tenant_id}))).filter(hash=record.cache_key).first()
        if entry is None:
            return None
        key = CacheKey(entry.hash, entry.tenant_id, entry.namespace, entry.model)
        reply = decode(key, bytes(entry.body)).reply
    except (BadEntry, DatabaseError) as error:
        log.warning("the kept answer of request %s cannot be read: %s", record.pk, error)
        return None
    text, most = reply.text or "", LONGEST_SHOWN
    return Kept(text[:most], (reply.thinking or "")[:most], entry.expires_at, len(text) > most)
