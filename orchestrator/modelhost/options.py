"""The options of one answer: the built-in defaults, the model's own, the caller's, each over the one before."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

MOST_STOPS, LONGEST_STOP = 64, 256  # strings, characters
LARGEST_CONTEXT = 2**24  # tokens; the model's own limit applies besides
RANDOM_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to answer. The names and defaults are Ollama's; an option that is not here changes nothing."""

    num_predict: int = -1  # tokens; 0 and negative: until it ends by itself
    temperature: float = 0.8  # 0: always the likeliest token
    top_k: int = 40  # 0: all
    top_p: float = 0.9
    min_p: float = 0.0
    typical_p: float = 1.0
    repeat_last_n: int = 64  # tokens; 0: none, -1: all that are in view
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = RANDOM_SEED  # 32 bits; all set, as in -1: another one each time
    num_ctx: int = 0  # tokens; 0: as the model was loaded
    num_batch: int = 512  # tokens of a prompt that are taken in one step
    num_keep: int = 4  # tokens at the start that stay when the context is shifted
    stop: tuple[str, ...] = ()

    @classmethod
    def resolve(cls, *layers: Mapping[str, Any]) -> Options:
        """Lay the options of each layer over those before it.

        A number out of range is brought to the nearest sensible one. Null counts as unset, and so does
        what is of the wrong type: a caller's options were checked where they came in, so that is a slip
        of the model's author, which must not cost the caller the answer. Of stop strings those are
        taken that are not too long, up to `MOST_STOPS`.
        """
        chosen: dict[str, Any] = {}
        for layer in layers:
            chosen |= read_options(layer)
        return cls(**chosen)

    def sampler_seed(self) -> int:
        """The seed as 32 bits, drawn afresh when none was set."""
        seed = self.seed
        while seed == RANDOM_SEED:
            seed = int.from_bytes(os.urandom(4))
        return seed


def read_options(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that are known, set and of use, each within its range; see `Options.resolve`."""
    read = {name: _READERS[name](value) for name, value in layer.items() if name in _READERS}
    return {name: value for name, value in read.items() if value is not None}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # and not NaN


def _integer(least: int, most: int) -> Callable[[Any], int | None]:
    return lambda value: int(min(max(value, least), most)) if _is_number(value) else None


def _number(least: float, most: float) -> Callable[[Any], float | None]:
    return lambda value: float(min(max(value, least), most)) if _is_number(value) else None


def _seed(value: Any) -> int | None:
    return int(value) & RANDOM_SEED if _is_number(value) and abs(value) != math.inf else None


def _strings(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, list | tuple):
        return None
    fit = (item for item in value if isinstance(item, str) and 0 < len(item) <= LONGEST_STOP)
    return tuple(dict.fromkeys(fit))[:MOST_STOPS]


_READERS: dict[str, Callable[[Any], Any]] = {
    "num_predict": _integer(-1, 2**31 - 1),
    "temperature": _number(0.0, 1e4),
    "top_k": _integer(0, 2**31 - 1),
    "top_p": _number(0.0, 1.0),
    "min_p": _number(0.0, 1.0),
    "typical_p": _number(0.0, 1.0),
    "repeat_last_n": _integer(-1, LARGEST_CONTEXT),
    "repeat_penalty": _number(1e-2, 1e2),
    "presence_penalty": _number(-1e2, 1e2),
    "frequency_penalty": _number(-1e2, 1e2),
    "seed": _seed,
    "num_ctx": _integer(4, LARGEST_CONTEXT),
    "num_batch": _integer(1, 512),
    "num_keep": _integer(-1, LARGEST_CONTEXT),
    "stop": _strings,
}
NAMES = frozenset(_READERS)
assert {field.name for field in fields(Options)} == NAMES  # every option is read, once
