"""Where a model starts from, before anything was seen of it: an ability on the scale of the priors.

0 is what models of 7 to 9 billion parameters can do, 1 those of 50 to 70, 2 the best of large providers. Between and
beyond them it goes by the logarithm of the size, and where no size is known by the price, and at last by the name.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from routing.decision import Tier

LEAST, MOST = -1.5, 2.2
_SMALL_B, _MID_B = 8.0, 60.0  # billions of parameters at 0 and 1
_CHEAP, _DEAR = 0.1, 10.0  # dollars for a million tokens written, at 0 and 2
_SIZE = re.compile(r"(?<![a-z0-9.])(?:(\d{1,3})x)?(\d{1,4}(?:\.\d{1,2})?)([bm])(?![a-z0-9])")
_WEAKER = ("nano", "tiny", "lite", "-8b", "haiku", "flash", "mini", "small")
_STRONG = (
    "gpt-4",
    "gpt4",
    "gpt-5",
    "gpt5",
    "o1",
    "o3",
    "o4",
    "opus",
    "sonnet",
    "gemini",
    "grok",
    "claude",
    "deepseek-r",
    "deepseek-v",
)
_MID = ("mixtral", "gpt-3.5", "command-r", "mistral-large", "mistral-medium", "qwen-max")


@dataclass(frozen=True, slots=True)
class Standing:
    """An ability, the tier it is in, and the sentence that says where it was read."""

    ability: float
    tier: Tier
    because: str


def tier_of(ability: float) -> Tier:
    """The tier that `ability` is in."""
    if ability < 0.5:
        return "small"
    return "mid" if ability < 1.5 else "strong"


def standing_of(
    name: str, *, parameters: float | None = None, usd_per_million: float | None = None, is_local: bool = False
) -> Standing:
    """What to expect of a model that has not answered yet.

    name             as clients write it; a size in it counts as one ("llama3.1:70b", "8x7b").
    parameters       how many it has, where that is known.
    usd_per_million  its price for a million tokens written.
    """
    lower = name.lower()
    size_b = parameters / 1e9 if parameters else _size_in(lower)
    if size_b:
        ability = math.log(size_b / _SMALL_B) / math.log(_MID_B / _SMALL_B)
        # A dense model of that size; mixtures of experts and older ones come out a little too high.
        return _standing(ability, f"it has about {size_b:g} billion parameters")
    weaker = next((word for word in _WEAKER if word in lower), None)
    if strong := next((word for word in _STRONG if word in lower), None):
        if weaker:
            return _standing(1.3, f"it is a {weaker} one of {strong}")
        return _standing(2.0, f"{strong} is in its name")
    if middle := next((word for word in _MID if word in lower), None):
        return _standing(1.0, f"{middle} is in its name")
    if usd_per_million:
        share = math.log(usd_per_million / _CHEAP) / math.log(_DEAR / _CHEAP)
        return _standing(2 * min(1.0, max(0.0, share)), f"a million tokens of it cost {usd_per_million:g} dollars")
    if is_local:
        return _standing(0.0, "it is local, and its size is not known")
    return _standing(1.0, "nothing is known of it")


def _size_in(lower: str) -> float | None:
    found = [
        float(experts or 1) * float(number) / (1 if unit == "b" else 1000)
        for experts, number, unit in _SIZE.findall(lower.replace("_", "-"))
    ]
    return max(found, default=None) or None


def _standing(ability: float, because: str) -> Standing:
    held = min(MOST, max(LEAST, ability))
    return Standing(held, tier_of(held), because)
