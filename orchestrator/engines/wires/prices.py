"""Money as providers tell of it, in exact numbers: prices in lists of models, and what an answer cost.

What is odd is not known, which is never nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any

from orchestrator.core.prices import Price

MILLION = 1_000_000
MOST_A_MILLION = Decimal(100_000)  # dollars for a million tokens
MOST_AN_ANSWER = Decimal(100_000)  # dollars
# They add up floats: what stands behind so many digits of a millionth is not meant, and must not round it up.
_MEANT = Decimal("0.000001")


def price_in(entry: Mapping[str, object]) -> Price | None:
    """The price in an entry of a list of models; None where there is none, or none that can be read."""
    match entry.get("pricing"):
        case {"prompt": str(), "completion": str(), "request": str(fee)} if amount(fee, MOST_AN_ANSWER) != 0:
            return None  # each request costs as well, which tokens do not tell
        case {"prompt": str(asked), "completion": str(answered), **told}:  # OpenRouter: dollars a token, as text
            return _with_cache(_price(asked, answered, MILLION), told)
        case {"input": int() | float() as asked, "output": int() | float() as answered} if asked or answered:
            return _price(asked, answered, 1)  # Together: for a million; nothing at all where it does not say
    return None


def _price(asked: object, answered: object, factor: int) -> Price | None:
    prices = [amount(told, MOST_A_MILLION / factor) for told in (asked, answered)]
    if prices[0] is None or prices[1] is None:
        return None
    return Price(input=prices[0] * factor, output=prices[1] * factor)


def _with_cache(price: Price | None, told: Mapping[Any, object]) -> Price | None:
    """With what its own cache costs, where the list says so; nothing at all is what it says of those without one."""
    read, written = (amount(told.get(f"input_cache_{what}"), MOST_A_MILLION / MILLION) for what in ("read", "write"))
    return price and replace(
        price, cache_read=read * MILLION if read else None, cache_write=written * MILLION if written else None
    )


def microusd(dollars: object) -> int | None:
    """An amount that was charged, in millionths of a dollar, rounded up; None for what is none."""
    charged = amount(dollars, MOST_AN_ANSWER)
    if charged is None:
        return None
    return int((charged * MILLION).quantize(_MEANT).to_integral_value(ROUND_CEILING))


def amount(told: object, most: Decimal) -> Decimal | None:
    """A number as it was written, or as text; None for a negative or absurd one, and for what is no number.

    The shortest text that means a float is the one it was read from, up to 17 digits: nothing is lost on the way.
    """
    if isinstance(told, bool) or not isinstance(told, int | float | str):
        return None
    try:
        number = Decimal(str(told)[:64])
    except InvalidOperation:
        return None
    return number if number.is_finite() and 0 <= number <= most else None
