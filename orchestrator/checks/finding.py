"""A finding, as Django's checks know it and as people read it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from django.core import checks

Found = Iterable[checks.CheckMessage]
LEVELS = {checks.ERROR: "fatal", checks.WARNING: "unsafe", checks.INFO: "unwise"}
NONE, SOME, FATAL = 0, 1, 2  # exit codes of the doctor
_INDENT = 9


def fatal(number: int, what: str, remedy: str) -> checks.CheckMessage:
    """It must not serve like that."""
    return checks.Error(what, hint=remedy, id=f"orchestrator.E{number:03}")


def unsafe(number: int, what: str, remedy: str) -> checks.CheckMessage:
    """Somebody may read or do what they should not, or data may be lost."""
    return checks.Warning(what, hint=remedy, id=f"orchestrator.W{number:03}")


def unwise(number: int, what: str, remedy: str) -> checks.CheckMessage:
    """Nothing is open, but it could be better."""
    return checks.Info(what, hint=remedy, id=f"orchestrator.I{number:03}")


def by_weight(found: Iterable[checks.CheckMessage]) -> list[checks.CheckMessage]:
    """The heaviest first."""
    return sorted(found, key=lambda one: (-one.level, str(one.id)))


def exit_code(found: Iterable[checks.CheckMessage]) -> int:
    """0 nothing was found, 1 something, 2 something fatal."""
    heaviest = max((one.level for one in found), default=0)
    return FATAL if heaviest >= checks.ERROR else SOME if heaviest else NONE


def as_json(found: Iterable[checks.CheckMessage], state: Mapping[str, Any]) -> str:
    """For programs."""
    listed = [
        {"id": one.id, "weight": LEVELS[one.level], "what": one.msg, "remedy": one.hint} for one in by_weight(found)
    ]
    return json.dumps({**state, "findings": listed}, indent=1, ensure_ascii=False)


def as_text(found: Iterable[checks.CheckMessage], width: int) -> str:
    """For a terminal: what it means, then what to do about it."""
    ordered = by_weight(found)
    if not ordered:
        return "Nothing unsafe or unwise was found."
    counts = [f"{sum(one.level == level for one in ordered)} {word}" for level, word in LEVELS.items()]
    return "\n\n".join([f"Found: {', '.join(counts)}.", *(line(one, width) for one in ordered)])


def line(one: checks.CheckMessage, width: int) -> str:
    """One finding."""
    room = max(width, 40)
    word = LEVELS[one.level].upper()
    what = textwrap.fill(
        f"{one.msg} [{one.id}]", room, initial_indent=word.ljust(_INDENT), subsequent_indent=" " * _INDENT
    )
    remedy = textwrap.fill(
        str(one.hint), room, initial_indent=" " * _INDENT + "→ ", subsequent_indent=" " * (_INDENT + 2)
    )
    return f"{what}\n{remedy}"
