"""manage.py savings: what calls would have cost that were not made, and whether that is so."""

from __future__ import annotations

import sqlite3
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connections

from orchestrator.core.permissions import Permission
from orchestrator.core.text import escaped
from orchestrator.identity.acting import at_terminal
from orchestrator.ledger.rows import ALIAS
from orchestrator.ledger.saved_sums import BY, saved_sums
from orchestrator.management.rows import Rows, as_json, with_json, words
from orchestrator.management.several import UNUSABLE
from orchestrator.proof.savings import Proof, prove

DIFFERENT = 1  # exit code
DAY = timedelta(days=1)
COLUMNS = ("answers", "free", "unknown", "saved_usd")


class Command(Rows):
    """Nothing here changes anything."""

    help = "Show what the cache and shared calls have saved; verify it by what was charged for the answers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Without a command it shows the sums."""
        _with_days(with_json(parser))
        parser.add_argument(
            "--by", action="append", choices=BY, help="what is told apart; may be given more than once (default: all)"
        )
        verify = parser.add_subparsers(dest="command", metavar="COMMAND").add_parser(
            "verify", help="reckon it again from charges and prices, and name what differs (exit code 1)"
        )
        _with_days(with_json(verify))
        verify.add_argument(
            "--with",
            dest="others",
            metavar="LEDGER",
            action="append",
            type=Path,
            help="the ledger of another machine with the same cache, or a copy; may be given more than once",
        )

    def handle(self, *args: Any, command: str | None, **options: Any) -> None:
        """The sums are a command of no name."""
        if command is not None:
            del options["by"]
        super().handle(*args, command=command or "sums", **options)

    def sums(self, since: date | None, until: date | None, by: list[str] | None) -> None:
        """As the records claim them."""
        first, end = since or _kept_since() - DAY, _end(until)
        rows = saved_sums(first, end, by or list(BY), at_terminal().reach(Permission.SEE_USAGE))
        for row in rows:
            row["saved_usd"] = dollars(row.pop("microusd"))
        names = [*(by or BY), *COLUMNS]
        self.table(rows, dict.fromkeys(names, words), "No answer has saved a call in these days.")

    def verify(self, since: date | None, until: date | None, others: list[Path] | None) -> None:
        """From the first day of which every record and charge is kept."""
        kept, charged = _kept_since(), _first_day(settings.CHARGE_DAYS)
        first, end = max(since or kept, kept), _end(until)
        ledger = Path(connections[ALIAS].settings_dict["NAME"])
        try:
            proof = prove(ledger, first, end, others or (), charged, settings.CACHE_TTL_S)
        except sqlite3.Error as error:
            raise CommandError(f"A ledger cannot be read: {error}.", returncode=UNUSABLE) from None
        self.stdout.write(as_json(_said(proof)) if self.is_json else "\n".join(_lines(proof)))
        if proof.differing:
            sys.exit(DIFFERENT)


def _with_days(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--since", type=_day, metavar="DAY", help="the first day, in UTC (default: as records are kept)"
    )
    parser.add_argument("--until", type=_day, metavar="DAY", help="the last day, in UTC (default: today)")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError("a day, as in 2026-11-30") from None


def _end(last: date | None) -> date:
    """The day after the last one; there is none after the last of all."""
    return min(last or datetime.now(UTC).date(), date.max - DAY) + DAY


def _kept_since() -> date:
    """The first day of which no record has gone yet, and no charge."""
    return _first_day(min(settings.RECORD_DAYS, settings.CHARGE_DAYS))


def _first_day(days: int) -> date:
    """The first whole day of what is kept for so many."""
    return (datetime.now(UTC) - timedelta(days=days)).date() + DAY


def dollars(microusd: int) -> str:
    """To the last millionth."""
    return f"{Decimal(microusd).scaleb(-6):.6f}"


def _said(proof: Proof) -> dict[str, Any]:
    return {
        "since": proof.since,
        "until": proof.until - DAY,
        "answers": proof.answers,
        "free": proof.free,
        "unknown": proof.unknown,
        "claimed_microusd": proof.saved,
        "proven_microusd": proof.proven,
        "estimated_microusd": proof.estimated,
        "lost_microusd": proof.lost,
        "gone_microusd": proof.gone,
        "spent_microusd": proof.spent,
        "unpriced": proof.unpriced,
        "net_microusd": proof.net,
        "differing": proof.differing,
        "differences": [difference._asdict() for difference in proof.differences],
    }


def _lines(proof: Proof) -> Iterator[str]:
    """For people."""
    until = proof.until - DAY
    yield f"From {proof.since} to {until} (UTC); of earlier days the records are not kept, but their sums are."
    yield (
        f"{proof.answers:,} answers took no call. {proof.free:,} of them saved nothing, since a call costs nothing;"
        f" of {proof.unknown:,} nobody knows what they saved."
    )
    yield f"Saved, as claimed: {dollars(proof.saved)} USD. Proven: {dollars(proof.proven)} USD,"
    yield f"  {dollars(proof.estimated)} of it by tokens that are estimates and not counts."
    if proof.lost:
        yield f"Not proven: {dollars(proof.lost)} USD, for calls whose process died before it wrote what they cost."
    if proof.gone:
        yield f"Not proven: {dollars(proof.gone)} USD, for calls of so long ago that their charges may be gone."
    if proof.spent:
        spent = ", ".join(f"{dollars(cost)} USD for {purpose}" for purpose, cost in proof.spent.items())
        yield f"Spent apart from that, on judging answers and trying models, which saves nothing: {spent}."
    if proof.unpriced:
        yield f"{proof.unpriced:,} calls of that kind cost nobody knows how much."
    if proof.spent:
        yield f"Proven savings less what was spent apart: {dollars(proof.net)} USD."
    for difference in proof.differences:
        place = "" if difference.record is None else f"Record {difference.record} (request {difference.request_id}): "
        alike = f" {difference.records - 1:,} more are like it." if difference.records > 1 else ""
        yield escaped(f"{place}{difference.words}.{alike}")
    if not proof.differing:
        claims = "Every other claim" if proof.lost or proof.gone else "Every claim"
        yield f"{claims} is what paid for its answer says, and every day's sum is that of its records."
    elif proof.differing > len(proof.differences):
        yield f"{proof.differing:,} records and days differ in all."
