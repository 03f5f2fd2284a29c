"""How sure a model was of what it said: from the likelihood of its tokens, and from what its text looks like."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

WEIGHT = 1.0  # of one standard deviation of a model's usual likelihood, in log-odds
MOST_SHIFT = 3.0  # log-odds that likelihood alone may add or take
USUAL, SPREAD, WORTH = (
    -0.5,
    0.4,
    20.0,
)  # where a model starts: mean and spread of log-probability, as of so many answers
SLOWEST = 0.02  # share of a new answer, however many were seen
MOST_KEPT = 4000  # models, each with each tenant
LEAST_SPREAD = 0.05
REFUSED = -2.0  # log-odds
BROKEN = -4.0
READ = 2000  # characters that are looked at
_CANNOT = "can ?not|can['’]t|am unable|do not have|don['’]t have|don['’]t know|do not know"
_SORRY = "i['’]?m sorry|i am sorry|sorry,|i apologi[sz]e|unfortunately, i"
_ELSEWHERE = "es tut mir leid|leider kann ich|je suis désolé|lo siento"
_REFUSAL = re.compile(rf"^\W{{0,3}}(?:{_SORRY}|as an ai\b|i (?:{_CANNOT})|{_ELSEWHERE})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of an answer, whole or as far as it came.

    logprobs  the natural logarithm of how likely each token was; none where the engine does not tell.
    is_whole  the model came to its end.    has_called  it calls functions: no words are needed with that.
    """

    text: str
    logprobs: Sequence[float] = ()
    is_whole: bool = False
    has_called: bool = False


@dataclass(frozen=True, slots=True)
class Sign:
    """Something that speaks for or against an answer, in log-odds. `because` is kept: it has no word of the answer."""

    name: str
    shift: float
    because: str


@dataclass(frozen=True, slots=True)
class Confidence:
    """How likely the answer is good, now that it was seen, and why."""

    before: float
    after: float
    signs: tuple[Sign, ...]

    def __str__(self) -> str:
        said = ", ".join(sign.because for sign in self.signs) or "nothing speaks against it"
        return f"{self.before:.2f} before, {self.after:.2f} after: {said}"


class Usual:
    """How likely the tokens with which each model begins usually are: models differ more than their answers do.

    Each tenant's questions by themselves, since one asks harder ones than another.
    """

    def __init__(self) -> None:
        # Mean, variance, answers; what was seen last comes last.
        self._known: OrderedDict[tuple[int, str], tuple[float, float, float]] = OrderedDict()

    def of(self, tenant: int, model: str) -> tuple[float, float]:
        """Mean and spread of the mean log-probability of an answer's beginning."""
        mean, variance, _ = self._known.get((tenant, model), (USUAL, SPREAD**2, WORTH))
        return mean, max(math.sqrt(variance), LEAST_SPREAD)

    def saw(self, tenant: int, model: str, logprobs: Sequence[float]) -> None:
        """The beginning of an answer more."""
        if not logprobs:
            return
        mean, variance, count = self._known.pop((tenant, model), (USUAL, SPREAD**2, WORTH))
        share = max(1 / (count + 1), SLOWEST)
        off = mean_of(logprobs) - mean
        self._known[tenant, model] = (mean + share * off, (1 - share) * (variance + share * off * off), count + 1)
        if len(self._known) > MOST_KEPT:
            self._known.popitem(last=False)


def confidence(before: float, seen: Seen, usual: tuple[float, float]) -> Confidence:
    """How likely an answer is good.

    before  how likely that was before it was made, 0 to 1.    usual  of `Usual`.
    """
    signs = (*_likelihood(seen, usual), *_looks(seen))
    odds = _log_odds(before) + math.fsum(sign.shift for sign in signs)
    return Confidence(before, 1 / (1 + math.exp(-odds)), signs)


def mean_of(logprobs: Sequence[float]) -> float:
    """Of what an engine may say: no number below −20 counts for more than that."""
    return math.fsum(max(one, -20.0) for one in logprobs) / len(logprobs)


def _likelihood(seen: Seen, usual: tuple[float, float]) -> list[Sign]:
    if not seen.logprobs:
        return []
    mean, (usually, spread) = mean_of(seen.logprobs), usual
    shift = max(-MOST_SHIFT, min(MOST_SHIFT, WEIGHT * (mean - usually) / spread))
    word = "surer" if shift >= 0 else "less sure"
    because = f"{word} of its words than usual ({math.exp(mean):.2f} a token, {math.exp(usually):.2f} usually)"
    return [Sign("likelihood", shift, because)]


def _looks(seen: Seen) -> list[Sign]:
    text = seen.text[:READ].strip()
    if seen.is_whole and not text and not seen.has_called:
        return [Sign("empty", BROKEN, "it says nothing")]
    signs = []
    if _REFUSAL.match(text):
        signs.append(Sign("refusal", REFUSED, "it says that it cannot"))
    if again := _repeated(text):
        signs.append(Sign("repetition", BROKEN, f"it says the same {again} words over and over"))
    return signs


def _repeated(text: str) -> int:
    """How many words the end of a text says four times in a row, going round in circles; 0: none."""
    words = text.split()[-120:]
    for size in range(3, 31):
        tail = words[-size:]
        if len(words) >= 4 * size and all(words[-at * size : len(words) - (at - 1) * size] == tail for at in (2, 3, 4)):
            return size
    return 0


def _log_odds(share: float) -> float:
    share = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(share / (1 - share))
