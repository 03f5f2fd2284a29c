"""The sentence a page opens with, written from the numbers below it. No number, no sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.urls import reverse

from dashboard import formats
from dashboard.reading import Snapshot
from dashboard.running import Look
from dashboard.strip import Part
from orchestrator.ledger.stats import ModelFigures

ENOUGH_REQUESTS = 20  # below this, a share says little
MANY_ERRORS = 0.01
NEARLY = 0.015
ENOUGH_ANSWERS = 10  # below this, the slowest few say little
TOO_LONG_US = 20_000_000  # one answer in twenty longer than this is worth a word
LONGEST_NAME = 40
ROUND_SHARES = (
    (1 / 4, "One in four answers"),
    (1 / 3, "One in three answers"),
    (1 / 2, "Half of the answers"),
    (2 / 3, "Two in three answers"),
    (3 / 4, "Three in four answers"),
    (4 / 5, "Four in five answers"),
    (9 / 10, "Nine in ten answers"),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is so, why, and where to look."""

    headline: str
    why: str = ""
    state: str = "ok"  # or slow, down, unknown
    link: str = ""
    link_words: str = ""


def overview_verdict(look: Look, snapshot: Snapshot | None, records: str = "") -> Verdict:
    """Worst first: what is down, failing requests, what is slow, then health.

    records  the address of the list of requests, for links to those that prove it; empty for who may not see it.
    """
    parts = look.health or ()
    down = [part for part in parts if part.state == "down"]
    slow = [part for part in parts if part.state == "slow"]
    traffic = _traffic(snapshot)
    if down:
        return Verdict(f"{_are(down, 'down')}.", _because(down, traffic), "down", *_link(down))
    if snapshot and _fails_often(snapshot):
        figures = snapshot.figures
        return Verdict(
            f"{formats.percent(figures.error_rate)}{formats.NARROW}% of requests failed.",
            f"{formats.count(figures.errors)} of {formats.count(figures.requests)} in the {snapshot.period.words}.",
            "down",
            *_those(records, f"outcome=failed&period={snapshot.period.slug}"),
        )
    if slow:
        return Verdict(f"Healthy. {_are(slow, 'slow')}.", _because(slow, traffic), "slow", *_link(slow))
    if look.health is None:
        return Verdict("Health is unknown.", f"The parts did not answer in time. {traffic}".strip(), "unknown")
    if snapshot is None:
        return Verdict("What requests come to is unknown.", "Every part answers; no figure could be read.", "unknown")
    if snapshot.is_new:
        return Verdict("Ready. Nothing has been asked yet.", "Figures appear here with the first request.", "ok")
    if sluggish := _slow_models(snapshot):
        return Verdict(
            f"Healthy. {_models_are_slow(sluggish, look)}.",
            f"{_how_slow(sluggish)} {traffic}",
            "slow",
            *_those(records, f"period={snapshot.period.slug}&slower={TOO_LONG_US // 1000}"),
        )
    return Verdict("Healthy.", traffic, "ok")


def cache_verdict(snapshot: Snapshot | None, entries: int | None, full: Sequence[str] = ()) -> Verdict:
    """How much the cache answered and saved, then how much it holds.

    full  the tiers that are near the most they may hold.
    """
    kept = "" if entries is None else _kept(entries)
    if full:
        kept = f"{kept} {formats.listing(list(full))} {'is' if len(full) == 1 else 'are'} nearly full."
    if snapshot is None or entries is None:
        return Verdict(
            "What the cache does is unknown." if snapshot is None else "What is kept is unknown.", kept, "unknown"
        )
    figures = snapshot.figures
    if figures.hit_rate is None:
        return Verdict(kept, f"Nobody asked the cache in the {snapshot.period.words}.", "ok")
    share = f"{formats.percent(figures.hit_rate)}{formats.NARROW}%"
    return Verdict(
        f"{_share_words(figures.hit_rate)} came from cache{_and_saved(figures.saved)}.",
        f"{share} of {formats.count(figures.cacheable)} answers in the {snapshot.period.words}. {kept}",
        "ok",
    )


def _and_saved(saved: Mapping[str, int]) -> str:
    total = sum(saved.values())
    return f", and saved {formats.money(total)}" if total > 0 else ""


def _those(records: str, query: str) -> tuple[str, str]:
    return (f"{records}?{query}", "See them") if records else ("", "")


def _kept(entries: int) -> str:
    if entries == 0:
        return "Nothing is kept."
    return f"{formats.count(entries)} {'answer is' if entries == 1 else 'answers are'} kept."


def _share_words(share: float) -> str:
    """A share in words where a round one is near, else in figures."""
    if share == 0:
        return "No answer"
    if share == 1:
        return "Every answer"
    near = next((words for share_of, words in ROUND_SHARES if abs(share - share_of) < NEARLY), None)
    if near:
        return near
    return f"{formats.percent(share)}{formats.NARROW}% of answers"


def _traffic(snapshot: Snapshot | None) -> str:
    if snapshot is None:
        return ""
    figures, words = snapshot.figures, snapshot.period.words
    if not figures.requests:
        return f"Nothing was asked in the {words}."
    asked = f"{formats.count(figures.requests)} {'request' if figures.requests == 1 else 'requests'} in the {words}"
    if figures.hit_rate is None:
        return f"{asked}."
    share = f"{formats.percent(figures.hit_rate)}{formats.NARROW}%"
    of = "the one" if figures.cacheable == 1 else f"the {formats.count(figures.cacheable)}"
    return f"{asked}; the cache answered {share} of {of} it was asked."


def _slow_models(snapshot: Snapshot) -> list[ModelFigures]:
    """Models of which one fresh answer in twenty took too long, the slowest first."""
    slow = [
        one
        for one in snapshot.figures.by_model
        if one.fresh_answers >= ENOUGH_ANSWERS and (one.fresh.p95_us or 0) > TOO_LONG_US
    ]
    return sorted(slow, key=lambda one: -(one.fresh.p95_us or 0))


def _models_are_slow(slow: list[ModelFigures], look: Look) -> str:
    local = {model.name for model in look.installed or ()}
    kind = "local model" if all(one.model in local for one in slow) else "model"
    if len(slow) > 1:
        return f"{len(slow)} {kind}s are slow"
    return f"The {kind} {_short(slow[0].model)} is slow"


def _how_slow(slow: list[ModelFigures]) -> str:
    slowest = slow[0]
    took = formats.NARROW.join(formats.duration(slowest.fresh.p95_us))
    answers = f"the {formats.count(slowest.fresh_answers)} fresh answers of {_short(slowest.model)}"
    return f"One in twenty of {answers} took {took} or longer."


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _fails_often(snapshot: Snapshot) -> bool:
    figures = snapshot.figures
    return figures.requests >= ENOUGH_REQUESTS and (figures.error_rate or 0) >= MANY_ERRORS


def _are(parts: list[Part], what: str) -> str:
    if len(parts) == 1 and parts[0].sentence:
        return parts[0].sentence
    names = [part.name for part in parts]
    shown = [names[0], *(name if name == "Redis" else name.lower() for name in names[1:])]
    return f"{formats.listing(shown)} {'is' if len(parts) == 1 else 'are'} {what}"


def _because(parts: list[Part], traffic: str) -> str:
    reasons = "; ".join(f"{part.name}: {part.words}" for part in parts if part.words)
    return " ".join(filter(None, [f"{reasons}." if reasons else "", traffic]))


def _link(parts: list[Part]) -> tuple[str, str]:
    linked = next((part for part in parts if part.page), None)
    return (reverse(linked.page), f"See {linked.name}") if linked else ("", "")
