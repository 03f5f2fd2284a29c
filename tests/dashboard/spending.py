"""Money spent: days, charges, budgets and prices of a small company, the same every time."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from orchestrator.core.budgets import Period, begins
from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import ApiKey, Budget, BudgetPeriod, Charge, PriceRow, SpendDay, Tenant

MODELS = {
    "anthropic/claude-sonnet-4-5": ("3", "15"),
    "openai/gpt-4.1-mini": ("0.4", "1.6"),
    "openrouter/qwen/qwen3-32b": ("0.1", "0.3"),
    "groq/llama-3.3-70b-versatile": ("0.59", "0.79"),
}


def tenant_of(name: str) -> Tenant:
    """The tenant of that name."""
    return Tenant.objects.get_or_create(name=name)[0]


def key_of(tenant: str, name: str) -> ApiKey:
    """A key of it."""
    known = {"tenant": tenant_of(tenant), "name": name, "digest": "x"}
    return ApiKey.objects.of(EVERYBODY).get_or_create(prefix=f"{tenant[:4]}{name[:6]}", defaults=known)[0]


def day(on: date, tenant: str = "acme", key: ApiKey | None = None, **fields: Any) -> SpendDay:
    """A sum of a day."""
    usual: dict[str, Any] = {"provider": "openai", "model": "openai/gpt-4.1-mini", "calls": 1}
    key_id = key.pk if key else 0
    return SpendDay.objects.create(day=on, tenant_id=tenant_of(tenant).pk, key_id=key_id, **(usual | fields))


def charge(at: datetime, tenant: str = "acme", **fields: Any) -> Charge:
    """A single charge."""
    return Charge.objects.create(**_charge(at, tenant_of(tenant).pk, **fields))


def _charge(at: datetime, tenant_id: int, number: list[int] = [0], **fields: Any) -> dict[str, Any]:  # noqa: B006
    number[0] += 1
    usual: dict[str, Any] = {
        "hold": f"{number[0]:032x}",
        "request_id": f"request-{number[0]}",
        "at": at,
        "tenant_id": tenant_id,
        "provider": "openai",
        "model": "openai/gpt-4.1-mini",
        "purpose": "answer",
        "outcome": "done",
        "prompt_tokens": 1_000,
        "completion_tokens": 100,
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "cache_write_1h_tokens": 0,
        "reasoning_tokens": 0,
        "is_estimated": False,
        "cost_microusd": 560,
        "source": "price",
    }
    return usual | fields


def price(model: str, input_: str, output: str, source: str = "genai-prices 0.2.3", **rates: Any) -> PriceRow:
    """A price that was used just now, by the model's full name."""
    provider, _, name = model.partition("/")
    longer = rates.pop("longer", [])
    used_at = rates.pop("last_used_at", datetime.now(UTC))
    return PriceRow.objects.create(
        provider=provider,
        model=name,
        source=source,
        digest=f"{model} {input_} {output} {source} {rates}"[:64],
        rates=[{"input": input_, "output": output} | rates, *longer],
        first_used_at=datetime.now(UTC),
        last_used_at=used_at,
    )


def budget(
    name: str,
    amount: int,
    spent: int | None = None,
    *,
    now: datetime,
    under: str = "",
    reserved: int = 0,
    **fields: Any,
) -> Budget:
    """A budget, with what is spent of it in the period that is now."""
    period: Period = fields.setdefault("period", "month")
    row = Budget.objects.filter(name=name).first() or Budget.objects.create(
        name=name, amount_microusd=amount, **({"each": "all"} | fields)
    )
    if spent is not None:
        BudgetPeriod.objects.create(
            budget_id=row.pk,
            under=under,
            begins=begins(period, now),
            spent_microusd=spent,
            reserved_microusd=reserved,
        )
    return row


def company(now: datetime, days: int = 60, seed: int = 1) -> None:
    """Two tenants with keys, who spend on four models, save by the cache, and have budgets."""
    chance = random.Random(seed)
    numbers = {model: price(model, *rates).pk for model, rates in MODELS.items()}
    who = [
        (tenant_of(tenant).pk, key_of(tenant, name).pk)
        for tenant, name in (("acme", "web-app"), ("acme", "batch"), ("northwind", "helpdesk"))
    ]
    rows, charges = [], []
    for back in range(days):
        on = now.date() - timedelta(days=back)
        tide = (0.4 if on.weekday() >= 5 else 1.0) * (1.6 - back / days)
        for tenant_id, key_id in who:
            for model, (input_, output) in MODELS.items():
                calls = int(chance.randint(20, 160) * tide)
                read, written = calls * chance.randint(700, 2400), calls * chance.randint(80, 420)
                cost = int(read * float(input_) + written * float(output))
                is_unpriced = model.startswith("openrouter") and back < 3
                rows.append(
                    SpendDay(
                        day=on,
                        tenant_id=tenant_id,
                        key_id=key_id,
                        provider=model.partition("/")[0],
                        model=model,
                        calls=calls,
                        unpriced=calls if is_unpriced else 0,
                        prompt_tokens=read,
                        completion_tokens=written,
                        cached_tokens=read // 5,
                        cost_microusd=0 if is_unpriced else cost,
                        saved_calls=calls // 2,
                        saved_microusd=int(cost * chance.uniform(0.2, 0.9)),
                    )
                )
                share = chance.randint(0, 20_000)
                at = datetime.combine(on, time(9), UTC) + timedelta(seconds=share)
                if at > now:  # today's are over already
                    at = now - (now - datetime.combine(on, time(), UTC)) * share / 20_000
                fields = {
                    "key_id": key_id,
                    "provider": model.partition("/")[0],
                    "model": model,
                    "prompt_tokens": read,
                    "completion_tokens": written,
                    "cost_microusd": None if is_unpriced else cost,
                    "source": "unknown" if is_unpriced else "price",
                    "price_id": None if is_unpriced else numbers[model],
                    "tags": chance.choice(["", "search", "search,beta", "nightly"]),
                }
                charges.append(Charge(**_charge(at, tenant_id, **fields)))
    SpendDay.objects.bulk_create(rows)
    Charge.objects.bulk_create(charges)
    price("groq/llama-3.3-70b-versatile", "0.64", "0.84", "genai-prices 0.2.4")
    for name, share, fields in (
        ("all-models", 1.5, {}),
        ("acme", 0.8, {"tenant": tenant_of("acme")}),
        ("claude", 2.4, {"model": "anthropic/*", "is_hard": False}),
    ):
        found = SpendDay.objects.of(EVERYBODY).filter(day__gte=begins("month", now), day__lte=now.date())
        if "tenant" in fields:
            found = found.filter(tenant_id=fields["tenant"].pk)  # type: ignore[attr-defined]
        if "model" in fields:
            found = found.filter(provider="anthropic")
        spent = sum(found.values_list("cost_microusd", flat=True))
        gone = (now - datetime.combine(begins("month", now), time(), UTC)) / timedelta(days=30)
        budget(name, int(spent / gone * share), spent, now=now, reserved=int(spent * 0.01), **fields)
