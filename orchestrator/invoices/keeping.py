"""The rows of accounts: read in, listed and deleted, each change with an event that tells of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta
from hashlib import sha256
from typing import NamedTuple

import orjson
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from orchestrator.core.errors import BadRequest, Conflict, NotThere
from orchestrator.core.permissions import Permission
from orchestrator.core.text import escaped
from orchestrator.identity.acting import Actor
from orchestrator.invoices.account import Account, Line
from orchestrator.invoices.forms import FORMS
from orchestrator.models import ImportedUsage, UsageImport

LAST = 2**63 - 1  # the highest number a row can have
LONGEST_NAME = 255
_COLUMNS = (
    *("line", "day", "model", "kind", "ref", "requests", "prompt_tokens", "completion_tokens", "cached_tokens"),
    *("cache_write_tokens", "cost_usd"),
)
_INSERT = (
    f"INSERT INTO {ImportedUsage._meta.db_table} (of_id, {', '.join(_COLUMNS)}) SELECT %s, "  # noqa: S608  # names of ours
    f"{', '.join(f'value ->> {place}' for place in range(len(_COLUMNS)))} FROM json_each(%s)"
)
_PROVIDER = re.compile(r"[-a-z0-9]{1,40}", re.ASCII)
_DAY = timedelta(days=1)


class Kept(NamedTuple):
    """An account that is kept now, and what of older ones went for it, in words."""

    account: UsageImport
    lines: int
    replaced: tuple[str, ...]


def check_provider(name: str) -> None:
    """Raises BadRequest for what no provider is called. One that is not there any more may be meant."""
    if not name:
        raise BadRequest("provider: say whose account it is, by the provider's name here.")
    if not _PROVIDER.fullmatch(name):
        raise BadRequest("provider: its name here has 1 to 40 small letters, digits and hyphens, as in openai.")


def keep(by: Actor, account: Account, content: bytes, provider: str, name: str = "", *, replaces: bool = False) -> Kept:
    """Keep an account that was read from `content`, all of it or nothing.

    replaces  where an older account of the same kind is about the same days, its lines of those days go

    Raises Forbidden, BadRequest; Conflict where the file is kept already, or another is about these days.
    """
    by.must_for_all(Permission.CHANGE_INVOICES)
    check_provider(provider)
    digest = sha256(content).hexdigest()
    with transaction.atomic():
        if same := UsageImport.objects.filter(digest=digest).first():
            raise Conflict(
                f"This file was imported already, on {same.at:%Y-%m-%d}: it is number {same.pk}, of {same.provider}."
                " Delete that one to import it anew."
            )
        older = _about_the_same(account, provider)
        if older and not replaces:
            raise Conflict(f"{_told_of(older)} Import it with `replace`, and what it says takes the place of theirs.")
        gone = tuple(_make_way(row, account) for row in older)
        row = UsageImport.objects.create(
            provider=provider,
            form=account.form,
            name=escaped(name)[:LONGEST_NAME],
            digest=digest,
            at=timezone.now(),
            by=by.name[:LONGEST_NAME],
            first_day=account.first_day,
            last_day=account.last_day,
        )
        _write(row, account.lines)
        details = {
            "provider": provider,
            "form": account.form,
            "file": row.name,
            "sha256": digest,
            "first_day": str(account.first_day),
            "last_day": str(account.last_day),
            "lines": len(account.lines),
            "replaced": list(gone),
        }
        by.note("invoice.imported", f"invoice {row.pk}", None, details)
    return Kept(row, len(account.lines), gone)


def delete(by: Actor, number: int) -> None:
    """Forget an account. Raises Forbidden, NotThere."""
    by.must_for_all(Permission.CHANGE_INVOICES)
    with transaction.atomic():
        row = _found(number)
        details = {"provider": row.provider, "form": row.form, "file": row.name, "sha256": row.digest}
        by.note("invoice.deleted", f"invoice {row.pk}", None, details)
        row.delete()


def find(by: Actor, number: int) -> UsageImport:
    """One of them. Raises Forbidden, NotThere."""
    by.must_for_all(Permission.SEE_INVOICES)
    return _found(number)


def invoices(by: Actor, *, provider: str | None = None, before: int | None = None) -> QuerySet[UsageImport]:
    """Those that are kept, newest first; before the one of that number."""
    by.must_for_all(Permission.SEE_INVOICES)
    found = UsageImport.objects.order_by("-pk")
    if provider is not None:
        found = found.filter(provider=provider)
    return found if before is None else found.filter(pk__lt=before)


def _found(number: int) -> UsageImport:
    row = UsageImport.objects.filter(pk=number).first() if number <= LAST else None
    if row is None:
        raise NotThere(f"There is no invoice {number}.")
    return row


def _about_the_same(account: Account, provider: str) -> list[UsageImport]:
    kind = FORMS[account.form].account
    return list(
        UsageImport.objects.filter(
            provider=provider,
            form__in=[form.name for form in FORMS.values() if form.account == kind],
            first_day__lte=account.last_day,
            last_day__gte=account.first_day,
        ).order_by("pk")
    )


def _told_of(older: Sequence[UsageImport]) -> str:
    numbers = ", ".join(f"{row.pk} ({row.first_day} to {row.last_day})" for row in older)
    return f"Some of these days are in what was imported before, as number {numbers}."


def _make_way(row: UsageImport, account: Account) -> str:
    """Take from an older account the days of a newer one. Raises Conflict where that would leave it in two pieces."""
    begins_before, ends_after = row.first_day < account.first_day, row.last_day > account.last_day
    if begins_before and ends_after:
        raise Conflict(
            f"Number {row.pk} is about {row.first_day} to {row.last_day}, and this file about days in the middle of"
            " that. Delete that one, or import a file that reaches to either end."
        )
    number = row.pk
    if not begins_before and not ends_after:
        row.delete()
        return f"all of number {number}"
    gone: tuple[date, date]
    if begins_before:
        gone = (account.first_day, row.last_day)
        row.last_day = account.first_day - _DAY
    else:
        gone = (row.first_day, account.last_day)
        row.first_day = account.last_day + _DAY
    row.lines.filter(day__range=gone).delete()
    row.save(update_fields=["first_day", "last_day"])
    return f"{gone[0]} to {gone[1]} of number {number}"


def _write(row: UsageImport, lines: Sequence[Line]) -> None:
    """All of them in one statement: others wait to write meanwhile, and row by row it would be for seconds."""
    values = [
        (
            line.number,
            line.day.isoformat(),
            line.model,
            line.kind,
            line.ref,
            line.requests,
            line.prompt_tokens,
            line.completion_tokens,
            line.cached_tokens,
            line.cache_write_tokens,
            "" if line.cost_usd is None else f"{line.cost_usd:f}",
        )
        for line in lines
    ]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [row.pk, orjson.dumps(values).decode()])
