"""The values of one line or one JSON object, each read as what it is meant to be, or refused with its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from orchestrator.core.errors import BadRequest
from orchestrator.core.text import escaped

MOST_USD = Decimal(10**9)  # of one line
MOST_PLACES = 30  # behind the point
MOST_COUNT = 10**15
LONGEST_SHOWN = 40  # characters of a value that is wrong
FIRST_YEAR, LAST_YEAR = 2015, 2099

_NUMBER = re.compile(r"[+-]?(?:\d{1,20}(?:\.\d{0,60})?|\.\d{1,60})(?:[eE][+-]?\d{1,2})?", re.ASCII)
_SECONDS = re.compile(r"\d{9,11}(?:\.0+)?", re.ASCII)
_DAY = timedelta(days=1)


class Cells:
    """What stands in one place, by name. Names are of small letters; what is not there is empty."""

    def __init__(self, place: str, values: Mapping[str, Any]) -> None:
        self.place = place
        self._values = values

    def text(self, name: str, most: int) -> str:
        """Words, harmless wherever they are shown."""
        value = self._values.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.wrong(name, "is no text")
        text = escaped(value.strip())
        if len(text) > most:
            raise self.wrong(name, f"is longer than {most} characters")
        return text

    def usd(self, name: str) -> Decimal | None:
        """An amount of dollars, with every digit. Text or number: there is no float on its way."""
        number = self._number(name)
        if number is None:
            return None
        exponent = number.as_tuple().exponent
        if abs(number) >= MOST_USD or not isinstance(exponent, int) or exponent < -MOST_PLACES:
            raise self.wrong(name, f"is beyond what is read: {MOST_USD} dollars, {MOST_PLACES} digits behind the point")
        return number

    def count(self, name: str) -> int | None:
        """How many: whole, and not less than none. A spreadsheet may have made 12.0 of 12."""
        number = self._number(name)
        if number is None:
            return None
        if number < 0 or number > MOST_COUNT or number != number.to_integral_value():
            raise self.wrong(name, "is no count")
        return int(number)

    def must_be_usd(self, name: str) -> None:
        """Raises BadRequest for any other currency."""
        currency = self.text(name, LONGEST_SHOWN)
        if currency.lower() != "usd":
            raise self.wrong(name, "is another currency than US dollars, which alone is compared")

    def moment(self, name: str) -> datetime:
        """A moment in UTC, of seconds since the epoch or as ISO 8601 has it; without an offset it is in UTC."""
        value = self._values.get(name)
        text = str(value).strip() if isinstance(value, str | Decimal) else ""
        try:
            if _SECONDS.fullmatch(text):
                found = datetime.fromtimestamp(int(Decimal(text)), UTC)
            else:
                found = datetime.fromisoformat(text)
                found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, OverflowError):
            raise self.wrong(name, "is no day or moment") from None
        if not FIRST_YEAR <= found.year <= LAST_YEAR:
            raise self.wrong(name, f"is not of the years {FIRST_YEAR} to {LAST_YEAR}")
        return found

    def day(self, name: str) -> date:
        """The day of a moment, in UTC."""
        return self.moment(name).date()

    def day_of_span(self, begin: str, end: str) -> date:
        """The day that a span of time lies in. `end` may be left out."""
        first = self.moment(begin)
        if self._values.get(end) not in (None, ""):
            last = self.moment(end)
            if last <= first:
                raise self.wrong(end, f"is not after {begin}")
            if last > first.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY:
                raise self.wrong(end, "is of another day; export it by day (bucket_width=1d)")
        return first.date()

    def wrong(self, name: str, words: str) -> BadRequest:
        """What is wrong, and where."""
        value = self._values.get(name)
        shown = "" if value in (None, "") else f" {escaped(str(value)[:LONGEST_SHOWN])!r}"
        return BadRequest(f"{self.place}: {name}{shown} {words}.")

    def _number(self, name: str) -> Decimal | None:
        value = self._values.get(name)
        text = str(value).strip() if isinstance(value, str | Decimal) else value
        if text is None or text == "":
            return None
        if not isinstance(text, str) or not _NUMBER.fullmatch(text):
            raise self.wrong(name, "is no number")
        return Decimal(text)
