"""Marks of the pages of requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard import formats
from dashboard.requests.asked import Asked
from dashboard.templatetags.console import clock
from orchestrator.ledger.spreadsheet import dollars
from orchestrator.models import RequestRecord

register = template.Library()

OF_TODAY_S = 20 * 3600  # what is longer ago may be taken for today's


@register.filter
def micro(microusd: int | None) -> SafeString:
    """Dollars to the millionth, as a request is priced; a zero is quiet, and unknown is never nothing."""
    if microusd is None:
        return format_html('<span class="zero" title="unknown">{}</span>', "–")
    if microusd == 0:
        return format_html('<span class="zero">{}</span>', "0")
    return format_html("{}", dollars(microusd).replace("-", "−"))


@register.simple_tag
def saved(record: RequestRecord) -> SafeString:
    """What an answer without a call saved; a call saves nothing, and has nothing to say of it."""
    return SafeString() if record.saved_why is None else micro(record.saved_microusd)


@register.simple_tag
def moment(at: datetime) -> SafeString:
    """A day and a time of day to the millisecond, in UTC."""
    shown = f"{at.day} {at:%b %Y, %H:%M:%S}.{at.microsecond // 1000:03d}"
    return format_html('<time datetime="{}">{}<span class="quiet"> UTC</span></time>', formats.exact(at), shown)


@register.simple_tag
def row_time(at: datetime) -> SafeString:
    """The time of day of a row; with its day, to the minute, where that is longer ago."""
    return clock(at, "second" if (timezone.now() - at).total_seconds() < OF_TODAY_S else "both")


@register.filter
def percents(share: float | None) -> str:
    """A share of 0 to 1 as a length in per cent."""
    return f"{100 * min(max(share or 0.0, 0.0), 1.0):.1f}"


@register.filter
def unbroken(words: str, name: str) -> SafeString:
    """Words with a name in them that is not parted at its hyphens, where there is room."""
    before, found, behind = words.partition(name) if name else (words, "", "")
    return format_html('{}<span class="unbroken">{}</span>{}', before, found, behind)


@register.filter
def maybe(mapping: Mapping[str, str], name: str) -> str:
    """The value of a name, or nothing."""
    return mapping.get(name, "")


@register.filter
def offers(choices: Iterable[Any], value: str) -> bool:
    """Whether a value is among the choices of a field."""
    return any(str(one if isinstance(one, str) else one[0]) == value for one in choices)


@register.filter
def for_period(asked: Asked, slug: str) -> str:
    """The address of the same requests, of another time."""
    return asked.for_period(slug)


@register.filter
def before(asked: Asked, number: int) -> str:
    """The address of those before a number."""
    return asked.with_(before=str(number))


@register.filter
def after(asked: Asked, number: int) -> str:
    """The address of those after a number."""
    return asked.with_(after=str(number))
