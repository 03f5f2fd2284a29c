"""Marks of the pages of keys, budgets and the audit."""

from __future__ import annotations

from typing import Any

from django import template
from django.template import Context
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard.auditing import Row, row_of
from dashboard.keys.words import State
from dashboard.templatetags.console import until
from orchestrator.ledger.pace import Use
from orchestrator.models import AuditEvent

register = template.Library()


@register.simple_tag(takes_context=True)
def fault(context: Context, field: str = "") -> SafeString | str:
    """What is wrong with a field, beside it; with no field: what is wrong with the whole."""
    words = (context.get("faults") or {}).get(field, "")
    if not words:
        return ""
    if not field:
        return format_html('<div class="notice bad" role="alert"><b>Nothing was changed.</b>{}</div>', words)
    return format_html('<span class="fault" id="fault-{}">{}</span>', field, words)


@register.simple_tag(takes_context=True)
def points_to_fault(context: Context, field: str) -> SafeString | str:
    """That a field is wrong, for those who do not see where its fault stands."""
    if not (context.get("faults") or {}).get(field):
        return ""
    return format_html(' aria-invalid="true" aria-describedby="fault-{}"', field)


@register.simple_tag
def key_state(state: State) -> dict[str, Any]:
    """What stands beside the mark of a key's state."""
    words: str | SafeString = state.words
    if state.until is not None:
        between = "" if "for" in state.words.split() else "in "
        words = format_html("<span>{} {}{}</span>", state.words, between, until(state.until))
    return {"state": state.mark, "words": words}


@register.filter
def share_spent(use: Use) -> float | None:
    """How much of a budget is spent, 0 to 1."""
    return use.spent / use.amount if use.amount else None


@register.filter
def as_row(event: AuditEvent) -> Row:
    """An event with what it changed taken apart."""
    return row_of(event)
