"""What is asked in a replayed day, of whom, and what each answer to it was worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orchestrator.core.prices import Price
from orchestrator.core.types import Usage
from routing.graded import graded
from routing.predictor.places import unpacked
from routing.predictor.priors import Priors, hash_of, shipped, without
from routing.predictor.standing import tier_of
from routing.predictor.types import Array

Rows = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
STRONG = "strong"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that may be asked.

    column   of the file of questions.    name  as the product calls it.
    ability  where it starts from (`standing_of`).    price  None: it runs here, and a call costs nothing.
    """

    column: str
    name: str
    ability: float
    price: Price | None

    @property
    def is_local(self) -> bool:
        """Whether it runs here."""
        return self.price is None

    def cost(self, usage: Usage) -> int:
        """By the ledger's arithmetic: the call's tokens at the price, rounded up to millionths of a dollar."""
        return self.price.of(usage) if self.price is not None else 0


@dataclass(frozen=True, slots=True, eq=False)
class Questions:
    """A row for each question, and a column for each candidate where there are two dimensions.

    candidates  as equals are ordered: those here first, then by name.
    is_dear     which of them are on the dear side of the slider.
    good        what the answer was worth, 0 to 1.
    expected    what a call is expected to cost before anybody is asked, in millionths of a dollar.
    places      where each question lies.
    priors      made without any of these questions.    said  what they say of each answer.
    """

    texts: Sequence[str]
    candidates: Sequence[Candidate]
    is_dear: Mask
    good: Numbers
    expected: Rows
    places: Array
    priors: Priors
    said: Array

    @property
    def strong(self) -> int:
        """The candidate of the dear side whose answers are best on the whole; of equals the dearest."""
        means = self.good.mean(0)
        return max(np.flatnonzero(self.is_dear).tolist(), key=lambda one: (means[one], self.expected[:, one].mean()))

    @property
    def dearest(self) -> int:
        """The candidate whose calls cost most."""
        return int(self.expected.mean(0).argmax())


def questions_of(
    path: Path, candidates: Sequence[Candidate], share: float, seed: int, about: Callable[[str], Usage]
) -> Questions:
    """Draw a share of the questions of a file, each text once.

    about  what a call with such a question is expected to read and write.
    Raises ValueError where there are no two candidates, or a question is not among those the priors were made from.
    """
    if len(candidates) < 2:
        raise ValueError("there are fewer than two candidates: prices are not known of the others")
    source = graded(path)
    hashes = np.array([hash_of(text) for text in source.texts], np.uint64)
    once = np.unique(hashes, return_index=True)[1]
    drawn = np.sort(np.random.default_rng(seed).permutation(np.sort(once))[: max(2, round(share * len(once)))])
    hashes = hashes[drawn]
    texts = [source.texts[row] for row in drawn]
    ordered = sorted(candidates, key=lambda one: (not one.is_local, one.name))
    usages = [about(text) for text in texts]
    places, fresh = _places(hashes), without(shipped(), hashes)
    return Questions(
        texts=texts,
        candidates=ordered,
        is_dear=_dear(ordered),
        good=np.stack([np.array(source.good[one.column], np.float64)[drawn] for one in ordered], axis=1),
        expected=np.array([[one.cost(usage) for one in ordered] for usage in usages], np.int64),
        places=places,
        priors=fresh,
        said=fresh.good(places, np.array([one.ability for one in ordered], np.float32)),
    )


def _dear(candidates: Sequence[Candidate]) -> Mask:
    """What is paid for where something is not; else the strongest tier. As `routing.deciding` has it."""
    is_local = np.array([one.is_local for one in candidates])
    if is_local.any() and not is_local.all():
        return ~is_local
    tiers = [("small", "mid", STRONG).index(tier_of(one.ability)) for one in candidates]
    if len(set(tiers)) < 2:
        raise ValueError("the candidates have no two sides: all are of one tier, and paid for")
    strongest: Mask = np.array(tiers) == max(tiers)
    return strongest


def _places(hashes: npt.NDArray[np.uint64]) -> Array:
    """As they are kept with the priors, a byte for each number: to embed thousands of questions takes a minute."""
    priors = shipped()
    known = {
        int(one): place
        for some in (priors.sized, priors.examined)
        for one, place in zip(some.hashes, some.places, strict=True)
    }
    try:
        return unpacked(np.stack([known[int(one)] for one in hashes]))
    except KeyError:
        raise ValueError("a question is not among those that the priors were made from") from None
