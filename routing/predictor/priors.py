"""What is known of models before anything was seen here, as data: `priors/priors.npz`.

P(good | question, ability) = small + ability · (mid − small), which is what models of two sizes did, continued along
the line, plus what exams say of questions like theirs. `bench/routing/priors.py` makes the file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from routing.analysis.analyse import analysed
from routing.analysis.reading import read
from routing.predictor.features import surface_of
from routing.predictor.fitting import Questions, Wide, basis, fit_base, fit_exams, places_of
from routing.predictor.places import Frame, nearness, unpacked
from routing.predictor.types import Array, Place

FILE = Path(__file__).with_name("priors") / "priors.npz"
LEAST_STEP = 0.02  # what one step of ability adds at least: a stronger model is never expected to be worse
BROKEN = (OSError, ValueError, KeyError, EOFError, BadZipFile)  # what comes of reading a file that is damaged
SURE = 0.98  # nobody is surer than that of an answer nobody has seen


class Unusable(Exception):
    """The shipped priors cannot be read."""


@dataclass(frozen=True, slots=True, eq=False)
class Priors:
    """The frame of places, the base and the exams, and the questions they were made from."""

    frame: Frame
    centres: Array
    base: Array  # for `basis`; a column for small and one for mid
    exams: Array  # places of exam questions
    added: Array  # what each adds near it; a column for mid and one for strong
    sized: Questions  # that the base was made from
    examined: Questions
    digest: str = ""

    def place(self, text: str, vector: Array | None = None) -> Place:
        """Where a question lies. `vector` is its embedding, where there is one."""
        reading = read(text)
        return self.frame.place(surface_of(reading, analysed(reading, text)), vector)

    def good(self, places: Array, abilities: Array) -> Array:
        """P(good) of models of these abilities (columns) for these questions (rows)."""
        return along(self.heads(places), abilities)

    def heads(self, places: Array) -> Array:
        """What the base says of small and mid, and what exams add for mid and strong: four columns."""
        base = basis(places, self.centres).astype(np.float32) @ self.base
        added = nearness(places, self.exams) @ self.added if len(self.exams) else np.zeros((len(places), 2))
        columns: Array = np.concatenate([base, added], axis=1).astype(np.float32)
        return columns


def along(heads: Array, abilities: Array) -> Array:
    """P(good) at each ability, from the four columns of `Priors.heads`."""
    small, mid, exam_mid, exam_strong = (heads[:, column, None] for column in range(4))
    line = small + abilities * np.maximum(mid - small, LEAST_STEP)
    share = np.clip(abilities - 1.0, 0.0, 1.0)
    # What exams say of a middling model holds for smaller ones too: their questions are as hard for them.
    said: Array = np.clip(line + (1 - share) * exam_mid + share * exam_strong, 1 - SURE, SURE).astype(np.float32)
    return said


def made_from(frame: Frame, centres: Array, sized: Questions, examined: Questions, digest: str = "") -> Priors:
    """The priors that these questions make."""
    return _examined(frame, centres, fit_base(basis(places_of(sized), centres), sized.good), sized, examined, digest)


def _examined(frame: Frame, centres: Array, base: Wide, sized: Questions, examined: Questions, digest: str) -> Priors:
    exams = places_of(examined)
    added = fit_exams(exams, exam_residuals(exams, centres, base, examined.good))
    return Priors(frame, centres, base.astype(np.float32), exams, added.astype(np.float32), sized, examined, digest)


def exam_residuals(places: Array, centres: Array, base: Wide, good: Array) -> Wide:
    """What the base leaves over of how mid and strong did on exams."""
    small, mid = (basis(places, centres) @ base).T
    step = np.maximum(mid - small, LEAST_STEP)
    left: Wide = good - np.stack([small + step, small + 2 * step], axis=1)
    return left


def hash_of(text: str) -> int:
    """A question as a number, to know it again; spaces do not count."""
    data = " ".join(text.split()).encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


@cache
def shipped() -> Priors:
    """The priors that come with the product. Raises Unusable."""
    try:
        return _read()
    except BROKEN as error:
        raise Unusable(f"{FILE} cannot be read ({type(error).__name__})") from error


def _read() -> Priors:
    with np.load(FILE, allow_pickle=False) as kept:
        arrays = {name: kept[name] for name in kept.files}
    sized, examined = (
        Questions(*(arrays[f"{source}_{part}"] for part in ("places", "good", "hashes", "groups")))
        for source in ("sized", "examined")
    )
    wide = {name: arrays[name].astype(np.float32) for name in ("mean", "scale", "centre", "axes", "base", "added")}
    return Priors(
        frame=Frame(wide["mean"], wide["scale"], wide["centre"], wide["axes"]),
        centres=unpacked(arrays["centres"]),
        base=wide["base"],
        exams=unpacked(examined.places),
        added=wide["added"],
        sized=sized,
        examined=examined,
        digest=hashlib.sha256(FILE.read_bytes()).hexdigest(),
    )


def without(priors: Priors, hashes: npt.NDArray[np.uint64], group: str | None = None) -> Priors:
    """The priors that would have come out had these questions, or the ones of this group, never been seen."""
    kept = [
        ~np.isin(one.hashes, hashes) & (one.groups != group if group is not None else True)
        for one in (priors.sized, priors.examined)
    ]
    if all(mask.all() for mask in kept):
        return priors
    sized, examined = priors.sized.only(kept[0]), priors.examined.only(kept[1])
    if kept[0].all():  # the base is as it was
        return _examined(priors.frame, priors.centres, priors.base.astype(np.float64), sized, examined, priors.digest)
    return made_from(priors.frame, priors.centres, sized, examined, priors.digest)
