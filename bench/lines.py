"""The JSON lines that the benchmarks print, one for each thing that was measured."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from functools import cache
from importlib.metadata import version
from statistics import median
from typing import Any

from bench.serving import Served, say
from orchestrator import __version__
from orchestrator.supervisor.redis import server_program
from tests.product import PROJECT

DIGITS = 4  # that mean something


def spread(values: list[float]) -> dict[str, float]:
    """The median over the rounds, and the extremes."""
    return {"median": rounded(median(values)), "min": rounded(min(values)), "max": rounded(max(values))}


def ratios(of: list[float], to: list[float]) -> dict[str, float]:
    """Round by round."""
    return spread([one / other for one, other in zip(of, to, strict=True)])


def spreads(rounds: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """The spread of each figure over the rounds."""
    return {name: spread([figures[name] for figures in rounds]) for name in rounds[0]}


def rounded(value: float) -> float:
    """With the digits that mean something."""
    return float(f"{value:.{DIGITS}g}")


def emit(bench: str, case: str, **found: Any) -> None:
    """Print a line."""
    machine = {"cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 2), "versions": versions()}
    print(json.dumps({"bench": bench, "case": case, **found, **machine}), flush=True)
    say(f"{bench}: {case}: measured")


def compare(
    bench: str, case: str, product: Served, rounds: dict[str, list[dict[str, float]]], rate: str, **more: Any
) -> None:
    """Print a line about the product beside its floor, and whatever else stood there.

    rounds  the figures of each round, by who they are of; `product` and `floor` are among them.
    rate    the figure whose ratio to the floor is taken.
    """
    emit(
        bench,
        case,
        **about(product),
        rounds=len(rounds["product"]),
        **more,
        **{who: spreads(found) for who, found in rounds.items()},
        ratio_to_floor=ratios(*([figures[rate] for figures in rounds[who]] for who in ("product", "floor"))),
    )


def about(product: Served) -> dict[str, Any]:
    """What was on, and how many web workers there were."""
    return {"on": product.on(), "workers": product.workers}


@cache
def versions() -> dict[str, str]:
    """Of what was measured and what it ran on."""
    return {
        "project": __version__,
        "commit": _said("git", "rev-parse", "--short", "HEAD"),
        "python": platform.python_version(),
        **{package: version(package) for package in ("uvicorn", "uvloop", "django", "aiohttp")},
        "redis": _redis(),
        "system": f"{platform.system()} {platform.release()}",
    }


def _redis() -> str:
    server = server_program()
    found = re.search(r"v=(\S+)", _said(server, "--version")) if server else None
    return found[1] if found else "none"


def _said(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "unknown"
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.strip() or "unknown"
