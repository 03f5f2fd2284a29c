"""What stands around every page."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.safestring import SafeString

from dashboard.rail import Rail
from dashboard.rail import rail as rail_of
from dashboard.templatetags.console import clock
from orchestrator.core.permissions import Permission

register = template.Library()


@register.simple_tag(takes_context=True)
def rail(context: dict[str, Any]) -> Rail:
    """The rail for who looks at a page."""
    may = context.get("may") or {}
    held = {one for one in Permission if may.get(one.name.lower())}
    return rail_of(held, context.get("here", ""), getattr(context.get("request"), "beside", {}))


@register.simple_tag
def as_of() -> SafeString:
    """The time of day at which a page was read."""
    return clock(timezone.now())


@register.filter
def to_address(moment: datetime) -> str:
    """A moment as it stands in the address of a list of requests."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@register.filter
def whole_ms(microseconds: float) -> str:
    """Milliseconds for an address: a little less than it is, so that the request it comes from is among those found."""
    return f"{int(microseconds) // 1000}"


@register.filter
def part_of(part: float, whole: float) -> str:
    """In per cent, at most all of it."""
    return f"{min(100.0, max(0.0, 100 * part / whole)) if whole else 100.0:.1f}"
