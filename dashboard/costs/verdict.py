"""The sentence of the costs page."""

from __future__ import annotations

from dataclasses import dataclass

from dashboard import formats
from dashboard.costs.sums import Costs
from orchestrator.ledger.pace import Use


@dataclass(frozen=True, slots=True)
class CostsVerdict:
    """What is so, why, and where to look."""

    headline: str
    why: str
    state: str = "ok"
    link: str = ""  # a place on the page
    link_words: str = ""


def costs_verdict(found: Costs | None) -> CostsVerdict:
    """What was spent, and whether that is as planned: a budget that is used up first, then calls without a price."""
    if found is None:
        return CostsVerdict("What was spent is unknown.", "The ledger did not answer in time.", "unknown")
    if found.is_empty and not found.uses:
        return CostsVerdict(
            f"Nothing was spent {found.chosen.words}.", "No call went to a provider that charges.", "off"
        )
    spent = f"{formats.money(found.total.cost_microusd)} spent {found.chosen.words}"
    if found.total.cost_microusd == 0:
        spent = (
            f"Nothing known to be spent {found.chosen.words}"
            if found.total.unpriced
            else f"Nothing was spent {found.chosen.words}"
        )
    why = " ".join(filter(None, [_compared(found), _saved(found)]))
    worst = found.uses[0] if found.uses else None
    if worst is not None and worst.state != "ok":
        return CostsVerdict(f"{spent}. {_about(worst)}.", why, worst.state, "#budgets", "See the budgets")
    if found.total.unpriced:
        count = found.total.unpriced
        words = f"{formats.count(count)} {'call has' if count == 1 else 'calls have'} no known price"
        return CostsVerdict(f"{spent}; {words}.", why, "slow", "#unpriced", "See which")
    if worst is not None and worst.projected is not None:
        return CostsVerdict(f"{spent}. {_on_course(worst)}", why)
    return CostsVerdict(f"{spent}.", why)


def shown_name(use: Use) -> str:
    """A budget by its name, and whose it is where it counts several apart."""
    return f"{use.budget.name} of {use.name}" if use.name else use.budget.name


def _about(use: Use) -> str:
    if use.is_used_up:
        return f"Budget {shown_name(use)} is used up"
    over = f"{formats.money(use.projected)} of {formats.money(use.amount)}"
    return f"Budget {shown_name(use)} is on course for {over}"


def _on_course(use: Use) -> str:
    course = f"{formats.money(use.projected)} of {formats.money(use.amount)}"
    return f"All budgets are on course; {shown_name(use)} for {course}."


def _compared(found: Costs) -> str:
    more = found.total.cost_microusd - found.before.cost_microusd
    if not found.before.calls:
        return ""
    if more == 0:
        return f"As much as {found.chosen.before}."
    return f"That is {formats.money(abs(more))} {'more' if more > 0 else 'less'} than {found.chosen.before}."


def _saved(found: Costs) -> str:
    saved = found.total.saved_microusd
    if not found.total.saved_calls:
        return ""
    if saved <= 0:
        return "What the cache saved is not known."
    return f"The cache saved {formats.money(saved)} in {formats.count(found.total.saved_calls)} answers."
