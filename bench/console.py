"""What the console's figures cost at many requests: python bench/console.py [--rows N] [--data FOLDER].

Fills a ledger with N requests of 30 days by SQL (10,000,000 take some minutes and 6 GB), has the background's own code
add them up, and times what pages ask for: the first time, and the middle and the longest of the times after it. With
`--data` the ledger stays, and a second run takes it as it is.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

BASE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(BASE))
TIMES = 9
PERIODS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        os.environ["ORCHESTRATOR_DATA_DIR"] = str(args.data or made)
        os.environ["DJANGO_SETTINGS_MODULE"] = "orchestrator.settings"
        import django

        django.setup()
        from bench.filling import fill, fold

        fill(args.rows)
        fold()
        measure()


def measure() -> None:
    """What pages ask the ledger for, each for everybody and for one tenant."""
    from dashboard.reading import newest_rows
    from orchestrator.core.permissions import EVERYBODY, Reach
    from orchestrator.ledger.provider_stats import provider_figures
    from orchestrator.ledger.saved_sums import saved_sums
    from orchestrator.ledger.stats import figures
    from orchestrator.models import Tenant

    one = Reach(frozenset({Tenant.objects.get(name="tenant-1").pk}))
    now = datetime.now(UTC)
    for name, reach in (("everybody", EVERYBODY), ("a tenant", one)):
        for slug, length in PERIODS.items():
            timed(f"figures {slug} {name}", lambda: figures(now - length, now, reach))  # noqa: B023
            timed(f"providers {slug} {name}", lambda: provider_figures(now - length, now, reach))  # noqa: B023
        days = (now.date() - timedelta(days=29), now.date() + timedelta(days=1))
        timed(f"saved by day {name}", lambda: saved_sums(*days, ["day"], reach))  # noqa: B023
        timed(f"newest rows {name}", lambda: newest_rows(reach, 30))  # noqa: B023
    pages()


def pages() -> None:
    """What pages take over HTTP is measured here, of a product on this ledger."""


def timed(what: str, ask: Callable[[], object], times: int = TIMES) -> None:
    """Print what it takes."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        took.append((time.perf_counter() - began) * 1e3)
    later = took[1:] or took
    print(f"{what:<28} first {took[0]:7.1f}  middle {statistics.median(later):7.1f}  longest {max(later):7.1f} ms")


if __name__ == "__main__":
    main()
