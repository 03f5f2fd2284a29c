"""What a list of requests says first: how many match where that is known without counting, and what stands out."""

from __future__ import annotations

from collections import Counter

from django.urls import reverse

from dashboard import formats
from dashboard.reading import Snapshot
from dashboard.requests.asked import Asked
from dashboard.requests.searching import Found
from dashboard.verdict import Verdict
from orchestrator.ledger.stats import Bucket, Figures, has_failed
from orchestrator.ledger.wording import ending

ENOUGH = 3  # below this none of them stands out


def list_verdict(asked: Asked, found: Found | None, snapshot: Snapshot | None) -> Verdict:
    """Of the page that is shown; its figures are those of the period, where nothing else narrows it."""
    if found is None:
        return Verdict("The requests could not be read.", "The ledger did not answer in time.", "unknown")
    matching = counted(asked, snapshot)
    return Verdict(_headline(asked, found, matching, snapshot), _why(found), "ok", *_slowest(found))


def counted(asked: Asked, snapshot: Snapshot | None) -> int | None:
    """How many match, by figures that are there anyway; None: nobody knows."""
    of = share_of(asked)
    return None if snapshot is None or of is None else of(snapshot.figures)


def share_of(asked: Asked) -> Share | None:
    """What to count of figures; None where they do not tell."""
    if asked.period is None:
        return None
    said = {name: asked.values[name] for name in asked.narrowing}
    if not said:
        return Share("")
    if said.keys() == {"tier"} and said["tier"] != "none":
        return Share(said["tier"])
    return Share("", is_failed=True) if said == {"outcome": "failed"} else None


class Share:
    """Which part of all requests: those a tier answered, those that failed, or all of them."""

    def __init__(self, tier: str, *, is_failed: bool = False) -> None:
        self._tier = tier
        self._is_failed = is_failed

    def __call__(self, of: Figures | Bucket) -> int:
        """How many they were."""
        if self._is_failed:
            return of.errors
        return of.by_tier.get(self._tier, 0) if self._tier else of.requests


def _headline(asked: Asked, found: Found, matching: int | None, snapshot: Snapshot | None) -> str:
    shown = len(found.rows)
    if matching is not None and snapshot is not None and (matching or not shown):
        words = snapshot.period.words
        if not asked.narrowing:
            return f"{_requests(matching)} in the {words}." if matching else f"No request in the {words}."
        return f"{formats.count(matching)} of {_requests(snapshot.figures.requests)} in the {words}."
    if found.is_all:
        return f"{_requests(shown) if shown else 'No request'} match{'' if shown > 1 else 'es'}."
    if found.looked_to is not None:
        return f"{formats.count(shown)} found so far." if shown else "None found so far."
    return f"{formats.count(shown)} of those that match."


def _requests(number: int) -> str:
    return f"{formats.count(number)} {'request' if number == 1 else 'requests'}"


def _why(found: Found) -> str:
    """What stands out among those that are shown."""
    rows = found.rows
    if len(rows) < ENOUGH:
        return ""
    failed = Counter(ending(row.outcome) for row in rows if has_failed(row))
    words = []
    if failed:
        kind, most = failed.most_common(1)[0]
        count = formats.count(failed.total())
        how = kind if most == failed.total() else f"most of them: {kind}"
        words.append(f"{count} of the {len(rows)} shown failed ({how})")
    slowest = max(rows, key=lambda row: row.total_us)
    words.append(f"the slowest of those shown took {formats.NARROW.join(formats.duration(slowest.total_us))}")
    return formats.sentence("; ".join(words))


def _slowest(found: Found) -> tuple[str, str]:
    if len(found.rows) < ENOUGH:
        return "", ""
    slowest = max(found.rows, key=lambda row: row.total_us)
    return reverse("dashboard:request", args=[slowest.pk]), "See why"
