"""The machines that spend the same budgets: this one, and those it has heard of. Each function is a part of somebody's
transaction.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from orchestrator.core.ids import hex_id
from orchestrator.core.inodes import without_generation
from orchestrator.ledger.sql import Cursor, insert_all, moment, packed, table
from orchestrator.models import Machine, Share, ShareElsewhere


class Own(NamedTuple):
    """This machine: its name, and the life of Redis that its shares are of; empty: of none yet."""

    name: str
    life: str


class Peer(NamedTuple):
    """Another machine. `gone` is a word of `Machine.Gone`, or empty."""

    name: str
    label: str
    gone: str
    seen_at: datetime | None = None


def own(cursor: Cursor, file: str) -> Own:
    """This machine; nameless before its ledger was shared, and where it is the copy of another's."""
    cursor.execute(f"SELECT name, life FROM {table(Machine)} WHERE is_own AND file = %s", [file])  # noqa: S608  # our own name
    for row in cursor.fetchall():
        return Own(*row)
    return Own("", "")


def is_still(cursor: Cursor, who: Own) -> bool:
    """Whether this machine is that one, and in that life."""
    cursor.execute(
        f"SELECT 1 FROM {table(Machine)} WHERE is_own AND name = %s AND life = %s AND life <> ''",  # noqa: S608  # our own name
        [*who],
    )
    return bool(cursor.fetchall())


def be(cursor: Cursor, file: str, label: str) -> Own:
    """This machine, which gets a name with the first call, and another one when its ledger lies in another file.

    Then it is a copy, or was brought back: the shares that it tells of are of the machine it was, which may go on.
    A file that was written down by its number alone, as it once was, is the same by that, until this is called.
    """
    cursor.execute(
        f"UPDATE {table(Machine)} SET file = %s WHERE is_own AND file = %s",  # noqa: S608  # our own name
        [file, without_generation(file)],
    )
    if not own(cursor, file).name:
        be_another(cursor, file, label)
    cursor.execute(f"UPDATE {table(Machine)} SET label = %s WHERE is_own AND label <> %s", [label, label])  # noqa: S608  # our own name
    return own(cursor, file)


def be_another(cursor: Cursor, file: str, label: str) -> None:
    """Under a new name, and without any share: those of the old one are not spent here any more."""
    cursor.execute(f"UPDATE {table(Machine)} SET is_own = false, life = ''")  # noqa: S608  # our own name
    cursor.execute(f"UPDATE {table(Share)} SET granted_microusd = 0, number = 0")  # noqa: S608  # our own name
    names = ("name", "label", "is_own", "gone", "life", "file")
    insert_all(cursor, Machine, names, [(hex_id(16), label, 1, "", "", file)])


def enter(cursor: Cursor, who: Own, life: str) -> Own:
    """Redis has forgotten what it said: of that, only what was written by now counts any more."""
    cursor.execute(f"SELECT name, life FROM {table(Machine)} WHERE is_own")  # noqa: S608  # our own name
    if cursor.fetchall() != [tuple(who)]:
        return who  # somebody was first, and it is in another life, or another machine
    cursor.execute(f"UPDATE {table(Machine)} SET life = %s WHERE is_own", [life])  # noqa: S608  # our own name
    cursor.execute(f"UPDATE {table(Share)} SET number = 0")  # noqa: S608  # our own name
    return Own(who.name, life)


def peers(cursor: Cursor) -> list[Peer]:
    """The other machines that are known."""
    cursor.execute(f"SELECT name, label, gone FROM {table(Machine)} WHERE NOT is_own ORDER BY name")  # noqa: S608
    return [Peer(*row) for row in cursor.fetchall()]


def meet(cursor: Cursor, others: Collection[Peer]) -> None:
    """Write down who is there; who was said to be gone stays so."""
    rows = [(one.name, one.label, 0, one.gone, "", "", one.seen_at and moment(one.seen_at)) for one in others]
    conflict = (
        "ON CONFLICT (name) DO UPDATE SET label = excluded.label, seen_at = excluded.seen_at,"
        " gone = CASE WHEN gone = '' THEN excluded.gone ELSE gone END WHERE NOT is_own"
    )
    insert_all(cursor, Machine, ("name", "label", "is_own", "gone", "life", "file", "seen_at"), rows, conflict)
    moved = [one.name for one in others if one.gone == Machine.Gone.MOVED]
    cursor.execute(
        f"DELETE FROM {table(ShareElsewhere)} WHERE machine IN (SELECT value FROM json_each(%s))",  # noqa: S608  # our own name
        [packed(moved)],
    )
