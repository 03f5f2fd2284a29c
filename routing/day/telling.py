"""The figures of a day as lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def lines(case: Mapping[str, Any]) -> Iterator[str]:
    """Of one set of candidates and one share of repeats."""
    repeats = f"{case['repeats']:.0%} of requests repeat an earlier one (assumed)" if case["repeats"] else "No repeats"
    yield f"{case['title']}. {repeats}; the afternoon:"
    for name, way in case["ways"].items():
        yield f"  {name:32} {figures(way)}"


def figures(way: Mapping[str, Any]) -> str:
    """Of one way."""
    low, high = way["to_strong_95"]
    share = way.get("slider")
    slider = "" if share is None else f"  slider {share:.2f}"
    return (
        f"${way['usd']:8.3f}  saved {way['saved']:6.1%}  right {way['quality']:.3f}"
        f"  to strong {way['to_strong']:+.3f} [{low:+.3f}, {high:+.3f}]"
        f"  dear {way['dear_share']:4.0%}  hits {way['hits']:3.0%}{slider}"
    )


def through(found: Mapping[str, Any]) -> Iterator[str]:
    """Of a day through the product."""
    wanted = "the usual setting" if found["wanted"] is None else f"{found['wanted']:.0%} wanted"
    yield (
        f"{found['questions']}: {found['requests']:,} requests through the product, {found['repeats']:.0%} repeats,"
        f" {wanted}; each was answered by whom and for what was reckoned. The afternoon:"
    )
    yield f"  {'the product':32} {figures(found['afternoon'] | {'slider': found['slider']})}"
    yield f"  {'as the tables reckon':32} {figures(found['by_table'])}"
    yield (
        f"  The whole day in its ledger: spent ${found['spent_usd']:.6f}; the cache saved"
        f" ${found['saved_by_cache_usd']:.6f}, of which ${found['proven_usd']:.6f} are proven by `savings verify`."
        f" {found['per_s']} requests a second."
    )
