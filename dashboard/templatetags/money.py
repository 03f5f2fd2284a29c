"""Filters and marks of the pages of costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django import template
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from dashboard import formats
from dashboard.costs.periods import Chosen
from dashboard.costs.sums import shown_price
from dashboard.costs.verdict import shown_name
from dashboard.running import registered_as
from orchestrator.core.prices import Price
from orchestrator.ledger.costs import Group, Sums
from orchestrator.ledger.pace import Use
from orchestrator.ledger.repricing import Repriced
from orchestrator.ledger.spreadsheet import dollars
from orchestrator.models import PriceRow
from orchestrator.pricing.rows import price_in

register = template.Library()

register.filter("money", formats.money)
register.filter("use_name", shown_name)

PERIODS = {"day": "a day", "week": "a week", "month": "a month", "total": "in all"}
FILTERS = {"model": "model", "provider": "provider", "tenant": "tenant_id", "key": "key_id", "purpose": "purpose"}
MOST_NAMED = 2


@register.filter
def of_period(period: str) -> str:
    """A month."""
    return PERIODS.get(period, period)


@register.filter
def money_column(microusd: int | None) -> SafeString:
    """Dollars in a table whose head has the sign; a zero is quiet."""
    if microusd == 0:
        return format_html('<span class="zero">{}</span>', "0")
    return format_html("{}", formats.money(microusd).replace("$", ""))


@register.filter
def spent_column(sums: Sums) -> SafeString:
    """What is known to be spent. Where that is known of no call it says so, since unknown is never nothing."""
    if sums.unpriced and not sums.cost_microusd:
        return format_html('<span class="zero">{}</span>', formats.UNKNOWN)
    return money_column(sums.cost_microusd)


@register.filter
def difference(microusd: int | None) -> SafeString:
    """More or less, with its sign; unknown is a dash."""
    if microusd is None:
        return format_html('<span class="zero">{}</span>', "–")
    if microusd == 0:
        return format_html('<span class="zero">{}</span>', "0")
    return format_html("{}{}", "+" if microusd > 0 else "", formats.money(microusd).replace("$", ""))


@register.filter
def exact_dollars(microusd: int | None) -> str:
    """To the millionth."""
    return dollars(microusd or 0)


@register.filter
def positive(number: int) -> int:
    """Without its sign."""
    return abs(number)


@register.filter
def less(number: int, other: int) -> int:
    """One less the other."""
    return number - other


@register.filter
def short_count(number: int) -> str:
    """A count in few digits: 812, 41.2 k, 3.1 M."""
    value, unit = float(number), ""
    for larger in ("k", "M", "G"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    shown = f"{value:.0f}" if not unit or value >= 99.5 else f"{value:.1f}"
    return f"{shown}{formats.NARROW}{unit}" if unit else shown


@register.filter
def bar(share: float | None) -> str:
    """A share of 0 to 1 as the length of a bar, in per cent."""
    return f"{100 * min(max(share or 0.0, 0.0), 1.0):.2f}"


@register.filter
def share_of(number: int, whole: int) -> float:
    """A part of a whole, 0 to 1."""
    return number / whole if whole else 0.0


@register.filter
def price_page(model: str) -> str:
    """Where the price of a model is set: at what is registered and runs there, else where it is registered."""
    name = registered_as(model)
    if name is None:
        return f"{reverse('admin:registry_registeredmodel_add')}?{urlencode({'name': model})}"
    return f"{reverse('admin:registry_registeredmodel_changelist')}?{urlencode({'q': name})}"


@register.filter
def price(one: Price) -> str:
    """What a million tokens cost, those of the question and those of the answer."""
    return shown_price(one)


@register.simple_tag
def charges_link(charges: str, by: str, group: Group, chosen: Chosen) -> SafeString:
    """A group's name; where single charges may be seen, it leads to those of the group."""
    shown = format_html("<code>{}</code>", group.name) if by == "model" else format_html("{}", group.name)
    if not charges or by not in FILTERS:
        return shown
    first, until = chosen.span.moments
    query = {FILTERS[by]: group.id, "at__gte": first.isoformat(), "at__lt": until.isoformat()}
    if by == "key" and group.id == "0":
        query = {"key_id__isnull": "True"} | {name: value for name, value in query.items() if name != "key_id"}
    return format_html('<a class="row-link" href="{}?{}">{}</a>', charges, urlencode(query), shown)


@register.simple_tag
def use_bar(use: Use) -> SafeString:
    """How far a budget is used, what is reserved, and where an even pace would be."""
    whole = max(use.amount, 1)
    spent = min(100.0, 100 * use.spent / whole)
    reserved = min(100.0 - spent, 100 * use.reserved / whole)
    mark: SafeString | str = ""
    if use.gone is not None:
        mark = format_html('<rect class="mark" x="{}%" width="2" y="0" height="14"/>', f"{100 * use.gone:.2f}")
    return format_html(
        '<svg class="bar used" aria-hidden="true"><rect class="whole" width="100%" y="4" height="6"/>'
        '<rect class="is-{}" width="{}%" y="4" height="6"/>'
        '<rect class="reserved" x="{}%" width="{}%" y="4" height="6"/>'
        "{}</svg>",
        use.state,
        f"{spent:.2f}",
        f"{spent:.2f}",
        f"{reserved:.2f}",
        mark,
    )


@register.simple_tag
def booked_by(one: Repriced, rows: Mapping[int, PriceRow]) -> SafeString:
    """The prices that charges were booked by, and who said them."""
    known = [rows[number] for number in one.booked_by if number in rows]
    words: list[tuple[Any, Any]] = [("the provider's own word", "")] if one.is_told else []
    words += [(shown_price(price_in(row)), row.source) for row in known[-MOST_NAMED:]]
    return format_html_join("", '{} <span class="note">{}</span>', words) or format_html(
        '<span class="zero">{}</span>', "–"
    )
