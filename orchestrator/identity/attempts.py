"""Who guesses waits: longer each time, never longer than a quarter of an hour, and also after a restart.

An attempt is counted before its password is looked at, so a thousand at once are not a thousand free guesses. Accounts
are counted by the name that was typed, whether there is one of that name or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network

from django.db import transaction
from django.utils import timezone

from orchestrator.identity.digests import key_digest
from orchestrator.models import SignInAttempts

FREE: Mapping[str, int] = {"account": 5, "code": 5, "address": 30}  # so many before the first pause
FIRST_PAUSE = timedelta(seconds=1)  # each after it is twice as long
MOST_PAUSE = timedelta(minutes=15)
FORGOTTEN_AFTER = timedelta(hours=1)  # without another
MOST_ROWS = 20_000
_HOUSE = 64  # bits of an IPv6 address that one customer has


def wait_s(subjects: Mapping[str, str], now: datetime | None = None) -> int:
    """Count an attempt by each of `subjects`, by kind. 0: go on; else so many seconds to wait, and none is counted."""
    now = now or timezone.now()
    with transaction.atomic():  # which holds off other writers from its begin
        rows = [_row(kind, name, now) for kind, name in subjects.items()]
        waits = [(row.paused_until - now).total_seconds() for row, _ in rows]
        if max(waits) > 0:
            return int(max(waits)) + 1
        for row, free in rows:
            row.count += 1
            row.at = now
            row.paused_until = now + _pause(row.count - free)
            row.save()
        _drop_old(now)
    return 0


def forgive(subjects: Mapping[str, str]) -> None:
    """That attempt was right: it does not count, and of an account none before it does."""
    with transaction.atomic():
        for kind, name in subjects.items():
            row = SignInAttempts.objects.filter(subject=_subject(kind, name)).first()
            if row is None:
                continue
            if kind == "address" and row.count > 1:  # else whoever has one account could guess at all others
                row.count -= 1
                row.paused_until = row.at
                row.save()
            else:
                row.delete()


def _row(kind: str, name: str, now: datetime) -> tuple[SignInAttempts, int]:
    subject = _subject(kind, name)
    row = SignInAttempts.objects.filter(subject=subject).first()
    if row is None:
        row = SignInAttempts(subject=subject, paused_until=now, at=now)
    elif row.at <= now - FORGOTTEN_AFTER:
        row.count = 0
    return row, FREE[kind]


def _pause(over: int) -> timedelta:
    if over < 0:
        return timedelta()
    pause: timedelta = FIRST_PAUSE * 2 ** min(over, 20)
    return min(pause, MOST_PAUSE)


def _drop_old(now: datetime) -> None:
    SignInAttempts.objects.filter(at__lte=now - FORGOTTEN_AFTER).delete()
    surplus = SignInAttempts.objects.order_by("-at").values_list("pk", flat=True)[MOST_ROWS:]
    if surplus.exists():
        SignInAttempts.objects.filter(pk__in=list(surplus)).delete()


def _subject(kind: str, name: str) -> str:
    return key_digest(f"attempts {kind} {_house(name) if kind == 'address' else name.casefold()}")


def _house(address: str) -> str:
    """All addresses that one customer has count as one."""
    try:
        if ip_address(address).version == 6:
            return str(ip_network(f"{address}/{_HOUSE}", strict=False))
    except ValueError:
        pass
    return address
