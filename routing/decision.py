"""What a decision depends on, and what it says: `routing.deciding` makes the one of the other.

Both can be kept as JSON, so that a recorded decision can be made again and explained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec

K = TypeVar("K")

Tier = Literal["small", "mid", "strong"]
BarWord = Literal["privacy", "context", "tools", "vision", "format", "budget", "price", "health", "forbidden", "other"]
HealthWord = Literal["well", "unknown", "slow", "failing", "down"]


@dataclass(frozen=True, slots=True)
class Bar:
    """A hard rule that excludes a model: a word, and the reason for people."""

    word: BarWord
    why: str


@dataclass(frozen=True, slots=True)
class CandidateView:
    """A model that could be asked, as far as the decision needs to know it.

    name           as clients write it; unique among the candidates.
    p_good         how likely its answer is good, 0 to 1.
    cost_micros    what the call is expected to cost, in millionths of a dollar; None: it has a price nobody knows.
    first_token_s  expected seconds until the first token; None: nobody knows.
    bars           hard rules that exclude it; empty when it may be asked.
    """

    name: str
    provider: str
    is_local: bool
    tier: Tier
    p_good: float
    cost_micros: int | None = 0
    first_token_s: float | None = None
    health: HealthWord = "unknown"
    bars: tuple[Bar, ...] = ()


@dataclass(frozen=True, slots=True)
class DecisionInputs:
    """All that a decision depends on.

    cost_weight     λ_cost: how much P(good) a dollar is worth. 10 means: 1 cent is worth 0.1.
    latency_weight  λ_latency: how much P(good) a second before the first token is worth.
    is_local_only   nothing may leave the machine: privacy.
    threshold       of the operator's slider, from `routing.scores`: the dear side is asked first where what it is
                    expected to gain reaches this. None: no slider, each by its own score.
    band            half-width of indifference: within it a local model is asked first, and what it says decides
                    whether the call goes on to the cloud. 0: never.
    explore_share   of the calls go to a model drawn at random among those that may be asked.
    explore_draw    two draws from [0, 1): whether this call is one of them, and which model it gets.
    """

    candidates: tuple[CandidateView, ...]
    cost_weight: float = 0.0
    latency_weight: float = 0.0
    is_local_only: bool = False
    threshold: float | None = None
    band: float = 0.0
    explore_share: float = 0.0
    explore_draw: tuple[float, float] = (1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a score: what it is, and what it adds."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Choice:
    """A candidate after the decision.

    place  0 for the one that is asked first, and so on; None: excluded.
    score  the sum of its parts; None: excluded.
    why    one sentence.
    """

    name: str
    place: int | None
    score: float | None
    parts: tuple[Part, ...]
    why: str
    bars: tuple[Bar, ...] = ()


@dataclass(frozen=True, slots=True)
class Cascade:
    """Ask `first`, look at what it says, and go on to `then` where it is unsure."""

    first: str
    then: str
    why: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The order, and how it came about.

    choices      every candidate: those to be asked in their order, then the excluded ones as they came.
    cheap_good   P(good) of the first of the cheap side by its score, which `Scores` keeps beside the gain; None: no
                 two sides.
    propensity   how likely the first was to be the first, over all draws; what learns from its outcome weighs by it.
    is_explored  whether chance put it there.
    gain         what the first of the dear side was expected to add, which `Scores` keeps; None: no two sides.
    """

    choices: tuple[Choice, ...]
    propensity: float
    is_explored: bool
    gain: float | None
    cheap_good: float | None
    cascade: Cascade | None
    why: str

    @property
    def names(self) -> tuple[str, ...]:
        """Those to be asked, in order; empty when a hard rule excludes each."""
        return tuple(choice.name for choice in self.choices if choice.place is not None)


def to_json(kept: DecisionInputs | Decision) -> bytes:
    """As JSON, every number as it is."""
    return msgspec.json.encode(kept)


def inputs_from_json(data: bytes) -> DecisionInputs:
    """What `to_json` wrote. Raises ValueError when it is nothing of the kind."""
    return _from_json(data, DecisionInputs)


def decision_from_json(data: bytes) -> Decision:
    """What `to_json` wrote. Raises ValueError when it is nothing of the kind."""
    return _from_json(data, Decision)


def _from_json(data: bytes, kind: type[K]) -> K:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise ValueError(f"this is no {kind.__name__}: {error}") from None
