"""What is charged for beside tokens, or changes what tokens cost: the price of a model says nothing of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TIER = "service_tier"
USUAL_TIERS = frozenset({"", "auto", "default", "standard", "standard_only", "on_demand"})
# Fields that some provider takes with a question, each for something with a price of its own.
ASKED = frozenset(
    {
        *("audio", "cachedContent", "container", "enable_search", "inference_geo", "mcp_servers", "modalities", "n"),
        *("plugins", "processing", "search_parameters", "server_tools", "speed", "tools", "web_search"),
        "web_search_options",
    }
)
LONGEST_TIER = 32


def _plain(name: str) -> str:
    """Gemini takes `service_tier` and `serviceTier`, as JSON of protocol buffers does."""
    return name.replace("_", "").lower()


_ASKED = {_plain(name): name for name in (*ASKED, TIER)}


def asked_in(body: Mapping[str, Any]) -> tuple[str, ...]:
    """What of it is asked for with every question."""
    asked = {_ASKED.get(_plain(name), ""): value for name, value in body.items()}
    if str(asked.get(TIER) or "").lower() in USUAL_TIERS:
        asked.pop(TIER, None)
    return tuple(sorted(asked.keys() - {""}))


def told_in(tier: object, searches: object = 0) -> tuple[str, ...]:
    """What of it an answer tells: another tier than the usual, searches in the web."""
    extras = (f"{TIER} {tier[:LONGEST_TIER]}",) if isinstance(tier, str) and tier.lower() not in USUAL_TIERS else ()
    return (*extras, "web search") if searches else extras
