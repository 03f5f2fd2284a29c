"""Where a question lies: its surface and its meaning as one point, so that near means alike in both.

Two questions are compared by `nearness`, which falls from 1 to 0 with the square of their distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from routing.predictor.features import Surface
from routing.predictor.types import Array, Place

WIDTH = 128  # of the 384 numbers of a vector, after turning it so that the first say most
SURFACE_SHARE = 0.02  # of the squared distance, for each standard deviation squared
FALL = 1.5  # how fast nearness falls
_FURTHEST = 3.0  # standard deviations
_STEPS = 127 / 0.6  # of a packed number, which is held between −0.6 and 0.6

Packed = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """How points are made: from what the surface is measured, and along which axes the vectors are seen."""

    mean: Array
    scale: Array
    centre: Array
    axes: Array  # one in each column

    def place(self, surface: Surface, vector: Array | None) -> Place:
        """The point of one question. Without a vector it lies in the middle of all meanings."""
        rows = self.places(surface[None], None if vector is None else vector[None])
        point: Place = rows[0]
        return point

    def places(self, surfaces: Array, vectors: Array | None) -> Array:
        """The points of many, one in each row."""
        told = np.clip((surfaces - self.mean) / self.scale, -_FURTHEST, _FURTHEST) * np.sqrt(SURFACE_SHARE)
        if vectors is None:
            meant = np.zeros((len(surfaces), self.axes.shape[1]), np.float32)
        else:
            lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
            meant = (vectors / lengths - self.centre) @ self.axes
        rows: Array = np.concatenate([told, meant], axis=1).astype(np.float32)
        return rows


def frame_of(surfaces: Array, vectors: Array) -> Frame:
    """The frame in which these questions are spread out best. What became of them is not looked at."""
    centre = vectors.mean(0, dtype=np.float64)
    _, turned = np.linalg.eigh(np.cov(vectors.astype(np.float64).T))
    axes = turned[:, ::-1][:, :WIDTH]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
    return Frame(
        mean=surfaces.mean(0).astype(np.float32),
        scale=np.maximum(surfaces.std(0), 0.05).astype(np.float32),
        centre=centre.astype(np.float32),
        axes=axes.astype(np.float16).astype(np.float32),
    )


def packed(places: Array) -> Packed:
    """As one byte each."""
    rows: Packed = np.clip(np.rint(places * _STEPS), -127, 127).astype(np.int8)
    return rows


def unpacked(rows: Packed) -> Array:
    """The points that were packed."""
    places: Array = rows.astype(np.float32) / np.float32(_STEPS)
    return places


def packed_place(place: Place, digest: str) -> bytes:
    """One point as bytes, which say by what priors it was made: under others it lies elsewhere."""
    point: bytes = packed(place[None])[0].tobytes()
    return bytes.fromhex(digest[:8]) + point


def unpacked_place(kept: bytes, digest: str, width: int) -> Place | None:
    """The point; None where it was made by other priors."""
    if kept[:4] != bytes.fromhex(digest[:8]) or len(kept) != 4 + width:
        return None
    place: Place = unpacked(np.frombuffer(kept[4:], np.int8)[None])[0]
    return place


def nearness(places: Array, others: Array) -> Array:
    """How near each of `places` is to each of `others`, 0 to 1."""
    squares = (places**2).sum(1)[:, None] + (others**2).sum(1) - 2 * places @ others.T
    near: Array = np.exp(-FALL * np.maximum(squares, 0))
    return near


@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """Places that single questions are compared with, made ready once."""

    places: Array
    squares: Array

    def of(self, place: Place) -> Array:
        """How near each is to one question.

        Not by the library of matrix products: its threads would wait for each other in a process that serves.
        """
        squares = self.squares + np.einsum("i,i->", place, place) - 2 * np.einsum("ij,j->i", self.places, place)
        near: Array = np.exp(-FALL * np.maximum(squares, 0))
        return near


def near_to(places: Array) -> Near:
    """Make `places` ready."""
    places = np.ascontiguousarray(places, np.float32)
    return Near(places, (places**2).sum(1))
