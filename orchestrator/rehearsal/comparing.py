"""A day through the product and the same day reckoned, in a data directory of its own: they have to agree."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings

from orchestrator.proof.savings import prove
from orchestrator.rehearsal.building import DayClock, parts_for, prepared
from orchestrator.rehearsal.day import DayDiffers, Rehearsal
from orchestrator.rehearsal.driving import Ledgered, driven, must_agree
from orchestrator.rehearsal.sold import ASKED, DATA, TRACE, USUAL, Asked, expected
from orchestrator.weighing.meaning import MOST_TEXT
from routing.day.arrivals import Day, day_of
from routing.day.measuring import told
from routing.day.questions import Questions, Rows, questions_of
from routing.day.replaying import settings as settings_for
from routing.day.ways import Knowing, KnowingExactly, fixed, routed
from routing.predictor.types import Array
from routing.predictor.vectors import embedded_once, unit


def through_product(one: Rehearsal) -> dict[str, Any]:
    """What the product did, which is what was reckoned. Raises DayDiffers where it is not.

    The slider stands where it was chosen to before noon, for all of the strong model's quality, or as much of it as
    any setting kept.
    """
    source, clock = ASKED[one.name], DayClock()
    candidates = source.candidates(datetime.fromtimestamp(clock.now(), UTC))
    asked = questions_of(DATA / source.file, candidates, source.share, one.seed, expected)
    day = day_of(TRACE, asked, one.requests, one.repeats, one.feedback, one.seed)
    chosen = settings_for(day, asked, USUAL, keeps=True)
    share = next((share for share in chosen.values() if share is not None), USUAL.share)
    slider = USUAL._replace(share=share)
    rows = np.unique(day.row)
    meant = embedded_once([asked.texts[row] for row in rows], Path(one.vectors))
    run = routed(day, asked, slider, KnowingExactly(asked, _places(asked, rows, meant)), keeps=True)
    kept = {asked.texts[row][:MOST_TEXT]: vector.tobytes() for row, vector in zip(rows, meant, strict=True)}
    prepared(slider)
    found = asyncio.run(_driven(source, day, asked, kept, clock))
    must_agree(found, run, day, asked)
    packed = routed(day, asked, slider, Knowing(asked), keeps=True)
    strong = fixed(day, asked, np.full(len(day.at), asked.strong), keeps=False)
    return {
        "questions": one.name,
        "requests": one.requests,
        "repeats": one.repeats,
        "slider": share,
        "wanted": next((kept for kept, share in chosen.items() if share is not None), None),
        "by_table": told(packed, strong, day, asked),
        "afternoon": told(run, strong, day, asked),
        "packed_differs": int((packed.who != run.who).sum()),
        "per_s": round(len(day.at) / found.seconds),
    } | _proven(found, clock)


def _places(asked: Questions, rows: Rows, meant: Array) -> Array:
    """Where each question that is asked lies, as the product finds out."""
    places = asked.places.copy()
    for row, one in zip(rows.tolist(), meant, strict=True):
        places[row] = asked.priors.place(asked.texts[row], unit(one[None])[0])
    return places


async def _driven(source: Asked, day: Day, asked: Questions, vectors: Mapping[str, bytes], clock: DayClock) -> Ledgered:
    tokens = {day.request_id(place): day.usage(place) for place in range(len(day.at))}
    async with parts_for(source, tokens.__getitem__, vectors, asked.priors, clock) as parts:
        return await driven(day, asked, parts, clock)


def _proven(found: Ledgered, clock: DayClock) -> dict[str, Any]:
    """What the ledger spent and saved in the whole day, and how much of the latter is proven from its file."""
    first = clock.midnight.date()
    end = first + timedelta(days=2)  # the last request comes at midnight, which is the next day's
    proof = prove(Path(str(settings.DATABASES["default"]["NAME"])), first, end)
    if proof.differing:
        raise DayDiffers(f"savings verify: {proof.differences[0].words}")
    saved = sum(one.saved or 0 for one in found.done.values())
    if saved != proof.proven:
        raise DayDiffers(f"records claim to have saved {saved} millionths of a dollar, and {proof.proven} are proven")
    return {
        "spent_usd": sum(one.cost for one in found.done.values()) / 1_000_000,
        "saved_by_cache_usd": saved / 1_000_000,
        "proven_usd": proof.proven / 1_000_000,
    }
