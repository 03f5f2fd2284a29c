"""`python -m bench.routing.priors`: make the router's priors from the files in `data`, the same bytes each time.

Vectors are kept in var/vectors, below the folder it is called in, so that a second run takes seconds.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from bench.routing.files import write_npz
from routing.analysis.analyse import analysed
from routing.analysis.reading import read
from routing.graded import Graded, graded
from routing.predictor.features import NAMES, surface_of
from routing.predictor.fitting import BASE_RIDGE, CENTRES, EXAM_RIDGE, Questions, centres_of
from routing.predictor.places import FALL, SURFACE_SHARE, WIDTH, frame_of, packed, unpacked
from routing.predictor.priors import FILE, hash_of, made_from
from routing.predictor.vectors import embedded_once

DATA = Path(__file__).with_name("data")
EXAMS, SIZED = DATA / "mmlu_1500.csv.gz", DATA / "llmrouter_9models_train.json.gz"
VECTORS = Path("var/vectors")
# Of the nine, two are tuned for answering from given passages, one for code: they say little of their size.
SMALL = ("gemma-2-9b-it", "llama-3.1-8b-instruct", "mistral-7b-instruct-v0.3", "qwen2.5-7b-instruct")
MID = ("llama-3.1-nemotron-51b-instruct", "llama-3.3-nemotron-super-49b-v1")
EXAMINED = ("weak_mixtral_8x7b", "strong_gpt4_1106")


def main() -> None:
    """Write `priors.npz`, and `manifest.json`, which says what it was made from and with."""
    sized, examined = graded(SIZED), graded(EXAMS)
    surfaces = [np.stack([_surface(text) for text in source.texts]) for source in (sized, examined)]
    vectors = [embedded_once(source.texts, VECTORS) for source in (sized, examined)]
    frame = frame_of(np.concatenate(surfaces), np.concatenate(vectors))
    places = [packed(frame.places(*both)) for both in zip(surfaces, vectors, strict=True)]
    small, mid = (np.mean([sized.good[model] for model in models], axis=0) for models in (SMALL, MID))
    questions = [
        _questions(sized, places[0], np.stack([small, mid], axis=1), "cluster_id"),
        _questions(examined, places[1], np.stack([examined.good[name] for name in EXAMINED], axis=1), "domain"),
    ]
    centres = packed(centres_of(unpacked(places[0])))
    made = made_from(frame, unpacked(centres), *questions)
    arrays = {
        "mean": frame.mean,
        "scale": frame.scale,
        "centre": frame.centre,
        "axes": frame.axes.astype(np.float16),
        "centres": centres,
        "base": made.base,
        "added": made.added,
    }
    for name, source in zip(("sized", "examined"), questions, strict=True):
        arrays |= {f"{name}_{part}": getattr(source, part) for part in ("places", "good", "hashes", "groups")}
    write_npz(FILE, arrays)
    manifest = {
        "file": FILE.name,
        "sha256": hashlib.sha256(FILE.read_bytes()).hexdigest(),
        "made_by": "python -m bench.routing.priors",
        "sources": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (SIZED, EXAMS)},
        "models": {"small": SMALL, "mid": MID, "examined": EXAMINED},
        "questions": {"sized": len(sized.texts), "examined": len(examined.texts)},
        "surface": list(NAMES),
        "settings": {
            "width": WIDTH,
            "surface_share": SURFACE_SHARE,
            "fall": FALL,
            "centres": CENTRES,
            "base_ridge": BASE_RIDGE,
            "exam_ridge": EXAM_RIDGE,
        },
    }
    FILE.with_name("manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    print(f"{FILE}: {FILE.stat().st_size} bytes, sha256 {manifest['sha256']}")


def _surface(text: str) -> np.ndarray:
    reading = read(text)
    return surface_of(reading, analysed(reading, text))


def _questions(source: Graded, places: np.ndarray, good: np.ndarray, group: str) -> Questions:
    return Questions(
        places=places,
        good=np.round(good, 4).astype(np.float32),
        hashes=np.array([hash_of(text) for text in source.texts], np.uint64),
        groups=np.array(source.columns[group], dtype="<U40"),
    )


if __name__ == "__main__":
    main()
