"""Prices by genai-prices, a table of what providers charge that is installed with us. Nobody is asked for it.

Nothing of it is loaded before a price is looked for: that takes an eighth of a second and 25 MB, so not
on an event loop.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from importlib.metadata import version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orchestrator.core.addresses import is_public
from orchestrator.core.prices import Price, Rates

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

NAME = "genai-prices"
# What the table calls the kinds that are one provider's.
IDS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "openrouter": "openrouter",
    "groq": "groq",
    "together": "together",
    "mistral": "mistral",
    "deepseek": "deepseek",
}
RATES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
}
# What no question from here asks for. With any other price a model cannot be reckoned by the tokens that we know.
NEVER_ASKED = frozenset(
    {
        "audio_hours",
        "cache_audio_read_mtok",
        "code_executions_kcount",
        "input_audio_hours",
        "input_audio_mtok",
        "input_video_mtok",
        "output_audio_mtok",
        "social_searches_kcount",
        "storage_searches_kcount",
        "web_searches_kcount",
    }
)


# Models of OpenAI's that search with every question, and charge for that as well, of which the table says nothing.
_SEARCH = re.compile(r"-search-|deep-research")


def price_of(kind: str, address: str, model: str, at: datetime) -> Price | None:
    """What a model of a provider charges at a moment, and until when at most; None when the table does not know.

    kind, address  of the provider.    model  as the provider calls it.
    """
    from genai_prices.data_snapshot import get_snapshot

    providers = get_snapshot().providers
    vendor = _vendor(kind, address, providers)
    # Not by the snapshot's own way, which remembers every name that callers make up.
    found = vendor.find_model(model.lower().removeprefix("models/"), all_providers=providers) if vendor else None
    if found is None or vendor is None or (vendor.id == IDS["openai"] and _SEARCH.search(model.lower())):
        return None
    rates = list(_rates(found.get_prices(at)))
    if not rates or not any(one.input or one.output for one in rates):
        return None
    first = rates[0]
    return Price(
        input=first.input,
        output=first.output,
        cache_read=first.cache_read,
        cache_write=first.cache_write,
        cache_write_1h=first.cache_write_1h,
        longer=tuple(rates[1:]),
        source=f"{NAME} {version(NAME)}",
        until=min((edge.timestamp() for edge in _edges(found, at)), default=None),
    )


def load() -> None:
    """Load it, which only the first who looks for a price has to wait for."""
    from genai_prices.data_snapshot import get_snapshot

    get_snapshot()


def knows(address: str) -> bool:
    """Whether somebody sells at an address whom the table has: they charge, whatever they sell it for."""
    from genai_prices.data_snapshot import get_snapshot

    return _at(address, get_snapshot().providers) is not None


def _vendor(kind: str, address: str, providers: list[Provider]) -> Provider | None:
    """Who sells at an address, as far as the table has it.

    At a private one that is whoever the kind names: a proxy of one's own. At a public one that the table does not
    have it may be anybody, who takes what they like.
    """
    there = _at(address, providers)
    if there is not None or is_public(urlsplit(address).hostname or ""):
        return there
    return next((one for one in providers if one.id == IDS.get(kind)), None)


def _at(address: str, providers: list[Provider]) -> Provider | None:
    parts = urlsplit(address)
    usual = f"https://{(parts.hostname or '').lower()}{parts.path}"
    return next((one for one in providers if re.match(one.api_pattern, usual)), None)


def _rates(prices: ModelPrice) -> Iterator[Rates]:
    """Its rates, those of the shortest questions first; none where it charges by something else than these tokens."""
    told = {name for name, value in vars(prices).items() if value is not None}
    if told - NEVER_ASKED - set(RATES.values()) or prices.input_mtok is None:
        return
    by_name = {rate: getattr(prices, name) for rate, name in RATES.items()}
    starts = {tier.start for value in by_name.values() if _is_tiered(value) for tier in value.tiers}
    for start in sorted({0, *starts}):
        at_start = {rate: _rate(value, start) for rate, value in by_name.items()}
        yield Rates(
            above=start,
            input=at_start["input"] or Decimal(0),
            output=at_start["output"] or Decimal(0),  # vectors have none
            cache_read=at_start["cache_read"],
            cache_write=at_start["cache_write"],
            cache_write_1h=at_start["cache_write_1h"],
        )


def _rate(value: Decimal | TieredPrices | None, start: int) -> Decimal | None:
    if value is None or isinstance(value, Decimal):
        return value
    return next((tier.price for tier in reversed(value.tiers) if 0 < tier.start <= start), value.base)


def _is_tiered(value: object) -> bool:
    return hasattr(value, "tiers")


def _edges(model: ModelInfo, at: datetime) -> Iterator[datetime]:
    """When its price may be another after `at`: a day from which another holds, an hour that begins or ends."""
    from genai_prices.types import ModelPrice, StartDateConstraint, TimeOfDateConstraint

    if isinstance(model.prices, ModelPrice):
        return
    today = at.astimezone(UTC)
    for one in model.prices:
        match one.constraint:
            case StartDateConstraint(start_date=day):
                begins = datetime.combine(day, time(), UTC)
                if begins > at:
                    yield begins
            case TimeOfDateConstraint(start_time=start, end_time=end):
                for hour in (start, end):
                    edge = datetime.combine(today.date(), hour if hour.tzinfo else hour.replace(tzinfo=UTC))
                    while edge <= at:
                        edge += timedelta(days=1)
                    yield edge
            case _:
                pass
