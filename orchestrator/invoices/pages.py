"""Pages of JSON, as providers' APIs give them: one, a list of them, or one after the other in a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any, NoReturn

from orchestrator.core.errors import BadRequest
from orchestrator.invoices.account import MOST_LINES
from orchestrator.invoices.cells import Cells

_BLANKS = re.compile(r"\s*")
_DAY = timedelta(days=1)
Found = dict[str, Any]


def items(text: str) -> list[tuple[str, Found]]:
    """The objects under `data` of all pages, each with its place. Raises BadRequest where a page is wrong, or lacks."""
    pages = list(_pages(text))
    found = []
    for number, page in enumerate(pages, 1):
        data = page.get("data") if isinstance(page, dict) else None
        if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
            raise BadRequest(f"page {number}: there is no list of objects under `data`.")
        found += [(f"page {number}, data[{place}]", one) for place, one in enumerate(data)]
        if len(found) > MOST_LINES:
            raise BadRequest(_too_many())
    if not pages:
        raise BadRequest("There is nothing in the file.")
    if pages[-1].get("has_more") is True:
        raise BadRequest("The last page says that more follow (has_more): ask for them with next_page, and add them.")
    return found


def results(found: list[tuple[str, Found]]) -> list[tuple[str, Found, list[Found]]]:
    """What stands under `results` in each span of time. Raises BadRequest."""
    spans = []
    lines = 0
    for place, span in found:
        inner = span.get("results")
        if not isinstance(inner, list) or not all(isinstance(one, dict) for one in inner):
            raise BadRequest(f"{place}: there is no list of objects under `results`.")
        lines += len(inner)
        spans.append((place, span, inner))
    if lines > MOST_LINES:
        raise BadRequest(_too_many())
    return spans


def must_be_once(found: list[tuple[str, Found]]) -> None:
    """Raises BadRequest where an object is there twice: each tells all of one day's use of one thing."""
    seen: set[str] = set()
    for place, one in found:
        _see(seen, place, one)


def must_be_whole(spans: list[tuple[str, Found, list[Found]]], begin: str, end: str, *, has_one_each: bool) -> None:
    """Raises BadRequest where a page is missing between others, or is there twice: days without use have a span.

    has_one_each  whether a span of time has one object only: two with other numbers were asked for at two times.
    """
    days = set()
    seen: set[str] = set()
    for place, span, inner in spans:
        days.add(Cells(place, span).day_of_span(begin, end))
        if inner:
            _see(seen, place, [str(span.get(begin)), *([] if has_one_each else [inner])])
    for day in sorted(days)[:-1]:
        if day + _DAY not in days:
            raise BadRequest(f"There is nothing about {day + _DAY}, not even that nothing was used: a page is missing.")


def _see(seen: set[str], place: str, value: object) -> None:
    digest = json.dumps(value, default=str, sort_keys=True)
    if digest in seen:
        raise BadRequest(f"{place}: it is there twice; a page was added twice, or two that overlap.")
    seen.add(digest)


def _pages(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal, parse_constant=_no_number)
    place = _skip(text, 0)
    while place < len(text):
        try:
            value, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise BadRequest(f"line {error.lineno}: it is no JSON: {error.msg}.") from None
        except (RecursionError, ValueError, ArithmeticError):
            raise BadRequest("It is no JSON that can be read.") from None
        yield from value if isinstance(value, list) else (value,)
        place = _skip(text, place)


def _skip(text: str, place: int) -> int:
    found = _BLANKS.match(text, place)
    assert found is not None  # it takes none, too
    return found.end()


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


def _too_many() -> str:
    return f"There are more than {MOST_LINES:,} lines; export a shorter time."
