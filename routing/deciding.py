"""Which models are asked, in which order, and why: a pure function of what is known at the moment.

What is wanted: P(good) − λ_cost · cost − λ_latency · latency, among those that no hard rule excludes. The same
inputs make the same decision, whichever process makes it and when.
"""

from __future__ import annotations

import math
from hashlib import blake2b

from routing.decision import Bar, CandidateView, Cascade, Choice, Decision, DecisionInputs, HealthWord, Part, Tier

MICROS = 1_000_000  # in a dollar
UNKNOWN_MICROS = 10_000  # at least, of a call whose price nobody knows
FREE, DEAR = "cheap", "dear"
TIERS: tuple[Tier, ...] = ("small", "mid", "strong")
HEALTH: dict[HealthWord, float] = {"slow": -0.05, "failing": -0.3}  # what the word adds to a score


def decide(inputs: DecisionInputs) -> Decision:
    """Put the candidates in order.

    Raises ValueError where one has no probability, or two have one name.
    """
    if len({one.name for one in inputs.candidates}) < len(inputs.candidates):
        raise ValueError("two candidates have one name")
    for one in inputs.candidates:
        if not 0 <= one.p_good <= 1:
            raise ValueError(f"P(good) of {one.name} is {one.p_good}")
    barred = {one.name: bars for one in inputs.candidates if (bars := _bars(one, inputs))}
    able = [one for one in inputs.candidates if one.name not in barred]
    parts = {one.name: _parts(one, able, inputs) for one in able}
    scores = {name: math.fsum(part.value for part in some) for name, some in parts.items()}
    ranked = sorted(able, key=lambda one: (-scores[one.name], not one.is_local, one.name))
    sides = _sides(able)
    gain, cheap_good = _gain(ranked, sides)
    reason = "the best by its score"
    if inputs.threshold is not None and gain is not None:
        lead = DEAR if gain >= inputs.threshold else FREE
        ranked.sort(key=lambda one: sides[one.name] != lead)  # stable: by score within each side
        compared = "reaches" if lead == DEAR else "is below"
        reason = f"a gain of {gain:.3f} by the dear side {compared} the line at {inputs.threshold:.3f}"
    ranked, cascade = _cascaded(ranked, scores, sides, gain, inputs)
    reason = cascade.why if cascade else reason
    ranked, propensity, is_explored = _explored(ranked, inputs)
    if is_explored:
        reason, cascade = f"drawn by chance, as {inputs.explore_share:.1%} of calls are", None
    choices = [
        Choice(one.name, place, scores[one.name], parts[one.name], _why(one, place, sides, reason, scores, ranked))
        for place, one in enumerate(ranked)
    ]
    choices += [
        Choice(
            one.name, None, None, (), "Not asked: " + "; ".join(bar.why for bar in barred[one.name]), barred[one.name]
        )
        for one in inputs.candidates
        if one.name in barred
    ]
    why = f"{ranked[0].name} is asked first: {reason}." if ranked else "A hard rule excludes every model."
    return Decision(tuple(choices), propensity, is_explored, gain, cheap_good, cascade, why)


def draws_of(request_id: str) -> tuple[float, float]:
    """Two numbers from 0 to below 1 that are the request's own: the same request draws the same again."""
    said = blake2b(request_id.encode(), digest_size=16, person=b"explore").digest()
    return (int.from_bytes(said[:8]) >> 11) / 2**53, (int.from_bytes(said[8:]) >> 11) / 2**53


def _bars(one: CandidateView, inputs: DecisionInputs) -> tuple[Bar, ...]:
    """Every hard rule that excludes it."""
    bars = list(one.bars)
    if inputs.is_local_only and not one.is_local:
        bars.append(Bar("privacy", "the question must not leave this machine"))
    if one.health == "down":
        bars.append(Bar("health", "it does not answer at the moment"))
    return tuple(bars)


def _parts(one: CandidateView, able: list[CandidateView], inputs: DecisionInputs) -> tuple[Part, ...]:
    """What its score is made of. What nobody knows counts as the worst that is known of the others."""
    parts = [Part("P(good)", one.p_good)]
    if inputs.cost_weight:
        cost, name = one.cost_micros, "cost"
        if cost is None:  # an unknown price is said, and never taken for nothing
            cost, name = max(UNKNOWN_MICROS, *(other.cost_micros or 0 for other in able)), "cost, unknown: the dearest"
        parts.append(Part(name, -inputs.cost_weight * cost / MICROS))
    if inputs.latency_weight:
        wait = one.first_token_s
        if wait is None:
            wait = max((other.first_token_s or 0.0 for other in able), default=0.0)
        parts.append(Part("latency", -inputs.latency_weight * wait))
    if one.health in HEALTH:
        parts.append(Part("health", HEALTH[one.health]))
    return tuple(parts)


def _sides(able: list[CandidateView]) -> dict[str, str]:
    """Which of the two sides of the slider each is on: what is paid for is dear; else the strongest tier is."""
    paid = {one.name: one.cost_micros is None or one.cost_micros > 0 for one in able}
    if len(set(paid.values())) == 2:
        return {name: DEAR if is_paid else FREE for name, is_paid in paid.items()}
    best = max((TIERS.index(one.tier) for one in able), default=0)
    if all(TIERS.index(one.tier) == best for one in able):
        return {}
    return {one.name: DEAR if TIERS.index(one.tier) == best else FREE for one in able}


def _gain(ranked: list[CandidateView], sides: dict[str, str]) -> tuple[float | None, float | None]:
    """What the first of the dear side is expected to add to the first of the cheap one, and P(good) of that."""
    if not sides:
        return None, None
    first = {side: next(one.p_good for one in ranked if sides[one.name] == side) for side in (FREE, DEAR)}
    return first[DEAR] - first[FREE], first[FREE]


def _cascaded(
    ranked: list[CandidateView],
    scores: dict[str, float],
    sides: dict[str, str],
    gain: float | None,
    inputs: DecisionInputs,
) -> tuple[list[CandidateView], Cascade | None]:
    """Local first and the cloud after it, where there is little between them.

    With a slider these are the first of either side, between whom the gain is: that it is local puts no model before a
    better one that costs nothing.
    """
    if inputs.threshold is not None and gain is not None:
        local, cloud = (next(one for one in ranked if sides[one.name] == side) for side in (FREE, DEAR))
        between, what = gain - inputs.threshold, "of the slider's line"
    else:
        first_local = next((one for one in ranked if one.is_local), None)
        first_cloud = next((one for one in ranked if not one.is_local), None)
        if first_local is None or first_cloud is None:
            return ranked, None
        local, cloud = first_local, first_cloud
        between, what = scores[cloud.name] - scores[local.name], f"between {local.name} and {cloud.name}"
    if not inputs.band or not local.is_local or cloud.is_local or abs(between) > inputs.band:
        return ranked, None
    why = f"within {inputs.band:g} {what}, so {local.name} answers, and {cloud.name} where it is unsure"
    rest = [one for one in ranked if one not in (local, cloud)]
    return [local, cloud, *rest], Cascade(local.name, cloud.name, why)


def _explored(ranked: list[CandidateView], inputs: DecisionInputs) -> tuple[list[CandidateView], float, bool]:
    """With a small chance another that may be asked comes first; with how much, whoever comes first had."""
    if not ranked:
        return ranked, 0.0, False
    pool = sorted((one for one in ranked if one.health in ("well", "unknown")), key=lambda one: one.name)
    if len(ranked) < 2 or not pool or inputs.explore_share <= 0:
        return ranked, 1.0, False
    share, (draw, which) = inputs.explore_share, inputs.explore_draw
    is_explored = draw < share
    usual = ranked[0]
    if is_explored:
        drawn = pool[min(len(pool) - 1, int(which * len(pool)))]
        ranked = [drawn, *(one for one in ranked if one is not drawn)]
    propensity = (1 - share if ranked[0] is usual else 0.0) + (share / len(pool) if ranked[0] in pool else 0.0)
    return ranked, propensity, is_explored


def _why(
    one: CandidateView,
    place: int,
    sides: dict[str, str],
    reason: str,
    scores: dict[str, float],
    ranked: list[CandidateView],
) -> str:
    score = scores[one.name]
    if place == 0:
        return f"Asked first: {reason}; its score is {score:.3f}."
    side = f", on the {sides[one.name]} side" if one.name in sides else ""
    after = score - scores[ranked[0].name]
    return f"Asked when those before it ({place}) do not answer: {score:.3f}{side}, {after:+.3f} to the first."
