"""What changed between two states of the registry, in lines that people read. Of keys only that they changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.registry.document import ModelPart, ProviderPart
from orchestrator.registry.stored import Stored

LONGEST = 200  # characters of a value
_USUAL = {  # what goes without saying of a new one
    kind: {name: field.default for name, field in part.model_fields.items()}
    for kind, part in (("provider", ProviderPart), ("model", ModelPart))
}


def differences(before: Stored, after: Stored) -> list[str]:
    """One line for each field that changed; empty when nothing did."""
    return [
        *_all("provider", before["providers"], after["providers"]),
        *_all("model", before["models"], after["models"]),
    ]


def _all(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*before, *after}):
        if name not in after:
            yield f"{kind} {name}: removed"
        elif name not in before:
            yield f"{kind} {name}: added"
            yield from (f"{kind} {name}: {line}" for line in _fields(_USUAL[kind], after[name], is_new=True))
        else:
            yield from (f"{kind} {name}: {line}" for line in _fields(before[name], after[name]))


def _fields(before: Mapping[str, Any], after: Mapping[str, Any], *, is_new: bool = False) -> Iterator[str]:
    for field in sorted({*before, *after}, key=lambda field: (field == "deployments", field)):
        old, new = before.get(field), after.get(field)
        if old == new or (is_new and new in (None, "", [], {})):
            continue
        if field == "sealed_key":
            yield "key given" if not old else "key taken away" if not new else "key changed"
        elif field == "deployments":
            yield from _deployments(old or [], new or [])
        else:
            yield f"{field}: {_said(new)}" if is_new else f"{field}: {_said(old)} → {_said(new)}"


def _deployments(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Iterator[str]:
    old, new = ({f"{one['provider']}/{one['remote_name']}": one for one in some} for some in (before, after))
    for name in old:
        if name not in new:
            yield f"deployment {name}: removed"
    for name, one in new.items():
        if name not in old:
            yield f"deployment {name}: added"
        else:
            yield from (f"deployment {name}: {line}" for line in _fields(old[name], one))
    if list(old) != list(new) and sorted(old) == sorted(new):
        yield f"deployments are asked in another order: {', '.join(new)}"


def _said(value: Any) -> str:
    if value is None or value == "" or value == [] or value == {}:
        return "–"
    if isinstance(value, float):
        return f"{value:g}"
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return said if len(said) <= LONGEST else f"{said[:LONGEST]}…"
