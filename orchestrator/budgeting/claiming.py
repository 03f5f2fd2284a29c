"""Of machines that spend the same budgets, one tells of an alert: who says first, in Redis, that it will."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from django.db import connection
from redis.exceptions import RedisError

from orchestrator.core.redis_async import open_redis
from orchestrator.ledger import accounts, pots
from orchestrator.ledger.accounts import Account
from orchestrator.ledger.share_scripts import TABLE
from orchestrator.models import BudgetAlert, Machine

log = logging.getLogger(__name__)

WITHIN_S = 2.0
REMEMBERED_S = 120 * 86_400  # longer than any period but the one without an end


def this_machine() -> str:
    """Its name among others; empty before it has one."""
    return Machine.objects.filter(is_own=True).values_list("name", flat=True).first() or ""


def place_of(row: BudgetAlert) -> str:
    """Where machines say who tells of it: another place once the amount is another, as it is told anew then."""
    (place,) = places_of([row])
    return place


def places_of(rows: Collection[BudgetAlert], amount: int | None = None) -> list[str]:
    """Those of several, of budgets that are there; `amount`: not what the budget allows by now, but so much."""
    found = [(row, Account.of(row.budget_id, row.under, row.begins)) for row in rows]
    with connection.cursor() as cursor:
        rules = accounts.rules(cursor, {row.budget_id for row in rows}, also_off=True)
        named = pots.pots(cursor, rules, {account for _, account in found})
    return [
        f"{TABLE}:told:{named[account]}:{rules[row.budget_id].amount if amount is None else amount}:{row.share}"
        for row, account in found
    ]


async def claim(place: str, machine: str) -> bool:
    """Whether it is `machine` that tells; also when Redis does not answer: twice is better than never."""
    redis = open_redis(timeout_s=WITHIN_S, most_connections=1)
    try:
        async with asyncio.timeout(WITHIN_S):
            if await redis.set(place, machine, nx=True, ex=REMEMBERED_S):
                return True
            return await redis.get(place) == machine.encode()
    except (RedisError, OSError, TimeoutError) as error:
        log.warning("Redis did not say whether another machine tells of an alert (%s)", error)
        return True
    finally:
        await redis.aclose()


async def forget(places: Collection[str]) -> None:
    """Whoever comes to those shares from now on tells of them, whoever told before. Where Redis is out they stay."""
    redis = open_redis(timeout_s=WITHIN_S, most_connections=1)
    try:
        async with asyncio.timeout(WITHIN_S):
            await redis.unlink(*places)
    except (RedisError, OSError, TimeoutError) as error:
        log.warning("Redis did not forget who told of %d alerts (%s)", len(places), error)
    finally:
        await redis.aclose()
