"""Why somebody was asked, written with the record of the request: a row beside it, in the same transaction."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime
from typing import Any

import orjson
from django.db import connections

from orchestrator.ledger.sql import Cursor
from orchestrator.models import RouteDecision

log = logging.getLogger(__name__)
ALIAS = "default"
MOST_BYTES = 8 * 1024  # of one document
_COLUMNS = [field.attname for field in RouteDecision._meta.concrete_fields if not field.primary_key]
_VECTOR = _COLUMNS.index("vector")


@dataclass(slots=True, kw_only=True)
class Decided:
    """One decision.

    document  what was known and what followed, as orjson can write it. It is made when it is written, in the ledger's
              thread; the less there is room for, the higher the number that it is asked for, from 0.
    vector    the question's embedding, a signed byte for each number.
    """

    request_id: str
    tenant_id: int
    at: datetime
    document: Callable[[int], dict[str, Any]]
    rules: int = 0
    rule: str = ""
    split: str = ""
    arm: str = ""
    task: str = ""
    complexity: float | None = None
    propensity: float | None = None
    is_explored: bool = False
    vector: bytes | None = None


def rows_of(decided: Sequence[Decided]) -> list[list[Any]]:
    """What is to be written. One that cannot be told is left out, and logged: no record is lost by it."""
    rows = []
    for one in decided:
        try:
            rows.append(_row(one))
        except Exception as error:  # noqa: BLE001  # whatever it is: the record of the request goes on
            log.error("The decision for request %s cannot be written and is lost: %s", one.request_id, error)
    return rows


def insert(rows: Sequence[list[Any]], cursor: Cursor) -> None:
    """Write rows, all or none; the cursor is in a transaction. Raises what the database raises."""
    quote = connections[ALIAS].ops.quote_name
    # They travel as one text, as records do; and their vectors as one row of bytes, since JSON has none.
    vectors, placed = bytearray(), []
    for row in rows:
        vector = row[_VECTOR] or b""
        placed.append([*row[:_VECTOR], [len(vectors) + 1, len(vector)] if vector else None, *row[_VECTOR + 1 :]])
        vectors += vector
    chosen = [f"value ->> {place}" for place in range(len(_COLUMNS))]
    at = f"value ->> '$[{_VECTOR}]"
    chosen[_VECTOR] = f"CASE WHEN {chosen[_VECTOR]} IS NOT NULL THEN substr(%s, {at}[0]', {at}[1]') END"
    into = f"INSERT INTO {quote(RouteDecision._meta.db_table)} ({', '.join(map(quote, _COLUMNS))}) "
    values: list[Any] = [bytes(vectors), orjson.dumps(placed).decode()]
    cursor.execute(f"{into}SELECT {', '.join(chosen)} FROM json_each(%s)", values)  # noqa: S608  # our own columns


def _row(one: Decided) -> list[Any]:
    values: dict[str, Any] = {name: getattr(one, name) for name in _COLUMNS if name != "document"}
    values |= {"at": str(one.at.replace(tzinfo=None)), "document": _told(one)}
    values |= {"rule": one.rule[:80], "split": one.split[:80], "arm": one.arm[:40]}
    return [values[name] for name in _COLUMNS]


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else dict(value)


def _told(one: Decided) -> str:
    for shortness in range(4):
        document = one.document(shortness)
        try:
            told = orjson.dumps(document, default=dict).decode()
        except TypeError:  # what JSON holds and orjson does not: long numbers, half surrogates
            told = json.dumps(document, default=_plain)
        if len(told.encode()) <= MOST_BYTES:
            return told
    raise ValueError(f"it takes more than {MOST_BYTES} bytes")
