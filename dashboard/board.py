"""The overview in parts: the page puts them together, the live connection sends those that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.template.loader import render_to_string
from django.urls import reverse

from dashboard import charts
from dashboard.costs.today_chart import money
from dashboard.marks import columns, marks
from dashboard.reading import NOTHING_BESIDE, Beside, Snapshot
from dashboard.running import Look, Pace
from dashboard.verdict import overview_verdict
from orchestrator.core.types import Model
from orchestrator.engines.llamacpp import LoadedModel
from orchestrator.ledger.stats import DAY, FROM_CACHE, Bucket
from orchestrator.processes import site

# Each is templates/dashboard/_NAME.html, with one root element of that id.
LIVE_PARTS = ("verdict", "health", "models")
OF_FIGURES = ("figures", "steps", "heat")
OF_WHAT_IS_BESIDE = ("money", "beside-providers")
FIGURE_NAMES = ("Requests", "Answered from cache", "Time to answer", "Errors", "Spent today", "Saved today")
MOST_PROVIDERS = 6
MOST_MODELS = 6
MINUTE_S = 60


class Peak(NamedTuple):
    """The most requests a minute, and when."""

    requests: float
    at: datetime


def board(snapshot: Snapshot | None, look: Look, beside: Beside | None = None) -> dict[str, Any]:
    """What the templates of the overview need. Without a snapshot the figures are unknown."""
    beside = beside or NOTHING_BESIDE
    records = reverse("dashboard:requests")
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
        "address": site(),
        "unknown_figures": FIGURE_NAMES,
        "verdict": overview_verdict(look, snapshot, records),
        "today": beside.today,
        "money": money(beside.today) if beside.today and beside.today.hours else None,
        "rows_of_providers": beside.providers.rows[:MOST_PROVIDERS] if beside.providers else (),
        "providers": beside.providers,
        "then": _then(snapshot),
        "before": beside.before,
    }
    if snapshot is not None:
        buckets = charts.whole_buckets(snapshot.figures)
        closed = [b for b in buckets if b.start.timestamp() + snapshot.figures.bucket_s <= snapshot.at.timestamp()]
        context |= {
            "figures": snapshot.figures,
            "clock_style": "both" if snapshot.period.length > DAY else "minute",
            "buckets": buckets,
            "steps": charts.steps(snapshot.figures),
            "heat": charts.heat(snapshot.figures),
            "marks": marks(snapshot.figures, beside.events),
            "columns": columns(snapshot.figures),
            "peak": _peak(closed, snapshot.figures.bucket_s),
            "sparks": {
                "requests": charts.spark([bucket.requests for bucket in closed]),
                "from_cache": charts.spark([_share_from_cache(bucket) for bucket in closed], from_zero=False),
                "took": charts.spark([bucket.latency.p95_us for bucket in closed]),
                "errors": charts.spark([bucket.errors for bucket in closed]),
            },
        }
    return context


def render_parts(snapshot: Snapshot | None, look: Look, beside: Beside | None = None) -> Mapping[str, str]:
    """Each live part as HTML that swaps itself in. Figures that could not be read stay as they stand."""
    context = board(snapshot, look, beside) | {"live": True}
    names = [*LIVE_PARTS, *(OF_FIGURES if snapshot else ()), *(OF_WHAT_IS_BESIDE if beside else ())]
    return {name: render_to_string(f"dashboard/_{name}.html", context) for name in names}


def _then(snapshot: Snapshot | None) -> str:
    """When the figures were that are compared with."""
    if snapshot is None or snapshot.period.length < DAY:
        return "yesterday"
    days = snapshot.period.length // DAY
    return "the day before" if days == 1 else f"the {days} days before"


def _peak(buckets: Sequence[Bucket], bucket_s: int) -> Peak | None:
    """The busiest minute of the period; of longer buckets, the busiest of these."""
    minutes: dict[datetime, float] = {}
    for bucket in buckets:
        begins = bucket.start.replace(second=0) if bucket_s < MINUTE_S else bucket.start
        minutes[begins] = minutes.get(begins, 0) + bucket.requests * min(1.0, MINUTE_S / bucket_s)
    at = max(minutes, key=lambda one: minutes[one], default=None)
    return None if at is None or not minutes[at] else Peak(minutes[at], at)


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
