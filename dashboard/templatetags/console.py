"""Filters and marks of the console's templates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from dashboard import formats, tiers
from dashboard.once import FIELD, mark
from dashboard.rules.rows import Piece
from orchestrator.ledger.costs import Sums
from orchestrator.ledger.stats import has_failed
from orchestrator.ledger.wording import ending, tokens_read
from orchestrator.models import RequestRecord
from routing.rules.sentences import NAME, STRONG

register = template.Library()

register.filter("count", formats.count)
register.filter("amount", formats.amount)
register.filter("percent", formats.percent)
register.filter("ms", formats.milliseconds)
register.filter("size", formats.size)
register.filter("exact", formats.exact)
register.filter("span", formats.span)

STATE_WORDS = {"ok": "ok", "slow": "slow", "down": "down", "off": "off"}


@register.simple_tag
def once() -> SafeString:
    """What makes a form do it once, where its answer is shown once."""
    return format_html('<input type="hidden" name="{}" value="{}" autocomplete="off">', FIELD, mark())


@register.filter
def column(number: float | None) -> SafeString:
    """A count in a table; a zero is quiet."""
    if number == 0:
        return format_html('<span class="zero">{}</span>', "0")
    return format_html("{}", formats.count(number))


@register.filter
def tenths(share: float | None) -> str:
    """A share of 0 to 1 as per cents in a column, all to one decimal."""
    return formats.UNKNOWN if share is None else f"{share * 100:.1f}"


@register.filter
def marked(text: str) -> SafeString:
    """Words between backticks as code."""
    parts = text.split("`")
    return format_html_join(
        "", "{}", ((format_html("<code>{}</code>", one) if odd % 2 else one,) for odd, one in enumerate(parts))
    )


@register.filter
def scrollable(rows: SafeString) -> SafeString:
    """The admin's list of rows, which may be wider than the page: keys scroll it, too."""
    return mark_safe(rows.replace('<div class="results">', '<div class="results" tabindex="0">', 1))  # noqa: S308  # it was


@register.filter
def headed(rows: SafeString) -> SafeString:
    """The admin's rows within a form, with words at the head of their first column."""
    named = '<th class="original"><span class="visually-hidden">Row</span></th>'
    return mark_safe(rows.replace('<th class="original"></th>', named, 1))  # noqa: S308  # it was


@register.filter
def at(mapping: Mapping[Any, Any], key: Any) -> Any:
    """The value of a key."""
    return mapping[key]


@register.filter
def short(text: str) -> str:
    """The two ends of a hash; a copy button stands beside it."""
    return f"{text[:8]}…{text[-4:]}" if len(text) > 16 else text


@register.filter
def measure(microseconds: float | None) -> SafeString:
    """A duration with its unit set smaller."""
    number, unit = formats.duration(microseconds)
    if not unit:
        return format_html('<span class="unknown-value">{}</span>', number)
    return format_html('{}<span class="unit">{}{}</span>', number, formats.NARROW, unit)


@register.filter
def seconds(length: float | None) -> str:
    """A duration in seconds, in prose."""
    return took(None if length is None else length * 1e6)


@register.filter
def six_places(microusd: int) -> str:
    """An amount to the millionth of a dollar; nothing is 0."""
    return f"${microusd / 1e6:,.6f}" if microusd else "$0"


@register.filter
def took(microseconds: float | None) -> str:
    """A duration in prose."""
    return formats.NARROW.join(filter(None, formats.duration(microseconds)))


@register.simple_tag
def tokens_in(record: RequestRecord) -> SafeString:
    """The tokens of the question; a dash where nobody had counted them yet."""
    number = tokens_read(record)
    return format_html('<span class="zero" title="unknown">{}</span>', "–") if number is None else column(number)


@register.simple_tag
def ago(moment: datetime) -> SafeString:
    """How long ago, with the exact time on hover."""
    return format_html(
        '<time datetime="{0}" title="{0}">{1}</time>', formats.exact(moment), formats.when(moment, timezone.now())
    )


@register.simple_tag
def since(moment: datetime) -> SafeString:
    """When something began: the time of day, or the day where that is longer ago."""
    return clock(moment) if (timezone.now() - moment).total_seconds() < 86400 else ago(moment)


@register.simple_tag
def until(moment: datetime) -> SafeString:
    """How long until then, with the exact time on hover."""
    left = (moment - timezone.now()).total_seconds()
    words = formats.left(left) if left > 0 else "expired"
    return format_html('<time datetime="{0}" title="{0}">{1}</time>', formats.exact(moment), words)


@register.simple_tag
def clock(moment: datetime, style: str = "minute") -> SafeString:
    """A time of day: in UTC as served, in the viewer's zone once times.js has run.

    style  minute: 13:39; second: 14:24:07.412; both: 9 Nov 13:39.
    """
    shown = f"{moment:%H:%M}"
    if style == "second":
        shown = f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"
    elif style == "both":
        shown = f"{moment.day} {moment:%b %H:%M}"
    return format_html(
        '<time datetime="{0}" title="{0}" data-clock="{1}">{2}</time>', formats.exact(moment), style, shown
    )


@register.filter
def kinds(failures: Mapping[str, int]) -> SafeString:
    """How calls failed, the most frequent first: 9 timeout, 2 rate limited; each in one line."""
    most_first = sorted(failures.items(), key=lambda item: (-item[1], item[0]))
    words = [f"{formats.count(n)} {ending(outcome).removeprefix('engine ')}" for outcome, n in most_first]
    return format_html_join(", ", '<span class="kind">{}</span>', ((one,) for one in words))


@register.filter
def spent(sums: Sums) -> SafeString:
    """What calls cost, in dollars to the cent; and how many nobody knows the price of."""
    known = sums.calls - sums.unpriced
    if sums.unpriced and known <= 0:
        return format_html('<span class="quiet">{}</span>', formats.UNKNOWN)
    shown = format_html("{}", dollars(sums).removeprefix("$"))
    if not sums.cost_microusd and not sums.unpriced:
        return format_html('<span class="zero">{}</span>', "0")
    if not sums.unpriced:
        return shown
    return format_html('{}<span class="note">+ {} unknown</span>', shown, formats.count(sums.unpriced))


@register.filter
def dollars(sums: Sums) -> str:
    """The known part of what calls cost, to the cent; what is less than a cent is not nothing."""
    amount = sums.cost_microusd / 1e6
    return "<$0.01" if 0 < amount < 0.01 else f"${amount:,.2f}"


register.filter("ending", ending)
register.filter("dollar", formats.money)


@register.simple_tag
def difference(before: int, after: int) -> str:
    """What an amount of money grew by, in a column of dollars: +1.20, −0.03; 0 where it did not."""
    change = after - before
    return (
        "0"
        if not change
        else formats.money(change).replace("$", "")
        if change < 0
        else f"+{formats.money(change)}".replace("$", "")
    )


_MARKED = re.compile(f"{NAME[0]}([^{NAME[1]}]*){NAME[1]}|{STRONG[0]}([^{STRONG[1]}]*){STRONG[1]}")


@register.simple_tag
def pieces(words: Iterable[Piece]) -> SafeString:
    """A sentence about a rule, with what a draft changes in it: old struck, new underlined. `…` is code."""
    return format_html_join(" ", "{}", ((_piece(one),) for one in words))


@register.filter
def coded(words: str) -> SafeString:
    """A sentence with names, and what stands between backticks, as code; and what joins its parts in bold."""
    parts = words.replace(" %", f"{formats.NARROW}%").split("`")
    return format_html_join("", "{}", ((_plain_or_code(at, part),) for at, part in enumerate(parts)))


def _piece(one: Piece) -> SafeString:
    shown = coded(one.words)
    if not one.mark:
        return shown
    tag, word = ("del", "was") if one.mark == "old" else ("ins", "now")
    return format_html('<{0}><span class="visually-hidden">{1} </span>{2}</{0}>', tag, word, shown)


def _plain_or_code(at: int, part: str) -> SafeString:
    if at % 2:
        return format_html("<code>{}</code>", part)
    marked = _MARKED.split(part)  # plain, name, joining word, plain, ...
    return format_html_join(
        "",
        "{}",
        (
            (format_html(("{}", "<code>{}</code>", "<b>{}</b>")[place % 3], word),)
            for place, word in enumerate(marked)
            if word
        ),
    )


@register.inclusion_tag("dashboard/_depth.html")
def depth(tier: str) -> dict[str, Any]:
    """The depth mark: how far a request travelled."""
    return {"tier": tier, "steps": tiers.depth(tier)}


@register.inclusion_tag("dashboard/_state.html")
def state(name: str, words: str = "") -> dict[str, Any]:
    """A state: shape, colour and word."""
    return {"state": name, "words": words or STATE_WORDS.get(name, formats.UNKNOWN)}


@register.filter
def tier_name(tier: str) -> str:
    """A tier as it stands in a row: memory, Redis, by meaning."""
    name = tiers.NAMES[tiers.Tier(tier)]
    return name if name in {"Redis", "SQLite"} else name.lower()


@register.inclusion_tag("dashboard/_result.html")
def result(record: RequestRecord) -> dict[str, Any]:
    """How a request ended: quietly when it is done, by name when the caller was refused, as a failure otherwise."""
    return {
        "words": ending(record.outcome),
        "is_done": record.outcome in {"done", "cut"},
        "has_failed": has_failed(record),
    }
