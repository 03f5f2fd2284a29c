"""What kept answers can be narrowed to, as fields of a form: a list to choose from, or, of many names, one to type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.answers.kept import MOST_NAMED


@dataclass(frozen=True, slots=True)
class Choice:
    """One field, and what stands in it."""

    name: str
    options: Sequence[tuple[str, str]]  # the value that is sent, and its name
    value: str = ""
    shown: str = ""  # the name of the value

    @property
    def is_typed(self) -> bool:
        """Whether there may be more than are listed, so that any can be typed."""
        return len(self.options) >= MOST_NAMED

    @property
    def field(self) -> str:
        """What it is sent as. A tenant is chosen by its number and typed by its name, which may be a number, too."""
        return "tenant_name" if self.is_typed and self.name == "tenant" else self.name

    @property
    def is_unlisted(self) -> bool:
        """Whether the value is none of the options: nothing is kept of it any more, or there are too many."""
        return bool(self.value) and self.value not in {value for value, _ in self.options}


def choices(names: Mapping[str, Any], chosen: Mapping[str, str], tenant_name: str = "") -> Mapping[str, Choice]:
    """Fields for a model, a namespace, a tenant, and a model again that narrows the others.

    names        as the page has them: `models`, `namespaces`, `tenants`.
    tenant_name  of the tenant that is chosen; empty: there is none, or it is among `names`.
    """
    models = [(one.name, one.name) for one in names["models"]]
    namespaces = [(name, name) for name, _ in names["namespaces"]]
    tenants = [(str(number), name) for number, name, _ in names["tenants"]]
    options = {"model": models, "namespace": namespaces, "tenant": tenants, "only": models}
    found = {}
    for field, listed in options.items():
        value = chosen.get(field, "")
        shown = dict(listed).get(value) or (field == "tenant" and tenant_name) or value
        found[field] = Choice(field, listed, value, shown)
    return found
