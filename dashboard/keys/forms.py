"""What forms about keys, limits and budgets ask for, as `identity.asked` has it, and what was typed into them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.http import QueryDict

from orchestrator.core.dollars import read_dollars
from orchestrator.core.errors import BadRequest
from orchestrator.identity.asked import BudgetAsked, BudgetChange, KeyAsked, LimitAsked, LimitChange, Rotation, read
from orchestrator.models import Limit

MOST_TYPED = 10_000  # characters of a field
LIVES = {"7": "in 7 days", "30": "in 30 days", "90": "in 90 days", "365": "in a year", "never": "never"}
USUAL_LIFE = "90"
OVERLAPS = {"0": "nothing: the old one ends at once", "3600": "an hour", "86400": "a day", "604800": "a week"}
USUAL_OVERLAP = "86400"
LISTS = ("model_patterns", "networks", "tags")
KEY_FIELDS = ("name", "tenant", "team", "role", "reaches_all", *LISTS, "dialects", "families", "expires_at")
LIMIT_FIELDS = ("name", "kind", "each", "amount", "per_s", "burst", "model", "network", "tenant", "team", "key")
CHANGED = ("each", "amount", "per_s", "burst", "model", "network", "is_off")  # of a limit
BUDGET_FIELDS = ("name", "amount_usd", "period", "each", "tenant", "team", "key", "model", "provider", "shares")
Typed = Mapping[str, Any]


def typed(form: QueryDict, lists: tuple[str, ...] = ("dialects", "families")) -> dict[str, Any]:
    """What was typed, as it stands in the form; of boxes to tick those that were."""
    found: dict[str, Any] = {name: form.get(name, "")[:MOST_TYPED] for name in form if name != "csrfmiddlewaretoken"}
    return found | {name: form.getlist(name) for name in lists}


def key_asked(form: Typed, now: datetime) -> KeyAsked:
    """Raises BadRequest, which tells all that is wrong by field."""
    values: dict[str, Any] = {
        "name": form.get("name", ""),
        "tenant": form.get("tenant", ""),
        "dialects": form["dialects"],
        "families": form["families"],
        "reaches_all": bool(form.get("reaches_all")),
        "expires_at": _end(form.get("ends", USUAL_LIFE), now),
    }
    values |= {name: lines(form.get(name, "")) for name in LISTS}
    values |= {name: form[name] for name in ("team", "role") if form.get(name)}
    return read(KeyAsked, values)


def rotation_asked(form: Typed) -> Rotation:
    """Raises BadRequest."""
    return read(Rotation, {"overlap_s": _whole(form.get("overlap_s", USUAL_OVERLAP))})


def limit_asked(form: Typed) -> LimitAsked:
    """Raises BadRequest."""
    values = _amounts(form) | {"name": form.get("name", ""), "kind": form.get("kind", "")}
    return read(LimitAsked, values | {name: form[name] for name in ("tenant", "team", "key") if form.get(name)})


def limit_change(form: Typed) -> LimitChange:
    """Only what is other than it was when the form was opened, under `was-…`. Raises BadRequest."""
    values = _amounts(form) | {"is_off": bool(form.get("is_off"))}
    return read(LimitChange, {name: value for name, value in values.items() if _is_other(form, name)})


def typed_of(row: Limit) -> dict[str, Any]:
    """A limit, as it stands in its form, with what it was then."""
    fields = ("name", "kind", *CHANGED)
    found = {name: getattr(row, name) for name in fields} | {"is_off": "1" if row.is_off else ""}
    shown = {name: "" if value is None else value for name, value in found.items()}
    return shown | {f"was-{name}": shown[name] for name in CHANGED}


def was(form: Typed) -> list[tuple[str, Any]]:
    """What a limit was when its form was opened, by the names of its fields."""
    return [(f"was-{name}", form[f"was-{name}"]) for name in CHANGED if f"was-{name}" in form]


def budget_asked(form: Typed) -> BudgetAsked:
    """Raises BadRequest."""
    values: dict[str, Any] = {
        "name": form.get("name", ""),
        "amount_usd": amount(form.get("amount_usd", "")),
        "period": form.get("period", ""),
        "each": form.get("each", ""),
        "is_hard": form.get("is_hard") != "no",
    }
    named = ("tenant", "team", "key", "model", "provider")
    return read(BudgetAsked, values | {name: form[name].strip() for name in named if form.get(name, "").strip()})


def budget_change(form: Typed) -> BudgetChange:
    """Raises BadRequest."""
    values: dict[str, Any] = {}
    if "amount_usd" in form:
        values["amount_usd"] = amount(form["amount_usd"])
    if "is_hard" in form:
        values["is_hard"] = form["is_hard"] != "no"
    if "is_off" in form:
        values["is_off"] = form["is_off"] == "yes"
    return read(BudgetChange, values)


def budget_seen(form: Typed) -> int | None:
    """The amount that stood on the page of the form, in millionths; None where it does not say. Raises BadRequest."""
    if "was-amount_usd" not in form:
        return None
    try:
        return read_dollars(form["was-amount_usd"])
    except ValueError:
        raise BadRequest("What the amount was cannot be read; open the page anew.") from None


def amount(written: str) -> str:
    """Dollars as people write them, without their sign and commas."""
    return written.strip().removeprefix("$").replace(",", "").strip()


def lines(text: str) -> list[str]:
    """One a line; empty ones are none."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def _amounts(form: Typed) -> dict[str, Any]:
    numbers = {name: _whole(form.get(name, "")) for name in ("amount", "per_s", "burst")}
    values: dict[str, Any] = {name: value for name, value in numbers.items() if value != ""}
    values |= {name: None for name in ("per_s", "burst") if numbers[name] == ""}
    return values | {name: form.get(name, "") for name in ("each", "model", "network")}


def _is_other(form: Typed, name: str) -> bool:
    return str(form.get(name, "")).strip() != str(form.get(f"was-{name}", "")).strip()


def _whole(written: Any) -> Any:
    """A number where it is one; else what was written, which is then said to be none."""
    shown = str(written).strip().replace(",", "")
    return int(shown) if shown.isascii() and shown.isdigit() and len(shown) <= 15 else shown


def _end(written: str, now: datetime) -> str | None:
    if written == "never":
        return None
    return (now + timedelta(days=int(written if written in LIVES else USUAL_LIFE))).isoformat()
