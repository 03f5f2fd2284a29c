"""What each kind of task is like: the mean vector of a few questions of its kind, which are in `prototypes.json`.

Made by `python -m bench.routing.prototypes`, with the embedding model that is always there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from routing.analysis.types import TASKS, Task

FILE = Path(__file__).with_name("prototypes.npz")


def likeness_of(vector: npt.NDArray[np.float32]) -> Mapping[Task, float]:
    """The cosine to each kind."""
    table = _table()
    if vector.shape != (table.shape[1],):
        raise ValueError(f"a vector of {table.shape[1]} numbers is wanted, not of {vector.shape}")
    length = float(np.linalg.norm(vector)) or 1.0
    cosines = (table @ vector.astype(np.float32)) / length
    return {task: float(cosine) for task, cosine in zip(TASKS, cosines, strict=True)}


@cache
def _table() -> npt.NDArray[np.float32]:
    with np.load(FILE, allow_pickle=False) as kept:
        table: npt.NDArray[np.float32] = kept["vectors"].astype(np.float32)
    return table
