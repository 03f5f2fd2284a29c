"""One request in words: who answered, how fast, on which try, and why."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from dashboard import formats
from dashboard.requests.one import One
from dashboard.requests.waterfall import short_name
from dashboard.tiers import NAMES, Tier
from orchestrator.ledger.stats import ENDED_WELL, FROM_CACHE, Figures, has_failed
from orchestrator.ledger.wording import ending
from orchestrator.models import Attempt, RequestRecord

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
MOST_TOLD = 3  # failures that the sentence names
_RULE = re.compile(r'rule "(?P<rule>.+?)"')


@dataclass(frozen=True, slots=True)
class Told:
    """What a page of one request opens with."""

    headline: str
    why: str
    state: str  # ok, slow, down
    name: str = ""  # of the model, as the headline has it
    rule: str = ""  # that named who was asked


def told(one: One) -> Told:
    """The first two lines."""
    record = one.record
    sentences = [_tier(record), *_failures(one.tried), _chosen(record)]
    if record.error and record.outcome not in ENDED_WELL:
        sentences.append(formats.sentence(record.error))
    state = "down" if has_failed(record) else "slow" if one.tried else "ok"
    return Told(
        _headline(record, len(one.tried)), " ".join(filter(None, sentences)), state, short_name(record), _rule(one)
    )


def _headline(record: RequestRecord, failed: int) -> str:
    took = length(record.total_us)
    if record.outcome == "cancelled":
        return f"Cancelled by its caller after {took}."
    if record.outcome not in ENDED_WELL:
        word = "Not answered" if has_failed(record) else "Refused"
        tries = f", after {failed} {'try' if failed == 1 else 'tries'}" if failed else ""
        return f"{word}: {ending(record.outcome)}, {took}{tries}."
    by = short_name(record) or record.asked_model
    if record.tier in FROM_CACHE:
        where = NAMES[Tier(record.tier)]
        by = "by meaning" if record.tier == Tier.SEMANTIC else f"from {where if where != 'Memory' else 'memory'}"
        return f"Answered {by} in {took}."
    if record.tier == Tier.COLLAPSED:
        return f"Answered by {by} in {took}, by a call that was under way."
    cut = ", cut at its length limit" if record.outcome == "cut" else ""
    tries = f", on the {_ordinal(failed + 1)} try" if failed else ""
    return f"Answered by {by} in {took}{tries}{cut}."


def _tier(record: RequestRecord) -> str:
    if record.tier in FROM_CACHE:
        return "An answer was kept; no model was asked."
    return {
        Tier.MISS: "No tier had it.",
        Tier.COLLAPSED: "No tier had it, and somebody else was asking the same: both got that answer.",
        Tier.BYPASS: "The cache was not asked, since its caller, its key or a rule says so.",
    }.get(Tier(record.tier), "It did not get as far as an answer.")


def _failures(tried: list[Attempt]) -> Iterable[str]:
    for one in tried[:MOST_TOLD]:
        yield f"{one.model} {failure(one)}."
    if len(tried) > MOST_TOLD:
        yield f"{len(tried) - MOST_TOLD} more did not answer."


def failure(one: Attempt) -> str:
    """What became of asking somebody, after their name."""
    took = length(one.took_us)
    words = {
        "engine_timeout": f"sent nothing for {took}",
        "not_sure": "was not sure enough",
        "not_taken": "gave an answer that was not taken",
        "rate_limited": "had too many requests",
        "engine_refused": "refused",
        "engine_unreachable": "could not be reached",
        "outraced": "was slower than another",
        "cancelled": "was cancelled",
    }
    return words.get(one.outcome, f"failed after {took} ({ending(one.outcome).removeprefix('engine ')})")


def _chosen(record: RequestRecord) -> str:
    route = record.route
    if not route or (record.tier in FROM_CACHE and not _RULE.search(route)):
        return ""
    if route == "named":
        return "It was asked for by its name." if record.tier not in FROM_CACHE else ""
    if route.startswith("auto"):
        why = route.removeprefix("auto").partition(";")[0]  # the rest is who did not answer, which was told
        return formats.sentence(f"The router chose{why}" if why else "")
    rule = _RULE.search(route)
    return f"The rule “{rule['rule']}” had a part in who was asked." if rule else ""


def _rule(one: One) -> str:
    """The rule that had a part in who was asked."""
    found = _RULE.search(one.record.route)
    return found["rule"] if found else ""


def saved_by(why: str | None) -> str:
    """How it is known what an answer saved."""
    words = {
        "price": "by the model’s price",
        "charge": "what the call had cost",
        "free": "its model answers for nothing",
        "unknown": "nobody knows the price",
    }
    return words.get(why or "", why or "")


def slower_than(record: RequestRecord, figures: Figures | None) -> float | None:
    """The share of requests of a period that took less; None where there are too few to compare."""
    if figures is None or figures.requests < 20:  # a share of fewer says little
        return None
    less = sum(n for one in figures.buckets for took, n in one.durations.items() if took < record.total_us)
    whole = sum(n for one in figures.buckets for n in one.durations.values())
    return less / whole if whole else None


def _ordinal(number: int) -> str:
    return ORDINALS[number - 1] if number <= len(ORDINALS) else f"{number}th"


def length(microseconds: float) -> str:
    """A length of time in prose."""
    return formats.NARROW.join(formats.duration(microseconds))
