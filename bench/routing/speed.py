"""`python -m bench.routing.speed`: what the router's looks at a question take, in milliseconds, as one JSON line.

Each is done three times and the quickest counts, so that a machine others use does not decide; the 50th and the
95th of a hundred are told.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np

from bench.routing.priors import EXAMS
from routing.analysis.analyse import analyse
from routing.analysis.reading import LONGEST
from routing.graded import graded
from routing.predictor.places import unpacked
from routing.predictor.predict import Predictor
from routing.predictor.priors import shipped
from routing.predictor.state import MEMORY, learn
from routing.predictor.types import Outcome, State

MODELS = [(f"model-{number}", 1.0) for number in range(10)]


def main() -> None:
    """Measure, and print."""
    texts = graded(EXAMS).texts[:200]
    longest = [(text * (LONGEST // len(text) + 1))[:LONGEST] for text in texts]
    places = unpacked(shipped().sized.places)
    vector = np.random.default_rng(0).normal(size=384).astype(np.float32)
    began = time.perf_counter()
    state = learn(
        State(),
        [Outcome(name, 1.0, "", places[row], float(row % 2)) for name, _ in MODELS for row in range(MEMORY)],
    )
    learned = time.perf_counter() - began
    full, fresh = Predictor(state), Predictor(State())
    figures = {
        "analyse": _took(texts, lambda text: analyse(text)),
        f"analyse_{LONGEST}": _took(longest, lambda text: analyse(text)),
        "ten_models_by_priors": _took(texts, lambda text: fresh.good(fresh.place(text, vector), MODELS)),
        "ten_models_learned": _took(texts, lambda text: full.good(full.place(text, vector), MODELS)),
    }
    print(json.dumps(figures | {"learn_10000_outcomes_ms": round(learned * 1000, 1)}))


def _took(texts: list[str], look: Callable[[str], object]) -> dict[str, float]:
    def once(text: str) -> float:
        began = time.perf_counter()
        look(text)
        return (time.perf_counter() - began) * 1000

    best = [min(once(text) for _ in range(3)) for text in texts]
    return {"p50_ms": round(float(np.percentile(best, 50)), 3), "p95_ms": round(float(np.percentile(best, 95)), 3)}


if __name__ == "__main__":
    main()
