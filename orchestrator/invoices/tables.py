"""A CSV file becomes named cells, line by line."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from io import StringIO

from orchestrator.core.errors import BadRequest
from orchestrator.core.text import escaped
from orchestrator.invoices.account import MOST_LINES
from orchestrator.invoices.cells import LONGEST_SHOWN, Cells

MOST_COLUMNS = 100


def header(text: str) -> tuple[str, ...]:
    """The names of the columns, in small letters. Raises BadRequest."""
    _, names = next(_rows(text), (1, []))
    named = tuple(name.strip().lower() for name in names)
    if not any(named):
        raise BadRequest("There is nothing in the file.")
    if len(named) > MOST_COLUMNS:
        raise BadRequest(f"line 1: there are more than {MOST_COLUMNS} columns.")
    if twice := [name for name, times in Counter(named).items() if name and times > 1]:
        raise BadRequest(f"line 1: there are two columns {escaped(twice[0][:LONGEST_SHOWN])!r}.")
    return named


def lines(text: str) -> Iterator[tuple[int, Cells]]:
    """Each row after the header, with the number of its first line. Raises BadRequest."""
    names = header(text)
    rows = _rows(text)
    next(rows)
    for count, (number, row) in enumerate(rows, 1):
        if count > MOST_LINES:
            raise BadRequest(f"There are more than {MOST_LINES:,} lines; export a shorter time.")
        if len(row) != len(names):
            raise BadRequest(f"line {number}: it has {len(row)} cells, and the header {len(names)}.")
        yield number, Cells(f"line {number}", dict(zip(names, row, strict=True)))


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    number = 1
    try:
        for row in reader:
            if row:
                yield number, row
            number = reader.line_num + 1
    except csv.Error as error:
        raise BadRequest(f"line {number}: it is no CSV: {error}.") from None
