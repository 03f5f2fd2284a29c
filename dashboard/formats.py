"""How figures are written: a narrow no-break space before units, commas in thousands, a real minus."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

from orchestrator.ledger import wording

NARROW = "\u202f"  # narrow no-break space
UNKNOWN = "unknown"
_SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DECIMAL = re.compile(r"(-?)(\d+)((?:\.\d+)?)", re.ASCII)


def count(number: float | None) -> str:
    """12,406; "unknown" when it is not known."""
    if number is None:
        return UNKNOWN
    return f"{round(number):,}".replace("-", "−")


def in_words(number: int) -> str:
    """Two; in figures from 11 on. Nothing is "no", as before a noun."""
    return _SMALL[number] if number < len(_SMALL) else count(number)


def amount(number: str) -> str:
    """A decimal number with all of its digits: −1,234.5670001. What is none stays as it is."""
    found = _DECIMAL.fullmatch(number)
    return number if found is None else f"{'−' if found[1] else ''}{int(found[2]):,}{found[3]}"


def percent(share: float | None) -> str:
    """A share of 0 to 1 as a number of per cents, without the sign: three digits, 100 and 0 only when exact."""
    if share is None:
        return UNKNOWN
    value = share * 100
    if value in {0, 100}:
        return f"{value:.0f}"
    if value < 1:
        return f"{max(value, 0.01):.2f}"
    return f"{min(value, 99.9):.1f}"


def milliseconds(microseconds: float | None) -> str:
    """Milliseconds for a table column, without the unit: 0.04, 0.3, 8.6, 184, 30,000."""
    return "" if microseconds is None else wording.milliseconds(microseconds)


def duration(microseconds: float | None) -> tuple[str, str]:
    """A length of time for prose and figures, as number and unit; three digits at most."""
    if microseconds is None:
        return UNKNOWN, ""
    seconds = microseconds / 1e6
    if seconds < 0.9995:
        return milliseconds(microseconds), "ms"
    if seconds < 9.995:
        return f"{seconds:.2f}", "s"
    if seconds < 99.95:
        return f"{seconds:.1f}", "s"
    if seconds < 600:
        return f"{seconds:.0f}", "s"
    return f"{seconds / 60:,.0f}", "min"


def size(number: float | None) -> str:
    """Bytes in the unit that gives few digits: 512 B, 1.9 GB. A kB is 1,024 bytes, as in the settings."""
    if number is None:
        return UNKNOWN
    value, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1024, larger
    shown = f"{value:.0f}" if unit == "B" or value >= 99.5 else f"{value:.1f}"
    return f"{shown.removesuffix('.0')}{NARROW}{unit}"


def span(seconds: float) -> str:
    """A length of time in its largest unit: 4 s, 2 min, 3 h, 6 d."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{NARROW}{unit}"
    return f"{max(0, int(seconds))}{NARROW}s"


def left(seconds: float) -> str:
    """How long something still has, to the nearest unit: what was kept for a week just now has 7 d."""
    for unit, length, smaller in (("d", 86400, 3600), ("h", 3600, 60), ("min", 60, 1)):
        if round(seconds / smaller) * smaller >= length:
            return f"{round(seconds / length)}{NARROW}{unit}"
    return f"{max(0, round(seconds))}{NARROW}s"


def when(moment: datetime, now: datetime) -> str:
    """How long ago, up to a day; then the day: 2 min ago, 21 Nov, 21 Nov 2025."""
    seconds = (now - moment).total_seconds()
    if seconds < 1:
        return "just now"
    if seconds < 86400:
        return f"{span(seconds)} ago"
    if seconds < 300 * 86400:
        return f"{moment.day} {moment:%b}"
    return f"{moment.day} {moment:%b %Y}"


def exact(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def sentence(words: str) -> str:
    """Words with a capital letter and an end; nothing stays nothing."""
    return f"{words[:1].upper()}{words[1:]}{'' if not words or words[-1] in '.?!' else '.'}"


def listing(words: list[str]) -> str:
    """Redis; Redis and Tasks; Redis, Tasks and Ledger."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def money(microusd: int | None) -> str:
    """An amount to the cent: $1,234.56, −$3.00; what is less than a cent is not nothing."""
    if microusd is None:
        return UNKNOWN
    sign, cents = "−" if microusd < 0 else "", (abs(microusd) + 5_000) // 10_000
    if microusd and not cents:
        return f"{sign}<$0.01"
    return f"{sign}${cents // 100:,}.{cents % 100:02d}" if cents else "$0"


def day(one: date) -> str:
    """21 Nov 2025."""
    return f"{one.day} {one:%b %Y}"
