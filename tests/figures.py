"""Filling and reading a page of metrics."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.core.types import ChatRequest, Usage

Figures = dict[str, Metric]


def parse(page: str) -> Figures:
    """The families of a page in the text format, by name."""
    return {family.name: family for family in text_string_to_metric_families(page)}


def value(figures: Figures, name: str, **labels: str) -> float | None:
    """The sum of the samples called `orchestrator_{name}` that have these labels; None without any."""
    found = [
        sample.value
        for family in figures.values()
        for sample in family.samples
        if sample.name == f"orchestrator_{name}" and labels.items() <= sample.labels.items()
    ]
    return sum(found) if found else None


def answered(**fields: Any) -> SimpleNamespace:
    """A request that came to its end: a miss of 0.5 s, a fifth of it before the first piece."""
    plain = {
        "request": ChatRequest(model="as typed", dialect="ollama"),
        "model": "tiny:latest",
        "tier": "miss",
        "outcome": "done",
        "usage": Usage(prompt_tokens=7, completion_tokens=2),
        "first_s": 0.1,
        "total_s": 0.5,
        "laps": {"route": 0.01, "cache": 0.02},
        "cost_microusd": 0,
        "saved": None,
        "provider": "llamacpp",
        "attempts": (),
        "engine_first_s": 0.1,
    }
    return SimpleNamespace(**plain | fields)
