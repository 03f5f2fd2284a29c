"""The sentence of the page of keys and tenants."""

from __future__ import annotations

from dashboard import formats
from dashboard.costs.verdict import shown_name
from dashboard.keys.board import Board
from dashboard.verdict import Verdict
from orchestrator.ledger.pace import Use

NEAR = 0.8  # of a budget


def verdict(found: Board | None) -> Verdict:
    """How many keys open something, which ends first, and who has spent most of a budget."""
    if found is None:
        return Verdict("Keys and tenants are unknown.", "The database did not answer in time.", "unknown")
    keys = {0: "No key is in use", 1: "One key is in use"}.get(
        found.in_use, f"{formats.count(found.in_use)} keys in use"
    )
    said = [keys, _ending(found), _near(found.worst)]
    state = "slow" if any(said[1:]) else "ok"
    if found.worst is not None and found.worst.is_used_up:
        state = "down"
    return Verdict(f"{'; '.join(filter(None, said))}.", _why(found), state)


def _ending(found: Board) -> str:
    key = found.first_to_end
    if key is None or key.expires_at is None:
        return ""
    return f"{key.name} expires in {formats.left((key.expires_at - found.at).total_seconds())}"


def _near(use: Use | None) -> str:
    if use is None or not use.amount or (use.spent < NEAR * use.amount and not use.is_used_up):
        return ""
    whose = use.name or (use.budget.tenant.name if use.budget.tenant else shown_name(use))
    period = "its budget" if use.budget.period == "total" else f"its {use.budget.period}"
    return f"{whose} has spent {formats.percent(use.spent / use.amount)}{formats.NARROW}% of {period}"


def _why(found: Board) -> str:
    suspended = sum(one.suspended_at is not None for one in found.names)
    count = len(found.names)
    tenants = "One tenant" if count == 1 else f"{formats.count(count)} tenants"
    if found.is_cut:
        tenants = f"More than {tenants}"
    if suspended:
        tenants += f", {formats.count(suspended)} of them suspended"
    held = sum(row.lately.held_back for row in found.tenants)
    if not held:
        return f"{tenants}."
    many = "One request was" if held == 1 else f"{formats.count(held)} requests were"
    return f"{tenants}. {many} held back by a limit or a budget in the last hour."
