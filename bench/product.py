"""The product as people run it, everything on, beside a floor: `python -m bench.product [SCENARIO…]`.

Prints JSON lines on standard output, and how far it is on standard error; docs/benchmarks.md says
what they mean. Needs wrk (`apt-get install wrk`). Run by `make bench`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from bench import dialects, hits, memory, misses, peers, streams
from bench import wrk as by_wrk
from bench.plan import Plan
from bench.serving import end_in_order, say

SCENARIOS: dict[str, Callable[[Plan], None]] = {
    "hits": hits.run,
    "dialects": dialects.run,
    "misses": misses.run,
    "streams": streams.run,
    "memory": memory.run,
}


def main() -> int:
    """Run what was asked for, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m bench.product", description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=Plan.rounds, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="of each load (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=Plan.workers, help="web workers (default: %(default)s)")
    parser.add_argument(
        "--peers",
        action="store_true",
        help="give other gateways the same work, alone or after the scenarios named; installs them",
    )
    asked = parser.parse_args()
    if unknown := set(asked.scenarios) - set(SCENARIOS):
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    if by_wrk.program() is None:
        say(by_wrk.MISSING)
        return 1
    end_in_order()
    streams.allow_open_files()
    plan = Plan(rounds=asked.rounds, seconds=asked.seconds, workers=asked.workers)
    chosen = asked.scenarios or ([] if asked.peers else SCENARIOS)
    for name in chosen:
        say(f"{name}: starting the product")
        SCENARIOS[name](plan)
    if asked.peers:
        peers.run(plan)
    return 0


if __name__ == "__main__":
    sys.exit(main())
