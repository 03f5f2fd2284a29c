"""Alerts are told: each in a line of the log, and to an address where one is set.

Whoever is told hears of each at least once: what was sent and whose answer was lost is sent again, under the same
number. The form is that of Standard Webhooks (https://www.standardwebhooks.com), for which there are readers.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from orchestrator.budgeting import claiming
from orchestrator.budgeting.alerts import in_words, shown
from orchestrator.models import BudgetAlert

log = logging.getLogger(__name__)

Run = Callable[[Coroutine[Any, Any, int]], int | None]

TELL_S = 10.0  # how long one may take
MOST_AT_ONCE = 20
MOST_TRIES = 7
FIRST_WAIT_S = 30.0  # and four times as long after each try: half a day in all
KIND = "budget.share_reached"


def tell_due(run: Run) -> int:
    """Tell what is to be told by now, and return how many there were.

    run  what the coroutine returns; None when it was to stop. After one that was not taken the rest waits.
    """
    now, told = timezone.now(), 0
    for row in due(now)[:MOST_AT_ONCE]:
        if not _claim(row, now):
            continue
        alert = next(iter(shown([row])), None)
        if alert is None:  # its budget went with a team or key
            row.delete()
            continue
        if not _is_ours(row, run):
            row.told_at = timezone.now()
            row.save(update_fields=["told_at"])
            continue
        if row.tries == 1 or not settings.ALERT_URL:  # whoever tried before was killed, perhaps before this line
            log.warning("%s.", in_words(alert))
        if settings.ALERT_URL and not _is_taken(row, alert, run):
            break
        row.told_at = timezone.now()
        row.save(update_fields=["told_at"])
        told += 1
    return told


def due(now: datetime) -> QuerySet[BudgetAlert]:
    """What is to be told, the oldest first; found without looking at all that was told."""
    is_due = Q(again_at=None) | Q(again_at__lte=now)
    return BudgetAlert.objects.filter(is_due, told_at=None, tries__lt=MOST_TRIES).order_by("pk")


def signed(name: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers by which whoever is told knows that it is us, and that it is not told what is old."""
    told = {"webhook-id": name, "webhook-timestamp": str(int(at.timestamp()))}
    content = b".".join([told["webhook-id"].encode(), told["webhook-timestamp"].encode(), body])
    digest = hmac.new(key_of(settings.ALERT_SECRET), content, hashlib.sha256).digest()
    return told | {"webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}


def _name(row: BudgetAlert) -> str:
    """The same at each try, and of no other alert: numbers are those of one machine."""
    machine = claiming.this_machine() if settings.REDIS_URL else ""
    return f"alert_{row.pk}" + (f"_{machine[:8]}" if machine else "")


def key_of(secret: str) -> bytes:
    """The bytes to sign with: those behind `whsec_`, or of the text as it is."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:
            pass
    return secret.encode()


def _claim(row: BudgetAlert, now: datetime) -> bool:
    """Whether nobody else tells it. Who claims it and is killed has it told again later."""
    wait = timedelta(seconds=FIRST_WAIT_S * 4**row.tries)
    mine = BudgetAlert.objects.filter(pk=row.pk, tries=row.tries, told_at=None)
    if not mine.update(tries=row.tries + 1, again_at=now + wait):
        return False
    row.tries += 1
    return True


def _is_ours(row: BudgetAlert, run: Run) -> bool:
    """Whether it is this machine that tells, where several spend the budget."""
    if not settings.REDIS_URL or not (machine := claiming.this_machine()):
        return True
    return run(claiming.claim(claiming.place_of(row), machine)) != 0


def _is_taken(row: BudgetAlert, alert: dict[str, Any], run: Run) -> bool:
    from orchestrator.outbound.tell import tell  # here, because it is much to load where there is nobody to tell

    at = timezone.now()
    body = orjson.dumps({"type": KIND, "timestamp": at, "data": alert}, option=orjson.OPT_UTC_Z)
    try:
        status = run(tell(settings.ALERT_URL, body, signed(_name(row), at, body), within_s=TELL_S))
    except OSError as error:  # TimeoutError is one
        why = str(error) or type(error).__name__
    else:
        if status is None or 200 <= status < 300:
            return status is not None
        why = f"HTTP {status}"
    again = "is given up" if row.tries >= MOST_TRIES else "is sent again"
    log.warning("Alert %d was not taken at ORCHESTRATOR_ALERT_URL (%s), and %s", row.pk, why, again)
    return False
