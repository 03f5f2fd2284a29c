"""What models charge: by the million tokens, with the rates of long questions and of a provider's own cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Protocol


class Counts(Protocol):
    """The tokens of a call. Those read from and written to the provider's cache are among the question's."""

    @property
    def prompt_tokens(self) -> int: ...
    @property
    def completion_tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def cache_write_tokens(self) -> int: ...
    @property
    def cache_write_1h_tokens(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """US dollars for a million tokens: millionths of a dollar for one.

    above  these hold for questions of more tokens than that, for all of their tokens.
    """

    above: int = 0
    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None  # None: as `input`
    cache_write: Decimal | None = None  # None: as `input`
    cache_write_1h: Decimal | None = None  # kept for an hour; None: as `cache_write`

    def exactly(self, counts: Counts) -> Decimal:
        """What these tokens cost, in millionths of a dollar."""
        read, written, for_an_hour = counts.cached_tokens, counts.cache_write_tokens, counts.cache_write_1h_tokens
        written = max(written - for_an_hour, 0)
        fresh = max(counts.prompt_tokens - read - written - for_an_hour, 0)
        once = self.input if self.cache_write is None else self.cache_write
        return (
            self.input * fresh
            + (self.input if self.cache_read is None else self.cache_read) * read
            + once * written
            + (once if self.cache_write_1h is None else self.cache_write_1h) * for_an_hour
            + self.output * counts.completion_tokens
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a model charges.

    longer  the rates of long questions, by rising `above`.
    source  who says so: an operator, the provider's list, a table with its edition.
    number  of the row it is kept under for good; None: it has none.
    until   seconds since the epoch when it may be another; None: nobody knows of an end.
    """

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    longer: tuple[Rates, ...] = ()
    source: str = ""
    number: int | None = None
    until: float | None = None

    @property
    def rates(self) -> Iterator[Rates]:
        """All there are, those of the shortest questions first."""
        yield Rates(
            input=self.input,
            output=self.output,
            cache_read=self.cache_read,
            cache_write=self.cache_write,
            cache_write_1h=self.cache_write_1h,
        )
        yield from self.longer

    def of(self, counts: Counts) -> int:
        """What a call with these tokens costs, in millionths of a dollar, rounded up."""
        rates = [rates for rates in self.rates if not rates.above or counts.prompt_tokens > rates.above]
        return _up(rates[-1].exactly(counts))

    def most(self, prompt_tokens: int, completion_tokens: int) -> int:
        """What a call may cost at most that has no more tokens than these, whatever of it is cached."""
        costs = [
            max(rate for rate in (rates.input, rates.cache_write, rates.cache_write_1h) if rate is not None)
            * prompt_tokens
            + rates.output * completion_tokens
            for rates in self.rates
            if prompt_tokens > rates.above or not rates.above
        ]
        return _up(max(costs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What an operator says that a model charges.

    since  seconds since the epoch from which it holds.    price  None: no longer what an operator says.
    """

    provider: str
    model: str  # as the provider calls it
    since: float
    price: Price | None


def plain(price: Decimal) -> str:
    """A price as it is written: without an exponent, and without noughts at its end."""
    return format(price.normalize(), "f")


def _up(exact: Decimal) -> int:
    return int(exact.to_integral_value(ROUND_CEILING))
