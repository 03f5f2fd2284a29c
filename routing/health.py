"""Which places answer lately: a breaker, a load and a retry budget for each model of each provider."""

from __future__ import annotations

import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

from orchestrator.core.breaker import Breaker, Turn
from orchestrator.core.clock import Clock
from orchestrator.core.types import Balance, Candidate
from routing.balance import Load, order
from routing.retries import RetryBudget

log = logging.getLogger(__name__)

MOST_PLACES = 4096
FEW = 8  # of them are looked at for one to forget
FAILURES = 5.0  # more than were answered: a place that fails every other time stays in use where there is no better
FORGIVEN = 1.0
MEMORY_S = 60.0
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 30.0
LONGEST_REST_S = 60.0  # whatever Retry-After says
SHORTEST_REST_S = 1.0
SHORTEST_TOLD_S = 3.0  # a rest that is shorter is over before anybody has read of it


@dataclass(frozen=True, slots=True)
class Open:
    """A place that is not asked at the moment."""

    provider: str
    model: str
    opened_at: float  # seconds since the epoch
    why: str
    until: float | None = None  # it asked for a pause until then; None: its breaker is open


class Planned(Protocol):
    """What would be asked of a place."""

    @property
    def candidate(self) -> Candidate:
        """The place."""

    @property
    def unsupported(self) -> tuple[str, ...]:
        """What it cannot do of what was asked."""


P = TypeVar("P", bound=Planned)


class Place:
    """One model of one provider, as this process knows it."""

    def __init__(self, clock: Clock, provider: str, model: str) -> None:
        self._clock = clock
        self.provider = provider
        self.model = model
        self.breaker = _breaker(clock)
        self.load = Load(clock)
        self.budget = RetryBudget()
        self.why = ""  # what went wrong last, in its own words: for operators, since they may be about a question
        self.kind = ""  # and in a word, for anybody
        self.opened_at = 0.0  # seconds since the epoch
        self.answered_at = float("-inf")  # monotonic
        self._rests_until = self._rests_since = 0.0

    @property
    def waits_s(self) -> float:
        """Seconds until it may be asked: its breaker is open, or it said when to come again."""
        return max(self._rests_until - self._clock.monotonic(), self.breaker.retry_in_s, 0.0)

    @property
    def rests(self) -> bool:
        """Whether it asked for a pause that is not over."""
        return self._rests_until > self._clock.monotonic()

    def rest(self, seconds: float | None, why: str, kind: str = "") -> None:
        """It wants fewer questions, and said after how many seconds to come again, or did not."""
        pause_s = SHORTEST_REST_S if seconds is None else min(max(seconds, SHORTEST_REST_S), LONGEST_REST_S)
        now = self._clock.monotonic()
        if not self.rests:
            self._rests_since = now
        self._rests_until = max(self._rests_until, now + pause_s)
        self.why, self.kind = why, kind

    def shut(self) -> Open | None:
        """That it is not asked at the moment, and why; None while it is."""
        if self.breaker.is_open:
            return Open(self.provider, self.model, self.opened_at, self.why)
        if not self.rests or self._rests_until - self._rests_since < SHORTEST_TOLD_S:
            return None
        to_epoch = self._clock.now() - self._clock.monotonic()
        since, until = round(self._rests_since + to_epoch), round(self._rests_until + to_epoch)  # the same at each look
        return Open(self.provider, self.model, since, self.why, until)

    def answered(self, turn: Turn, breaker: Breaker | None = None) -> None:
        """It did what was asked of it.

        breaker  the one that gave the turn: when that was put aside meanwhile, the answer says nothing of now.
        """
        self.answered_at = self._clock.monotonic()
        if breaker is not None and breaker is not self.breaker:
            return
        open_s = self.breaker.succeeded(turn)
        if open_s is not None:
            log.warning("%s is asked again, after %.0f s", self.model, open_s)

    def failed(self, turn: Turn, why: str, kind: str = "", breaker: Breaker | None = None) -> None:
        """It did not, or too slowly. `breaker` as for `answered`."""
        if breaker is not None and breaker is not self.breaker:
            return
        self.why, self.kind = why, kind
        if self.breaker.failed(turn):
            self.opened_at = self._clock.now()
            log.warning("%s is not asked for a while: %s", self.model, why)

    def reset(self) -> None:
        """Forget what went wrong: somebody said that it is well again."""
        if self.breaker.is_open:
            log.warning("%s is asked again, since an operator said so", self.model)
        self.breaker = _breaker(self._clock)
        self._rests_until = 0.0


def _breaker(clock: Clock) -> Breaker:
    return Breaker(
        clock,
        LONGEST_PAUSE_S,
        first_pause_s=FIRST_PAUSE_S,
        failures=FAILURES,
        forgiven=FORGIVEN,
        memory_s=MEMORY_S,
    )


class Health:
    """All places that this process has asked, the newest some thousands of them."""

    def __init__(self, clock: Clock, rng: random.Random | None = None) -> None:
        self._clock = clock
        self.rng = rng or random.Random()  # noqa: S311  # for balancing
        self._places: OrderedDict[tuple[str, str], Place] = OrderedDict()
        self._calls: dict[str, int] = {}  # under way, by provider
        self._give_way: dict[str, list[Callable[[], object]]] = {}  # what ends those of them that nobody waits for
        self.most_calls: Mapping[str, int] = {}  # at once, by provider; one that is not here has no limit
        self.slow_after_s: Mapping[str, float] = {}  # a first piece later than this counts as a failure
        self.down: frozenset[str] = frozenset()  # providers that did not answer when they were looked at

    def place(self, candidate: Candidate) -> Place:
        """What is known of where `candidate` runs."""
        model = candidate.model
        key = (model.engine, model.name)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = Place(self._clock, *key)
            if len(self._places) > MOST_PLACES:
                self._forget_one()
        self._places.move_to_end(key)
        return place

    def known(self, candidate: Candidate) -> Place | None:
        """What is known of where it runs; None where nobody asked it."""
        return self._places.get((candidate.model.engine, candidate.model.name))

    def in_order(self, plans: Sequence[P], balance: Balance) -> list[P]:
        """`plans` in the order they are asked: by rank, then those that leave out least, then as `balance` says.

        Places of a provider that was found down come after the model's others, and before any other model.
        """
        if len(plans) < 2:
            return list(plans)
        ranked: dict[tuple[bool, bool, int, int], list[P]] = {}
        for plan in plans:
            is_other = plan.candidate.stands_for != plans[0].candidate.stands_for
            key = (is_other, self.is_down(plan.candidate), plan.candidate.rank, len(plan.unsupported))
            ranked.setdefault(key, []).append(plan)
        in_order: list[P] = []
        for rank in sorted(ranked):
            equals = {id(plan.candidate): plan for plan in ranked[rank]}
            ordered = order([plan.candidate for plan in ranked[rank]], balance, self._load, self.rng)
            in_order += [equals[id(candidate)] for candidate in ordered]
        return in_order

    def is_down(self, candidate: Candidate) -> bool:
        """Whether its provider was found down and nothing speaks against it: an answer of late does."""
        if candidate.model.engine not in self.down:
            return False
        place = self.known(candidate)
        return place is None or self._clock.monotonic() - place.answered_at > MEMORY_S

    def _load(self, candidate: Candidate) -> Load:
        return self.place(candidate).load

    def is_full(self, provider: str) -> bool:
        """Whether as many calls of `provider` are under way as may be."""
        return self._calls.get(provider, 0) >= self.most_calls.get(provider, 1 << 30)

    def has_room(self, provider: str) -> bool:
        """Whether a caller's question may be asked of `provider`: a call that nobody waits for is ended for it."""
        if not self.is_full(provider):
            return True
        beside = self._give_way.get(provider)
        if not beside:
            return False
        beside.pop()()
        return True

    @contextmanager
    def beside(self, place: Place, give_way: Callable[[], object]) -> Iterator[None]:
        """A call that nobody waits for, within this: `give_way` ends it."""
        beside = self._give_way.setdefault(place.provider, [])
        beside.append(give_way)
        self.began(place)
        try:
            yield
        finally:
            self.ended(place)
            if give_way in beside:
                beside.remove(give_way)

    def began(self, place: Place) -> None:
        """A call is under way."""
        place.load.waiting += 1
        self._calls[place.provider] = self._calls.get(place.provider, 0) + 1

    def ended(self, place: Place) -> None:
        """It is over."""
        place.load.waiting -= 1
        self._calls[place.provider] -= 1

    def is_slow(self, provider: str, first_s: float) -> bool:
        """Whether a first piece after `first_s` seconds is late."""
        return first_s > self.slow_after_s.get(provider, float("inf"))

    def reset(self, provider: str) -> None:
        """Ask every model of `provider` again."""
        for place in self._places.values():
            if place.provider == provider:
                place.reset()

    def open(self) -> list[Open]:
        """The places that are not asked at the moment."""
        return [one for place in self._places.values() if (one := place.shut())]

    def calls(self) -> Iterator[tuple[str, int]]:
        """How many calls of each provider are under way."""
        yield from self._calls.items()

    def _forget_one(self) -> None:
        """Of a few of the oldest the first of which nothing is known, else the first; none that is being asked.

        Callers make up names, so this takes no longer however many are known. Who is passed over counts as new.
        """
        idle = None
        for key, place in list(islice(self._places.items(), FEW)):
            if not place.load.waiting:
                if place.breaker.is_quiet:
                    del self._places[key]
                    return
                idle = idle or key
            self._places.move_to_end(key)
        if idle:
            del self._places[idle]
