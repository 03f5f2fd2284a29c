"""A ledger with the requests of a month, as many as are wanted, made by SQL: 10,000,000 take some minutes and 8 GB."""

from __future__ import annotations

import sys
import time

IN_ONE = 200_000  # rows, in a transaction
TENANTS, KEYS = 12, 24
# A choice by a number below 100, as traffic of a company has it: half from memory, a fifth calls, a few failures.
TIER = (
    "CASE WHEN r < 48 THEN 'memory' WHEN r < 65 THEN 'redis' WHEN r < 74 THEN 'sqlite' WHEN r < 95 THEN 'miss'"
    " WHEN r < 99 THEN 'collapsed' ELSE 'bypass' END"
)
MODELS = (
    *("smollm2:135m", "qwen2.5:3b-instruct", "openai/gpt-4.1-mini", "anthropic/claude-haiku-4-5"),
    *("groq/llama-3.3-70b", "mistral/mistral-small", "openai/gpt-4.1", "llama3.2:1b"),
)
FILL = f"""
INSERT INTO orchestrator_requestrecord (request_id, at, tenant_id, key_id, dialect, endpoint, asked_model, model,
    provider, route, tier, cache_key, tags, unsupported, streamed, status, outcome, error, prompt_tokens,
    completion_tokens, cached_tokens, is_estimated, first_us, engine_first_us, total_us, is_paid, cost_microusd,
    saved_microusd, saved_why)
WITH RECURSIVE
    number(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM number WHERE i + 1 < :until),
    chance AS MATERIALIZED (SELECT i, abs(random() % 100) AS r, abs(random() % 1000) AS f, abs(random() % :models) AS m,
        abs(random() % :tenants) * abs(random() % :tenants) / :tenants AS t, abs(random() % 1000000) / 1e6 AS u,
        abs(random() % 2000) AS p FROM number),
    made AS MATERIALIZED (SELECT *, {TIER} AS tier, value AS model, r >= 74 AS is_model,
        (r BETWEEN 74 AND 94 OR r = 99) AS is_call FROM chance JOIN json_each(:names) ON key = m),
    timed AS (SELECT *, is_call AND f < 20 AS is_failed,
        CAST(CASE WHEN is_model THEN 400000 * pow(10, u * 1.5) ELSE 150 * pow(10, u * 1.3) END AS INTEGER)
        AS total FROM made)
SELECT printf('bench-%010d', i),
    strftime('%Y-%m-%d %H:%M:%f', :begin + i * :every, 'unixepoch') || '000',
    t + :tenant, CASE WHEN t < :tenants THEN t * 2 + p % 2 + :key END,
    'ollama', '/api/chat', CASE WHEN p % 3 THEN model ELSE 'auto' END, model,
    CASE WHEN instr(model, '/') THEN substr(model, 1, instr(model, '/') - 1) ELSE 'llamacpp' END,
    'bench', tier, CASE WHEN tier = 'bypass' THEN '' ELSE printf('%064x', 104729 * p + m) END, '', '', p % 2,
    CASE WHEN is_failed THEN 504 ELSE 200 END, CASE WHEN is_failed THEN 'engine_timeout' ELSE 'done' END, '',
    p, 1 + p % 420, 0, 0, CASE WHEN is_failed THEN NULL WHEN is_model THEN total / 3 ELSE total END,
    CASE WHEN is_call AND NOT is_failed THEN total / 3 END, total,
    is_call AND instr(model, '/') > 0, CASE WHEN is_call AND instr(model, '/') THEN p * 3 ELSE 0 END,
    CASE WHEN NOT is_call THEN p * 3 END, CASE WHEN NOT is_call THEN 'price' END
FROM timed
"""  # noqa: S608  # our own words
TRIED = """
INSERT INTO orchestrator_attempt (request_id, tenant_id, at, provider, model, outcome, error, took_us)
SELECT request_id, tenant_id, at, provider, model, outcome, '', total_us FROM orchestrator_requestrecord
WHERE id > ? AND outcome = 'engine_timeout'
"""
# Beside the records, of a ledger that has none of these yet. One decision in ten is kept, so that it takes less room.
BESIDE = {
    "charges": """
INSERT INTO orchestrator_charge (hold, request_id, at, tenant_id, key_id, provider, model, purpose, outcome,
    prompt_tokens, completion_tokens, cached_tokens, cache_write_tokens, cache_write_1h_tokens, reasoning_tokens,
    is_estimated, cost_microusd, source, doubt, provider_ref, tags)
SELECT printf('%032x', id), request_id, at, tenant_id, key_id, provider, model, 'answer', outcome,
    prompt_tokens, completion_tokens, 0, 0, 0, 0, 0, cost_microusd, 'price', '', '', ''
FROM orchestrator_requestrecord WHERE is_paid AND id > :after AND id <= :upto
""",
    "decisions": """
INSERT INTO orchestrator_routedecision (request_id, tenant_id, at, rules, rule, split, arm, task, complexity,
    propensity, is_explored, document)
SELECT request_id, tenant_id, at, 1, CASE WHEN id % 3 THEN 'Short ones' ELSE '' END,
    CASE WHEN id % 100 THEN '' ELSE 'half of them' END, CASE WHEN id % 100 THEN '' WHEN id % 200 THEN 'a' ELSE 'b' END,
    CASE id % 30 / 10 WHEN 0 THEN 'chat' WHEN 1 THEN 'code' ELSE 'extract' END, id % 97 / 97.0, 1, id % 70 = 0, '{}'
FROM orchestrator_requestrecord WHERE id % 10 = 0 AND id > :after AND id <= :upto
""",
}
DAYS = """
INSERT INTO orchestrator_spendday (day, tenant_id, key_id, provider, model, calls, unpriced, prompt_tokens,
    completion_tokens, cached_tokens, cache_write_tokens, cost_microusd, saved_calls, saved_microusd)
SELECT date(at), tenant_id, COALESCE(key_id, 0), provider, model, SUM(is_paid), 0, SUM(prompt_tokens * is_paid),
    SUM(completion_tokens * is_paid), 0, 0, SUM(cost_microusd), SUM(saved_microusd IS NOT NULL),
    COALESCE(SUM(saved_microusd), 0)
FROM orchestrator_requestrecord GROUP BY 1, 2, 3, 4, 5
"""
ACTS = (("key.issued", "web-app"), ("limit.changed", "acme by the minute"), ("registry.changed", "groq"))


def fill(rows: int, days: float = 30) -> None:
    """Until the ledger has so many requests, spread over the days before now."""
    from django.core.management import call_command
    from django.db import connection

    from orchestrator.core.permissions import EVERYBODY
    from orchestrator.models import ApiKey, RequestRecord, Tenant

    call_command("migrate", verbosity=0)
    if RequestRecord.objects.of(EVERYBODY).exists():
        return
    tenants = [Tenant.objects.get_or_create(name=f"tenant-{number}")[0] for number in range(TENANTS)]
    keys = [
        ApiKey.objects.create(tenant=tenants[number // 2], name=f"key-{number}", prefix=f"bench{number}", digest="x")
        for number in range(KEYS)
    ]
    began = time.perf_counter()
    connection.ensure_connection()
    raw = connection.connection
    raw.execute("PRAGMA synchronous=OFF")
    raw.execute("PRAGMA cache_size=-500000")  # kB
    span_s = days * 86400 - 60
    began_at = time.time() - span_s
    for first in range(0, rows, IN_ONE):
        raw.execute("BEGIN IMMEDIATE")
        bound = {"first": first, "until": min(first + IN_ONE, rows), "begin": began_at, "every": span_s / rows}
        bound |= {"models": len(MODELS), "tenants": TENANTS}
        raw.execute(FILL, bound | {"tenant": tenants[0].pk, "key": keys[0].pk, "names": names()})
        raw.execute(TRIED, [first])
        for sql in BESIDE.values():
            raw.execute(sql, {"after": first, "upto": first + IN_ONE})
        raw.execute("COMMIT")
        say(f"{min(first + IN_ONE, rows):,} rows after {time.perf_counter() - began:.0f} s")
    raw.execute(DAYS)
    _acts(rows // 500, [tenant.pk for tenant in tenants])
    raw.execute("PRAGMA synchronous=FULL")
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def fold() -> None:
    """Add them up, in the background's own steps, and tell how fast, and for how long others waited at most."""
    from orchestrator.ledger.folding import Folder

    folder, began, folded = Folder(), time.perf_counter(), 0
    while some := folder.fold(10.0):
        folded += some
        say(f"{folded:,} folded after {time.perf_counter() - began:.0f} s")
    took = time.perf_counter() - began
    if folded:
        print(f"folding: {folded / took:,.0f} rows/s; longest write {folder.longest_s * 1e3:.0f} ms")


def _acts(count: int, tenants: list[int]) -> None:
    """Events of the audit, chained as ever."""
    from django.db import transaction

    from orchestrator.audit import note

    with transaction.atomic():
        for number in range(count):
            action, subject = ACTS[number % len(ACTS)]
            note("user:mira", action, f"{subject} {number}", tenants[number % len(tenants)], {"amount": [1, number]})


def names() -> str:
    """The models as JSON."""
    return "[" + ", ".join(f'"{model}"' for model in MODELS) + "]"


def say(words: str) -> None:
    sys.stderr.write(f"{words}\n")
