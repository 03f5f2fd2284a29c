"""`python -m bench.routing.prototypes`: embed the example questions of each kind of task, and keep their means."""

from __future__ import annotations

import json
import sys

import numpy as np

from bench.routing.files import write_npz
from routing.analysis.prototypes import FILE
from routing.analysis.types import TASKS
from routing.predictor.vectors import embedded, unit


def main() -> None:
    """Write `prototypes.npz` beside `prototypes.json`."""
    examples = json.loads(FILE.with_suffix(".json").read_text())
    means = np.stack([embedded(examples[task]).mean(0) for task in TASKS])
    write_npz(FILE, {"vectors": unit(means).astype(np.float16)})
    sys.stdout.write(f"{FILE}: {len(TASKS)} kinds\n")


if __name__ == "__main__":
    main()
