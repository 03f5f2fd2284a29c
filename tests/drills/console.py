"""Every page of the console is quick over a month of many requests, and consoles that stand open slow no request."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median

from tests.drills.base import Drill, Run, Wake, eventually, own_lag, running
from tests.drills.flood import Flood, Load
from tests.drills.pages import Asked, Visitor, all_pages
from tests.drills.provider import ScriptedProvider
from tests.drills.watching import Consoles, most_in_a_second
from tests.product import PROJECT, Product

ROWS, MANY_ROWS = 20_000, 10_000_000
DATA = "PROVE_CONSOLE_DATA"  # a folder in which the ledger stays, for another run
MOST_QUERIES = 9
MOST_S = 0.2
TIMES, FEW_TIMES = 4, 1  # after the first
FEW_PAGES = 160  # in the short form, others each time
CONSOLES = 20
MOST_PUSHES = 4  # a second, to one page
MORE_S = 20  # for which is gone on where no second was judged
HITS_PER_S, MISSES_PER_S = 100.0, 10.0
QUESTION = {"name": "", "pieces": 4}
KINDS = ("none", "none again", "consoles")
SHOWN = 15  # pages of the table that is printed in the short form


async def run(run: Run) -> None:
    """The pages first, with nobody else there; then the requests."""
    rows = run.pick(ROWS, MANY_ROWS)
    with ExitStack() as stack:
        data = Path(os.environ.get(DATA) or tempfile.mkdtemp(prefix="prove-"))
        if not os.environ.get(DATA):
            stack.callback(shutil.rmtree, data)
        provider = stack.enter_context(ScriptedProvider())
        session = await asyncio.to_thread(_furnished, Product(data=data, **provider.environment()), rows)
        with running(run, provider, data=data, DJANGO_SETTINGS_MODULE="tests.drills.counting") as product:
            await asyncio.to_thread(_pages, run, product, session, rows)
        with running(run, provider, data=data) as product:
            await _live(run, product, session)


def _furnished(product: Product, rows: int) -> str:
    """Fill the ledger of a product that does not run; the session of somebody who sees everything."""
    command = [sys.executable, "-m", "tests.drills.furnishing", str(rows)]
    done = subprocess.run(
        command, cwd=PROJECT, env=product.environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.split()[-1]


def _pages(run: Run, product: Product, session: str, rows: int) -> None:
    visitor = Visitor(product.base_url, session)
    pages = all_pages(visitor, rows)
    if not run.is_long:
        pages = run.random.sample(pages, FEW_PAGES)
    run.say(f"{len(pages)} pages")
    for _ in range(1 + run.pick(FEW_TIMES, TIMES)):  # in turn, so that little of a page is kept from before
        for page in pages:
            visitor.ask(page)
    visitor.client.close()
    run.counts["pages"] = len(pages)
    run.counts["queries of a page at most"] = max(page.queries for page in pages)
    run.figures["page_usual_max_s"] = round(max(page.usual_s for page in pages), 4)
    run.figures["page_first_max_s"] = round(max(page.first_s for page in pages), 4)
    run.timed("page", [took for page in pages for took in page.took_s])
    if run.is_long:
        Path("var").mkdir(exist_ok=True)
        lines = [asdict(page) for page in pages]
        Path("var/console.json").write_text(json.dumps(lines, indent=1))
        run.note("every page is in var/console.json")
    for line in _table(pages)[: None if run.is_long else SHOWN]:
        run.say(line)
    for page in pages:
        refused = page.status == 400 and ".csv" in page.address  # a file that would be too long
        run.expect(page.status < 400 or refused, f"{page.address}: HTTP {page.status}")
        run.expect(page.queries <= MOST_QUERIES, f"{page.address}: {page.queries} queries")
        run.in_time(page.usual_s, MOST_S, page.address)


def _table(pages: Sequence[Asked]) -> list[str]:
    lines = ["  first  middle longest  queries  page (ms)"]
    for page in sorted(pages, key=lambda page: -page.usual_s):
        took = (page.first_s, page.usual_s, page.longest_s)
        lines.append(" ".join(f"{one * 1e3:7.0f}" for one in took) + f" {page.queries:8}  {page.address}")
    return lines


async def _live(run: Run, product: Product, session: str) -> None:
    """The same load again and again, with and without consoles; what differs without them is noise."""
    consoles = Consoles(product.base_url, session)
    seconds, rounds = run.pick(2, 5), run.pick(1, 4)
    taken: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    await _ask(run, product, "warm", 1)
    for number in range(rounds):
        shift = number % len(KINDS)
        for kind in (*KINDS[shift:], *KINDS[:shift]):
            name = f"{number} {kind}"
            if kind == "consoles":
                async with own_lag() as wakes, consoles.open(CONSOLES):
                    await eventually(lambda: consoles.pushes and all(consoles.pushes), "every console to hear", 30)
                    taken[kind].append(await _ask(run, product, name, seconds))
                    for more in range(MORE_S):
                        if any(most_in_a_second(moments, wakes)[1] for moments in consoles.pushes):
                            break
                        await _ask(run, product, f"{name} {more}", 1)
                judge_pushes(run, consoles.pushes, wakes)
            else:
                taken[kind].append(await _ask(run, product, name, seconds))
    run.counts["polls of consoles"] = consoles.asked
    run.expect(consoles.failed == 0, f"{consoles.failed} parts of consoles were not to be had")
    for what in ("hit_p50", "hit_p99", "miss_p50", "miss_p99"):
        none, again, beside = ([one[what] for one in taken[kind]] for kind in KINDS)
        run.figures[f"{what}_none_s"] = round(median([*none, *again]), 5)
        run.figures[f"{what}_consoles_s"] = round(median(beside), 5)
        ratio = median(with_ / (one + other) * 2 for with_, one, other in zip(beside, none, again, strict=True))
        noise = max(max(one / other, other / one) for one, other in zip(none, again, strict=True))
        run.figures[f"{what}_ratio"], run.figures[f"{what}_noise_ratio"] = round(ratio, 3), round(noise, 3)
        if run.is_long and what.endswith("p99"):
            run.expect(ratio <= noise, f"{what} is {ratio:.2f} times as long with consoles; noise {noise:.2f}")


def judge_pushes(run: Run, pushes: Sequence[Sequence[float]], wakes: Sequence[Wake]) -> None:
    """No page is pushed too much, in any second in which this process heard what came as it came."""
    found = [most_in_a_second(moments, wakes) for moments in pushes]
    most, judged = max(most for most, _ in found), sum(judged for _, judged in found)
    what = "pushes to a page in a second at most"
    run.counts[what] = max(run.counts[what], most)
    run.counts["seconds of pushes judged"] += judged
    run.expect(judged > 0, "no second of pushes was judged: this process was late in all of them")
    run.expect(most <= MOST_PUSHES, f"{most} pushes to one page within a second")


async def _ask(run: Run, product: Product, name: str, seconds: float) -> dict[str, float]:
    """Questions that are known and such that are not, at a rate that leaves the processor free; what they took."""
    hits = Load(name="known", question=QUESTION, per_s=HITS_PER_S, is_known=True)
    misses = Load(name=f"new {name}", question=QUESTION, per_s=MISSES_PER_S)
    heard, late_s = await Flood(product.base_url, seconds, [hits, misses]).run()
    answers = [one for some in heard.values() for one in some]
    run.counts["requests"] += len(answers)
    run.expect(all(one.is_right for one in answers), f"{name}: not every answer is right")
    run.figures["askers_late_max_s"] = round(max(late_s, run.figures.get("askers_late_max_s", 0.0)), 4)
    found = {}
    for what, load in (("hit", hits), ("miss", misses)):
        ordered = sorted(one.took_s for one in heard[load.name])
        found |= {f"{what}_p{share}": ordered[int(share / 100 * (len(ordered) - 1))] for share in (50, 99)}
    return found


DRILL = Drill("console", __doc__, run, long_within_s=3600)
