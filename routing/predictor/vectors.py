"""Questions as vectors, many at once: what training and grading read. The product itself asks its model host.

What was embedded once is kept in a file that is named for the texts and the model, below a folder of the caller's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orchestrator.modelhost import minilm
from orchestrator.modelhost.embedding import BATCH_TOKENS, Embedder

Matrix = npt.NDArray[np.float32]


def unit(rows: Matrix) -> Matrix:
    """Each row, scaled to length 1."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    scaled: Matrix = (rows / np.maximum(lengths, 1e-9)).astype(np.float32)
    return scaled


def embedded(texts: Sequence[str]) -> Matrix:
    """The unit vectors of `texts`, by the model that is always there. Raises ValueError when it is not."""
    model = Embedder()
    tokens = []
    for text in texts:
        ids = model.tokens(text)
        tokens.append(ids if len(ids) <= minilm.USUAL else [*ids[: minilm.USUAL - 1], ids[-1]])
    batches: list[list[int]] = [[]]
    for place in sorted(range(len(tokens)), key=lambda place: len(tokens[place])):
        if batches[-1] and (len(batches[-1]) + 1) * len(tokens[place]) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(place)
    rows: Matrix = np.zeros((len(texts), minilm.WIDTH), np.float32)

    def work(batch: list[int]) -> None:
        for place, vector in zip(batch, model.vectors([tokens[place] for place in batch]), strict=True):
            rows[place] = np.frombuffer(vector, "<f4")

    if texts:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # the runtime computes without Python's lock
            list(pool.map(work, batches))
    return unit(rows)


def embedded_once(texts: Sequence[str], folder: Path) -> Matrix:
    """`embedded`, kept below `folder`."""
    model = minilm.packaged()
    digest = hashlib.sha256((model.digest if model else "").encode())
    for text in texts:
        data = text.encode("utf-8", "replace")
        digest.update(len(data).to_bytes(8, "big") + data)
    path = folder / f"{digest.hexdigest()[:32]}.npy"
    if path.is_file():
        kept: Matrix = np.load(path, allow_pickle=False)
        if kept.shape == (len(texts), minilm.WIDTH):
            return kept
    rows = embedded(texts)
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    with partial.open("wb") as file:
        np.save(file, rows, allow_pickle=False)
    partial.replace(path)
    return rows
