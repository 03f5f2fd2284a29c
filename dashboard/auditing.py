"""Who changed what: events of the audit as their page has them, looked for in a bounded stretch of the chain."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from django.db import close_old_connections
from django.db.models import Q, QuerySet

from orchestrator import audit
from orchestrator.core.permissions import EVERYBODY, Reach
from orchestrator.models import AuditEvent, AuditHead

PAGE = 50
STRETCH = 20_000  # numbers that one page looks through; events have no gaps
NEWEST = 500  # events whose chain is looked at for each page
MOST_LINES = 10_000  # of a file
LINES = 500  # of a file that are read at once
LOOK_S = 0.08  # for which one look at the chain goes on; a page goes on by itself
BESIDES = ("reason", "from")  # of an event's details: why and from where, beside what was changed


@dataclass(frozen=True, slots=True)
class Asked:
    """Which events are asked for."""

    who: str = ""
    did: str = ""  # an action, or the kind of thing that it was done to
    about: str = ""
    tenant: int | None = None
    first: date | None = None
    last: date | None = None
    before: int | None = None
    after: int | None = None

    @property
    def is_narrowed(self) -> bool:
        """Whether not all of them are asked for."""
        return bool(self.who or self.did or self.about or self.tenant or self.first or self.last)


class Change(NamedTuple):
    """One field, as it was and as it is."""

    field: str
    before: str
    after: str
    is_change: bool  # else it is only told


@dataclass(frozen=True, slots=True)
class Row:
    """An event."""

    event: AuditEvent
    changes: Sequence[Change]
    reason: str
    address: str

    @property
    def who(self) -> str:
        """The name of who did it."""
        return self.event.actor.partition(":")[2] or self.event.actor

    @property
    def way(self) -> str:
        """How they came: on a page, by the API or at a terminal."""
        return {"user": "on a page", "key": "by the API", "command": "at a terminal"}.get(
            self.event.actor.partition(":")[0], ""
        )

    @property
    def did(self) -> str:
        """The verb."""
        return self.event.action.partition(".")[2].replace("_", " ") or self.event.action

    @property
    def summary(self) -> str:
        """What it came to, in a few words."""
        said = [f"{one.field}: {one.before} → {one.after}" for one in self.changes if one.is_change]
        return "; ".join(said[:3]) + ("; …" if len(said) > 3 else "")


@dataclass(frozen=True, slots=True)
class Events:
    """A page of events, the newest first."""

    rows: Sequence[Row]
    older: int | None  # go on before this one
    newer: int | None  # go back to after this one
    looked_to: int | None  # the number up to which nothing was found, where there is more before
    newest: int
    chain: audit.Looked
    chain_at: datetime | None  # of the newest event; None for who does not see everybody's


def read_events(asked: Asked, reach: Reach) -> Events:
    """A page of them, and the newest of the chain looked at."""
    close_old_connections()
    head = AuditHead.objects.first()
    newest = head.event_id if head else 0
    below, above = _bounds(asked, newest)
    chain = audit.look(after=max(0, newest - NEWEST), head=head)
    if asked.after is not None and not asked.before:
        ceiling = min(below, asked.after + STRETCH + 1)
        rows = list(_matching(asked, reach).filter(pk__gt=asked.after, pk__lt=ceiling).order_by("pk")[:PAGE])[::-1]
        older = rows[-1].pk if rows else asked.after + 1
        newer = rows[0].pk if len(rows) == PAGE else ceiling - 1 if ceiling < below else None
        return Events([row_of(one) for one in rows], older, newer, None, newest, chain, _time_of(newest, rows, reach))
    floor = max(above, below - STRETCH - 1)
    found = list(_matching(asked, reach).filter(pk__gt=floor, pk__lt=below).order_by("-pk")[: PAGE + 1])
    rows, is_more = found[:PAGE], len(found) > PAGE
    looked_to = None if is_more or floor <= above else floor + 1
    return Events(
        rows=[row_of(one) for one in rows],
        older=rows[-1].pk if is_more else looked_to,
        newer=(rows[0].pk if rows else asked.before - 1) if asked.before else None,
        looked_to=looked_to,
        newest=newest,
        chain=chain,
        chain_at=_time_of(newest, rows, reach),
    )


def _time_of(number: int, rows: Sequence[AuditEvent], reach: Reach) -> datetime | None:
    """When the newest was, which is among `rows` most often; None for who does not see everybody's."""
    if reach != EVERYBODY:
        return None
    known = (row.at for row in rows if row.pk == number)
    events = AuditEvent.objects.of(reach).filter(pk=number)
    return next(known, None) or events.values_list("at", flat=True).first()


def read_event(number: int, reach: Reach) -> Row | None:
    """One of them; None where there is none, or not for who looks."""
    close_old_connections()
    found = AuditEvent.objects.of(reach).select_related("tenant").filter(pk=number).first()
    return None if found is None else row_of(found)


def for_file(asked: Asked, reach: Reach, before: int | None) -> tuple[list[list[Any]], int | None]:
    """Lines of a file, the newest event first, and where the next ones begin; None: there are none."""
    close_old_connections()
    head = AuditHead.objects.first()
    below, above = _bounds(asked, head.event_id if head else 0)
    below = below if before is None else min(below, before)
    floor = max(above, below - STRETCH - 1)
    found = list(_matching(asked, reach).filter(pk__gt=floor, pk__lt=below).order_by("-pk")[:LINES])
    lines = [
        [
            one.pk,
            one.at.astimezone(UTC).isoformat(timespec="milliseconds"),
            one.actor,
            one.action,
            one.subject,
            one.tenant.name if one.tenant else "",
            one.details.get("reason", "") if isinstance(one.details, dict) else "",
            one.details.get("from", "") if isinstance(one.details, dict) else "",
            json.dumps(one.details, ensure_ascii=False),
            one.request_id,
        ]
        for one in found
    ]
    if len(found) == LINES:
        return lines, found[-1].pk
    return lines, floor + 1 if floor > above else None


def look(after: int, until: Any) -> audit.Looked:
    """How far the chain is whole, after an event."""
    close_old_connections()
    return audit.look(after=after, until=until)


def row_of(event: AuditEvent) -> Row:
    """An event, with what it says of a change taken apart."""
    details = event.details if isinstance(event.details, dict) else {"": event.details}
    is_change = event.action.endswith(".changed")
    changes = [_change(field, value, is_change) for field, value in details.items() if field not in BESIDES]
    return Row(event, changes, str(details.get("reason", "")), str(details.get("from", "")))


def _change(field: str, value: Any, is_change: bool) -> Change:
    if is_change and isinstance(value, list) and len(value) == len(("before", "after")):
        return Change(field, _words(value[0]), _words(value[1]), is_change=True)
    return Change(field, "", _words(value), is_change=False)


def _words(value: Any) -> str:
    """A value as people read it."""
    if value is None or value in ("", [], {}):
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_words(one) for one in value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _matching(asked: Asked, reach: Reach) -> QuerySet[AuditEvent]:
    """By the numbers of events, which are bounded by whoever asks: nothing else is indexed for all of it."""
    rows = AuditEvent.objects.of(reach, by_tenant=False).select_related("tenant")
    if asked.who:
        rows = rows.filter(actor__icontains=asked.who)
    if asked.did:
        is_kind = "." not in asked.did
        rows = rows.filter(action__startswith=f"{asked.did}.") if is_kind else rows.filter(action=asked.did)
    if asked.about:
        rows = rows.filter(subject__icontains=asked.about)
    if asked.tenant is not None:
        rows = rows.filter(Q(tenant_id=asked.tenant))
    return rows


def _bounds(asked: Asked, newest: int) -> tuple[int, int]:
    """Numbers between which the events are: below the one, above the other. Two queries, by the index on time."""
    below, above = newest + 1, 0
    times = AuditEvent.objects.of(EVERYBODY)
    if asked.last is not None:
        end = datetime.combine(asked.last + timedelta(days=1), time(), UTC)
        last = times.filter(at__lt=end).order_by("-at").values_list("pk", flat=True).first()
        below = min(below, (last or 0) + 1)
    if asked.first is not None:
        begin = datetime.combine(asked.first, time(), UTC)
        first = times.filter(at__gte=begin).order_by("at").values_list("pk", flat=True).first()
        above = (first or newest + 1) - 1
    if asked.before is not None:
        below = min(below, asked.before)
    return below, above


def columns() -> Iterator[str]:
    """The head of a file."""
    yield from ("number", "at", "who", "did", "about", "tenant", "reason", "from", "details", "request_id")
