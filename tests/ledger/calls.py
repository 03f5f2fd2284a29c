"""Calls that cost money, as the ledger hears of them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from secrets import token_hex
from typing import Any

from orchestrator.ledger.charging import COLUMNS
from orchestrator.ledger.holds import Charged, Line, Reservation
from orchestrator.models import Budget, Charge

AT = datetime(2026, 11, 26, 12, tzinfo=UTC)
TODAY = AT.date()
CALL: dict[str, Any] = {
    **dict.fromkeys(COLUMNS, 0),
    "request_id": "r",
    "tenant_id": 1,
    "key_id": 7,
    "team_id": None,
    "provider": "openai",
    "model": "openai/big",
    "purpose": "answer",
    "outcome": "done",
    "is_estimated": False,
    "cost_microusd": None,
    "source": "price",
    "price_id": None,
    "provider_ref": "",
    "tags": "",
}


def line(budget: Budget, begins: date = TODAY, under: str = "1") -> Line:
    return Line(budget.pk, budget.name, under, begins, budget.is_hard)


def reservation(*budgets: Budget, amount: int | None = 100, hold: str = "", at: datetime = AT) -> Reservation:
    lines = tuple(line(budget, at.date()) for budget in budgets)
    return Reservation(hold or token_hex(16), at, amount, lines, CALL | {"at": str(at.replace(tzinfo=None))})


def charged(hold: str | Reservation, cost: int | None = 60, *, is_free: bool = False, **columns: Any) -> Charged:
    name = hold if isinstance(hold, str) else hold.hold
    row = CALL | {"hold": name, "at": AT, "cost_microusd": cost, "prompt_tokens": 10} | columns
    return Charged(name, row, is_free)


def budget(amount: int = 1_000, name: str = "acme", **fields: Any) -> Budget:
    return Budget.objects.create(name=name, period="day", each="tenant", amount_microusd=amount, **fields)


def cost() -> int:
    return sum(charge.cost_microusd or 0 for charge in Charge.rows.all())
