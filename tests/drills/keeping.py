"""What the drill `folding` has processes do with a ledger: write records, fold them, delete old ones, until killed.

What was ever written is remembered by triggers, in the transaction that wrote it. So whatever was killed, and whatever
was deleted since, it is known what the figures are to hold.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

TENANTS = (1, 2, 3)
RECORD_DAYS = 6
# Apart from the days on which the lengths that are kept change: nothing is to depend on how long the drill takes.
AGES_DAYS = ((0, 1), (3, 5), (7, 9), (11, 60), (70, 390), (410, 500))
AT_ONCE = 40  # records
IN_ONE = 15  # records that are deleted in a transaction
REMEMBERED = ("orchestrator_requestrecord", "orchestrator_attempt")
WORDS = ("dialect", "endpoint", "asked_model", "route", "cache_key", "tags", "unsupported", "error")
UNKNOWN = (
    *("first_us", "engine_first_us", "saved_of", "saved_price_id", "adapted", "missed", "stages"),
    *("granted_by_id", "key_id"),
)
MODELS = ("small", "openai/big")


def prepare() -> None:
    """Make the tenants, and remember from now on what is written."""
    from django.db import connection

    from orchestrator.models import Tenant

    for number in TENANTS:
        Tenant.objects.get_or_create(pk=number, defaults={"name": f"drill {number}"})
    with connection.cursor() as cursor:
        for name in REMEMBERED:
            cursor.execute("SELECT group_concat('NEW.' || name) FROM pragma_table_info(%s)", [name])
            values = cursor.fetchone()[0]
            cursor.execute(f"CREATE TABLE seen_{name} AS SELECT * FROM {name} WHERE false")  # noqa: S608  # our own names
            see = f"INSERT INTO seen_{name} VALUES ({values})"  # noqa: S608
            cursor.execute(f"CREATE TRIGGER see_{name} AFTER INSERT ON {name} BEGIN {see}; END")


def write() -> None:
    """Records as the ledger's thread writes them: the attempts of a request follow it in the same turn."""
    from orchestrator.ledger.rows import ALIAS, insert, insert_attempts
    from orchestrator.sqlite.base import turn

    chance = random.Random()  # not after a seed: what it does depends on when it is killed

    def write_some() -> None:
        rows = [row(chance) for _ in range(chance.randrange(1, AT_ONCE))]
        failed = [row for row in rows if row["outcome"] == "engine_timeout" and chance.random() < 0.5]
        attempts = [attempt(row) for row in failed for _ in range(chance.randrange(1, 3))]
        with turn(ALIAS):
            insert(rows)
            insert_attempts(attempts)
        time.sleep(chance.uniform(0, 0.02))

    for_ever(write_some)


def fold() -> None:
    """As the background does, all the time."""
    from orchestrator.ledger.folding import Folder

    def fold_some() -> None:
        Folder().fold(0.3)
        time.sleep(0.005)

    for_ever(fold_some)


def forget() -> None:
    """Delete what is old, as the background does."""
    from orchestrator.ledger import folding, retention

    def forget_some() -> None:
        retention.prune(RECORD_DAYS, IN_ONE)
        folding.prune(time.time(), IN_ONE)
        time.sleep(0.01)

    for_ever(forget_some)


def for_ever(work: Callable[[], None]) -> None:
    """Do it again and again; a turn to write that does not come in time, on a busy machine, is let go by."""
    from django.db import OperationalError

    while True:
        try:
            work()
        except OperationalError as error:
            if "locked" not in str(error):
                raise


def finish() -> None:
    """Fold what is left, then delete what is old."""
    from orchestrator.ledger import retention
    from orchestrator.ledger.folding import Folder

    folder = Folder()
    while folder.fold(60):
        pass
    retention.prune(RECORD_DAYS)


def row(chance: random.Random) -> dict[str, Any]:
    """A record."""
    least, most = chance.choice(AGES_DAYS)
    is_call, has_failed = chance.random() < 0.5, chance.random() < 0.3
    tokens = chance.randrange(1000)
    return {
        **dict.fromkeys(WORDS, ""),
        **dict.fromkeys(UNKNOWN),
        "request_id": token_hex(16),
        "at": datetime.now(UTC) - timedelta(days=chance.uniform(least, most)),
        "tenant_id": chance.choice(TENANTS),
        "model": chance.choice(MODELS),
        "provider": "openai",
        "tier": "miss" if is_call else "memory",
        "streamed": False,
        "status": 504 if has_failed else 200,
        "outcome": "engine_timeout" if has_failed else "done",
        "prompt_tokens": tokens,
        "completion_tokens": chance.randrange(1000),
        "cached_tokens": 0,
        "is_estimated": False,
        "total_us": chance.randrange(10**7),
        "is_paid": is_call,
        "cost_microusd": chance.randrange(10**6) if is_call else 0,
        "saved_microusd": None if is_call else chance.randrange(10**6),
        "saved_why": None if is_call else "price",
    }


def attempt(row: dict[str, Any]) -> Any:
    """Who did not answer it."""
    from orchestrator.ledger.rows import Attempted

    at = datetime.fromisoformat(str(row["at"])).replace(tzinfo=UTC)
    outcome = row["outcome"]
    return Attempted(row["request_id"], row["tenant_id"], at, row["provider"], row["model"], outcome, "", 1)


def tell() -> dict[str, Any]:
    """Some of what pages show of thirty days."""
    from orchestrator.core.permissions import EVERYBODY
    from orchestrator.ledger.stats import figures

    now = datetime.now(UTC)
    found = figures(now - timedelta(days=30), now, EVERYBODY)
    sums = {name: getattr(found, name) for name in ("requests", "errors", "prompt_tokens", "completion_tokens")}
    return sums | {"since": f"{found.since:%Y-%m-%d %H:%M:%S}", "saved": sum(found.saved.values())}


DOES: dict[str, Callable[[], Any]] = {
    "prepare": prepare,
    "write": write,
    "fold": fold,
    "forget": forget,
    "finish": finish,
    "tell": tell,
}
