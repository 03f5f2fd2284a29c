"""What people call those that a budget counts apart."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import ApiKey, Team, Tenant


def named(each: str, words: Iterable[str]) -> dict[str, str]:
    """The names of what those words stand for; a word that stands for nothing any more is its own."""
    words = list(words)
    if each not in {"key", "team", "tenant"}:
        return {word: word for word in words}
    names: dict[int, str] = {}
    numbers = [int(word) for word in words if word.isdecimal()]
    match each:
        case "key":
            names = dict(ApiKey.objects.of(EVERYBODY).filter(pk__in=numbers).values_list("pk", "prefix"))
        case "team":
            teams = Team.objects.of(EVERYBODY).filter(pk__in=numbers).values_list("pk", "tenant__name", "name")
            names = {number: f"{tenant}/{name}" for number, tenant, name in teams}
        case "tenant":
            names = dict(Tenant.objects.filter(pk__in=numbers).values_list("pk", "name"))
    return {word: names.get(int(word), word) if word.isdecimal() else word for word in words}
