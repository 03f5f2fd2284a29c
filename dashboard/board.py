"""The overview in parts: the page puts them together, the live connection sends those that changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string
from django.urls import reverse

from dashboard import charts
from dashboard.reading import Snapshot
from dashboard.running import Look, Pace
from dashboard.verdict import overview_verdict
from orchestrator.core.types import Model
from orchestrator.engines.llamacpp import LoadedModel
from orchestrator.ledger.stats import FROM_CACHE, Bucket

# Each is templates/dashboard/_NAME.html, with one root element of that id.
LIVE_PARTS = ("verdict", "health", "models")
OF_FIGURES = ("figures", "steps", "heat", "answering")
FIGURE_NAMES = (
    "Requests",
    "Answered from cache",
    "Time to answer",
    "First piece",
    "Errors",
    "Tokens written",
)


def board(snapshot: Snapshot | None, look: Look) -> dict[str, Any]:
    """What the templates of the overview need. Without a snapshot the figures are unknown."""
    records = reverse("admin:orchestrator_requestrecord_changelist") if look.is_whole else ""  # shows every tenant's
    context: dict[str, Any] = {
        "snapshot": snapshot,
        "health": look.health,
        "unwell": [part for part in look.health or () if part.state != "ok"],
        "well": sum(part.state == "ok" for part in look.health or ()),
        "models": _models(look),
        "memory_used": sum(loaded.size for loaded in look.loaded or ()),
        "memory_limit": settings.MODEL_MEMORY or None,
        "records": records,
        "is_whole": look.is_whole,
        "address": f"http://{settings.ADDRESS}",
        "unknown_figures": FIGURE_NAMES,
        "verdict": overview_verdict(look, snapshot, records),
    }
    if snapshot is not None:
        buckets = charts.whole_buckets(snapshot.figures)
        closed = [b for b in buckets if b.start.timestamp() + snapshot.figures.bucket_s <= snapshot.at.timestamp()]
        context |= {
            "figures": snapshot.figures,
            "buckets": buckets,
            "steps": charts.steps(snapshot.figures),
            "heat": charts.heat(snapshot.figures),
            "sparks": {
                "requests": charts.spark([bucket.requests for bucket in closed]),
                "from_cache": charts.spark([_share_from_cache(bucket) for bucket in closed], from_zero=False),
                "took": charts.spark([bucket.latency.p95_us for bucket in closed]),
                "first": charts.spark([bucket.first.p95_us for bucket in closed]),
                "errors": charts.spark([bucket.errors for bucket in closed]),
                "tokens": charts.spark([bucket.completion_tokens for bucket in closed]),
            },
        }
    return context


def render_parts(snapshot: Snapshot | None, look: Look) -> Mapping[str, str]:
    """Each live part as HTML that swaps itself in. Figures that could not be read stay as they stand."""
    context = board(snapshot, look) | {"live": True}
    names = (*LIVE_PARTS, *OF_FIGURES) if snapshot else LIVE_PARTS
    return {name: render_to_string(f"dashboard/_{name}.html", context) for name in names}


def _share_from_cache(bucket: Bucket) -> float | None:
    hits = sum(bucket.by_tier.get(tier, 0) for tier in (*FROM_CACHE, "collapsed"))
    asked = hits + bucket.by_tier.get("miss", 0)
    return hits / asked if asked else None


def _models(look: Look) -> list[dict[str, Any]] | None:
    """Loaded models first, then those that are only installed; None when nobody knows."""
    loaded, installed = look.loaded, look.installed
    if loaded is None and installed is None:
        return None
    rows = [_loaded(one, look.paces.get(one.model.name)) for one in loaded or ()]
    names = {row["name"] for row in rows}
    state = ("unknown", "unknown") if loaded is None else ("off", "not loaded")
    return rows + [_installed(model, *state) for model in installed or () if model.name not in names]


def _loaded(one: LoadedModel, last: Pace | None) -> dict[str, Any]:
    words = "ready" if one.busy < one.slots else "busy"
    return {
        "name": one.model.name,
        "state": "ok",
        "words": f"{words}, {one.waiting} waiting" if one.waiting else words,
        "is_loaded": True,
        "busy": one.busy,
        "slots": one.slots,
        "tokens_per_s": one.tokens_per_s,
        "last_pace": last,
        "size": one.size,
        "unloads_at": None if one.expires_at is None else datetime.fromtimestamp(one.expires_at, UTC),
    }


def _installed(model: Model, state: str, words: str) -> dict[str, Any]:
    return {"name": model.name, "state": state, "words": words, "is_loaded": False}
