"""Whether what records claim to have saved is what the calls cost that paid for it.

For each claim the charge of the call that made the answer is looked up, and what a call would have cost is reckoned
from its tokens and the rates of the price that the claim names. The daily sums are compared with the records.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

MOST_NAMED = 20
DAY_S = 86_400
SHARED = "collapsed"
WITHOUT_A_CALL = ("memory", "redis", "sqlite", "semantic", SHARED)
WAYS = ("price", "charge", "free", "unknown")  # by which a claim is reckoned

_CLAIMS = """
SELECT substr(at, 1, 10) AS day, tenant_id, granted_by_id, model, tier, outcome,
       saved_microusd AS claimed, saved_why AS why, saved_of AS of, saved_price_id AS price_id,
       count(*) AS records, min(id) AS first
FROM orchestrator_requestrecord
WHERE at >= :since AND at < :until
  AND (saved_microusd IS NOT NULL OR saved_why IS NOT NULL OR saved_of IS NOT NULL OR saved_price_id IS NOT NULL)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
ORDER BY first
"""
# Callers are answered with texts and with vectors; any other purpose answered nobody. A request's id is its
# caller's own word, and may have come before.
_PAID = """
SELECT prompt_tokens AS prompt, completion_tokens AS completion, cached_tokens AS cached,
       cache_write_tokens AS written, cache_write_1h_tokens AS for_an_hour, is_estimated, cost_microusd AS cost,
       outcome = 'lost' AS is_lost
FROM orchestrator_charge
WHERE request_id = :of AND tenant_id IN (:reader, :owner) AND model = :model
  AND purpose IN ('answer', 'embedding')
"""
_DAILY = """
SELECT day, tenant_id, sum(saved_microusd) AS saved
FROM orchestrator_spendday WHERE day >= :since AND day < :until GROUP BY 1, 2
"""
_LONGEST = """
SELECT max(CAST(json_extract(rule.value, '$.then.cache.ttl_s') AS REAL)) AS seconds
FROM routing_ruleversion, json_each(document, '$.rules') AS rule
"""
_SPENT = """
SELECT purpose, count(*) AS calls, coalesce(sum(cost_microusd), 0) AS cost, sum(cost_microusd IS NULL) AS unpriced
FROM orchestrator_charge
WHERE at >= :since AND at < :until AND purpose NOT IN ('answer', 'embedding') GROUP BY 1 ORDER BY 1
"""


class Rates(NamedTuple):
    """Dollars for a million tokens, which is millionths for one; of questions longer than `above` tokens."""

    above: int
    input: Fraction
    output: Fraction
    cache_read: Fraction
    cache_write: Fraction
    cache_write_1h: Fraction


class Difference(NamedTuple):
    """What is not as it should be: of so many records alike, the first; or, without one, of a day."""

    words: str
    records: int = 0
    record: int | None = None  # its number
    request_id: str | None = None


@dataclass
class Proof:
    """What was found of the days from `since` until before `until`. Amounts are millionths of a dollar."""

    since: date
    until: date
    answers: int = 0  # that claim something, be it nothing
    saved: int = 0  # as claimed
    proven: int = 0  # of that, as reckoned here
    estimated: int = 0  # of that, by counts that are estimates
    lost: int = 0  # claimed for calls whose process died before it wrote what they cost
    gone: int = 0  # claimed for calls whose charges may be kept no longer
    free: int = 0  # answers that saved nothing, since a call costs nothing
    unknown: int = 0  # answers of which nobody knows what they saved
    spent: dict[str, int] = field(default_factory=dict)  # on what answered nobody, by purpose: judges and shadows
    unpriced: int = 0  # calls of that kind whose cost nobody knows
    differing: int = 0  # records and days
    differences: list[Difference] = field(default_factory=list)  # the first of them

    @property
    def net(self) -> int:
        """What is left of the proven savings less what answered nobody, which saved nothing."""
        return self.proven - sum(self.spent.values())

    def differs(self, difference: Difference) -> None:
        """Count it, and keep it while there are few."""
        self.differing += difference.records or 1
        if len(self.differences) < MOST_NAMED:
            self.differences.append(difference)


def prove(
    ledger: Path,
    since: date,
    until: date,
    others: Sequence[Path] = (),
    charged_since: date | None = None,
    ttl_s: float = 0,
) -> Proof:
    """Reckon the claims of the days from `since` until before `until` again.

    others         ledgers of machines that share a cache with this one: what one paid for saves another's calls.
    charged_since  charges of days before it may have been deleted; None: none was.
    ttl_s          how long an answer is kept where no rule says so.
    Raises sqlite3.Error when one of them cannot be read.
    """
    proof = Proof(since, until)
    with ExitStack() as closes:
        opened = [closes.enter_context(closing(_opened(path))) for path in (ledger, *others)]
        for one in opened:
            one.execute("BEGIN")  # what is read of it is of one moment
            one.execute("SELECT 1 FROM orchestrator_charge LIMIT 1")
        longest = timedelta(days=ceil(max([ttl_s, *(_longest_s(one) for one in opened)]) / DAY_S))
        gone_before = None if charged_since is None else charged_since + longest
        _Reckoning(opened[0], opened, proof, gone_before).run()
    return proof


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30)
    connection.row_factory = sqlite3.Row
    return connection


def _longest_s(ledger: sqlite3.Connection) -> float:
    """For how long any version of the rules had an answer kept; 0 where none says so."""
    (seconds,) = ledger.execute(_LONGEST).fetchone()
    return float(seconds or 0)


class _Reckoning:
    """gone_before  an answer from cache of an earlier day may be older than charges are kept; None: none is."""

    def __init__(
        self,
        ledger: sqlite3.Connection,
        paid_in: Sequence[sqlite3.Connection],
        proof: Proof,
        gone_before: date | None,
    ) -> None:
        self._ledger, self._paid_in, self._proof, self._gone_before = ledger, paid_in, proof, gone_before
        self._days = {"since": proof.since.isoformat(), "until": proof.until.isoformat()}
        self._rates: dict[int, list[Rates] | None] = {}

    def run(self) -> None:
        sums: dict[tuple[str, int], int] = {}
        for claim in self._ledger.execute(_CLAIMS, self._days):
            whose = (claim["day"], claim["tenant_id"])
            sums[whose] = sums.get(whose, 0) + (claim["claimed"] or 0) * claim["records"]
            self._check(claim)
        self._compare_days(sums)
        for row in self._ledger.execute(_SPENT, self._days):
            self._proof.spent[row["purpose"]] = row["cost"]
            self._proof.unpriced += row["unpriced"]

    def _check(self, claim: sqlite3.Row) -> None:
        proof, records = self._proof, claim["records"]
        proof.answers += records
        proof.saved += (claim["claimed"] or 0) * records
        proof.free += records if claim["why"] == "free" else 0
        proof.unknown += records if claim["why"] == "unknown" else 0
        wrong = self._malformed(claim)
        if wrong is None and claim["why"] in {"price", "charge"}:
            wrong = self._compare(claim)
        if wrong is not None:
            (request_id,) = self._ledger.execute(
                "SELECT request_id FROM orchestrator_requestrecord WHERE id = ?", (claim["first"],)
            ).fetchone()
            proof.differs(Difference(wrong, records, claim["first"], request_id))

    def _malformed(self, claim: sqlite3.Row) -> str | None:
        """What is wrong with a claim as it stands."""
        why, claimed = claim["why"], claim["claimed"]
        if why not in WAYS:
            return f"it claims {claimed} by {why or 'nothing'}"
        if claim["tier"] not in WITHOUT_A_CALL or claim["outcome"] not in {"done", "cut"}:
            return f"it claims {claimed}, and is {claim['outcome']} by {claim['tier'] or 'nobody'}"
        if (why == "unknown") != (claimed is None) or (why == "free" and claimed != 0):
            return f"it claims {claimed} by {why}"
        if claim["tier"] == SHARED and why == "price":
            return "it shared a call, and claims another price than that call's charge"
        return None

    def _compare(self, claim: sqlite3.Row) -> str | None:
        """Reckon it; what is wrong with it, if anything is. Where an id came twice, one of its calls has to fit."""
        found: list[int | None] = []
        rates = self._rates_of(claim["price_id"]) if claim["why"] == "price" else None
        if claim["why"] == "price" and rates is None:
            return f"it claims {claim['claimed']} by price {claim['price_id']}, which is not there as it was written"
        is_lost = False
        for paid in self._paid(claim):
            if paid["is_lost"]:
                is_lost = True
                continue
            amount = paid["cost"] if rates is None else cost_of(paid, rates)
            if amount == claim["claimed"]:
                self._proof.proven += amount * claim["records"]
                self._proof.estimated += amount * claim["records"] if paid["is_estimated"] else 0
                return None
            found.append(amount)
        if is_lost:
            self._proof.lost += claim["claimed"] * claim["records"]
            return None
        if not found and self._may_be_gone(claim):
            self._proof.gone += claim["claimed"] * claim["records"]
            return None
        if not found:
            return f"it claims {claim['claimed']} for the call of request {claim['of']}, and no such call was charged"
        return f"it claims {claim['claimed']}, and by the call of request {claim['of']} it is {found[0]}"

    def _may_be_gone(self, claim: sqlite3.Row) -> bool:
        """Whether the charge that it names may have been deleted for its age. A shared call's is of the same day."""
        is_old = self._gone_before is not None and date.fromisoformat(claim["day"]) < self._gone_before
        return is_old and claim["tier"] != SHARED

    def _paid(self, claim: sqlite3.Row) -> Iterator[sqlite3.Row]:
        of, reader, owner, model = (claim[name] for name in ("of", "tenant_id", "granted_by_id", "model"))
        for ledger in self._paid_in:
            yield from ledger.execute(_PAID, {"of": of, "reader": reader, "owner": owner, "model": model})

    def _rates_of(self, number: int | None) -> list[Rates] | None:
        if number is None:
            return None
        if number not in self._rates:
            row = self._ledger.execute(
                "SELECT provider, model, source, digest, rates FROM orchestrator_pricerow WHERE id = ?", (number,)
            ).fetchone()
            self._rates[number] = read_rates(row["rates"]) if row and _is_as_written(row) else None
        return self._rates[number]

    def _compare_days(self, sums: dict[tuple[str, int], int]) -> None:
        daily = {(row["day"], row["tenant_id"]): row["saved"] for row in self._ledger.execute(_DAILY, self._days)}
        for day, tenant in sorted(sums.keys() | daily.keys()):
            by_records, by_day = sums.get((day, tenant), 0), daily.get((day, tenant), 0)
            if by_records != by_day:
                words = f"{day}, tenant {tenant}: the records claim {by_records}, the sum of the day is {by_day}"
                self._proof.differs(Difference(words))


def cost_of(tokens: Mapping[str, int] | sqlite3.Row, steps: Sequence[Rates]) -> int:
    """What a call with these tokens costs, in millionths of a dollar, rounded up once.

    steps  those of the shortest questions first; the last that the question reaches holds for all of its tokens.
    """
    rates = [step for step in steps if not step.above or tokens["prompt"] > step.above][-1]
    for_an_hour = tokens["for_an_hour"]
    written = max(tokens["written"] - for_an_hour, 0)
    fresh = max(tokens["prompt"] - tokens["cached"] - written - for_an_hour, 0)
    amounts = (
        fresh * rates.input,
        tokens["cached"] * rates.cache_read,
        written * rates.cache_write,
        for_an_hour * rates.cache_write_1h,
        tokens["completion"] * rates.output,
    )
    return ceil(sum(amounts))


def read_rates(kept: str) -> list[Rates] | None:
    """The rates of a price as they are kept, by the million tokens; None where they cannot be read."""
    try:
        steps = [_step(said) for said in json.loads(kept, parse_float=str)]
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return sorted(steps) if any(not step.above for step in steps) else None


def _is_as_written(price: sqlite3.Row) -> bool:
    """Rows of prices are never changed, and are known by a digest of all that they say."""
    try:
        said = [price["provider"], price["model"], price["source"], json.loads(price["rates"])]
    except ValueError:
        return False
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    digest: str = price["digest"]
    return sha256(text.encode()).hexdigest() == digest


def _step(said: Mapping[str, Any]) -> Rates:
    def rate(name: str, otherwise: Fraction) -> Fraction:
        return otherwise if said.get(name) is None else Fraction(said[name])

    once = rate("cache_write", fresh := Fraction(said["input"]))
    return Rates(
        above=int(said.get("above") or 0),
        input=fresh,
        output=Fraction(said["output"]),
        cache_read=rate("cache_read", fresh),
        cache_write=once,
        cache_write_1h=rate("cache_write_1h", once),
    )
