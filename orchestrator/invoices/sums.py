"""What is added up on either side, and how far the two may be apart and still be the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

COST = "cost_usd"
COUNTS = ("requests", "prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens")
FIGURES = (COST, *COUNTS)
MICRO = Decimal("0.000001")  # a dollar's millionth: what is charged here is rounded up to it, call by call
KINDS_OF_TOKENS = ("fresh", "cached", "written", "answered")


@dataclass(slots=True)
class Sums:
    """Of some lines there, or some calls here.

    entries    lines there, calls here
    estimated  of the calls: not all tokens were counted by who had them
    unpriced   of the calls: nobody knows what they cost, and they are in no cost
    names      of the models, as they stand there or here
    told       of lines: the figures that stand there
    untold     of lines: the figures that do not stand in all of them
    """

    cost_usd: Decimal = Decimal(0)
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    entries: int = 0
    estimated: int = 0
    unpriced: int = 0
    names: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    untold: set[str] = field(default_factory=set)

    def add(self, other: Sums) -> None:
        """Add what another has."""
        self.cost_usd += other.cost_usd
        self.requests += other.requests
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.cached_tokens += other.cached_tokens
        self.cache_write_tokens += other.cache_write_tokens
        self.entries += other.entries
        self.estimated += other.estimated
        self.unpriced += other.unpriced
        self.names |= other.names
        self.told |= other.told
        self.untold |= other.untold

    @property
    def kinds_of_tokens(self) -> int:
        """For how many kinds of tokens a provider may have a line."""
        fresh = self.prompt_tokens - self.cached_tokens - self.cache_write_tokens
        return sum(count > 0 for count in (fresh, self.cached_tokens, self.cache_write_tokens, self.completion_tokens))


class Room(NamedTuple):
    """How far the cost there may be from the cost here, in dollars: below it, and above."""

    below: Decimal
    above: Decimal

    def __add__(self, other: object) -> Room:
        assert isinstance(other, Room)
        return Room(self.below + other.below, self.above + other.above)


def room(theirs: Sums, ours: Sums, rounded: Decimal) -> Room:
    """Here each call's cost is rounded up to a millionth; there each line's by `rounded`, and a line may be left out
    that was rounded to nothing."""
    lines = max(theirs.entries, ours.kinds_of_tokens)
    return Room((ours.entries - ours.unpriced) * MICRO + lines * rounded, lines * rounded)


class Figure(NamedTuple):
    """One figure on both sides."""

    name: str
    theirs: Decimal
    ours: Decimal
    room: Room

    @property
    def difference(self) -> Decimal:
        """What they have more."""
        return self.theirs - self.ours

    @property
    def is_same(self) -> bool:
        """Whether they are as near as they must be."""
        return -self.room.below <= self.difference <= self.room.above


EXACT = Room(Decimal(0), Decimal(0))


def figures(theirs: Sums, ours: Sums, names: Iterable[str], rounded: Decimal) -> tuple[Figure, ...]:
    """Some of them side by side."""
    within = room(theirs, ours, rounded)
    return tuple(
        Figure(name, Decimal(getattr(theirs, name)), Decimal(getattr(ours, name)), within if name == COST else EXACT)
        for name in names
    )


def comparable(theirs: Sums, told: tuple[str, ...]) -> tuple[str, ...]:
    """Of the figures that an account tells those that some of its lines can be compared by: those that each has.

    Lines that have none in common say one thing together: all that any of them has. Without a line it is all of `told`.
    """
    names = (theirs.told - theirs.untold) or theirs.told or set(told)
    return tuple(name for name in told if name in names)
