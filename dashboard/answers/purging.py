"""What an operator asks to be forgotten, and what stands in the way of doing it at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from urllib.parse import urlencode

from django.http import QueryDict

from cache.entries import Holding, Scope
from orchestrator.core.numbers import whole
from orchestrator.core.permissions import Reach

KINDS = {
    "key": "One answer, by key",
    "model": "Everything from a model",
    "namespace": "A namespace",
    "tenant": "A tenant",
    "everything": "Everything",
}
NO_NAMESPACE = "(none)"  # how the namespace of calls that name none is shown; no caller can name it so
EVERYTHING = "everything"
GROWTH = 1.05  # a count that grew by more than this since it was shown is shown again
MOST_REASON = 200


@dataclass(frozen=True, slots=True)
class Purge:
    """One purge as the form has it."""

    what: str
    key: str = ""
    model: str = ""
    namespace: str = ""
    tenant: str = ""  # its number
    only: str = ""  # a model, of what is in a namespace or of a tenant; empty: any
    reason: str = ""
    typed: str = ""
    shown: int | None = None  # the count that was shown with the button
    counted: str = ""  # what that count was of, as `about`
    faults: dict[str, str] = field(default_factory=dict)  # by field
    tenant_name: str = ""  # typed in place of the number, or looked up by it

    @property
    def _from(self) -> str:
        return f" from {self.only}" if self.only else ""

    @property
    def scope(self) -> Scope | None:
        """What it is about; None while that is not said."""
        if self.what == "key":
            return Scope(hash=self.key) if re.fullmatch("[0-9a-f]{64}", self.key) else None
        if self.what == "model":
            return Scope(model=self.model) if self.model else None
        if self.what == "namespace":
            return Scope(namespace=namespace_of(self.namespace), model=self.only or None) if self.namespace else None
        if self.what == "tenant":
            return Scope(tenant_id=int(self.tenant), model=self.only or None) if self.tenant else None
        return Scope()

    @property
    def about(self) -> str:
        """What it is about, as the form sends it beside the count of it; empty while that is not said."""
        if self.scope is None:
            return ""
        fields = {name: value for name, value in asdict(self.scope).items() if value is not None}
        return urlencode({"what": self.what, **fields})

    @property
    def words(self) -> str:
        """What it is about, after "answers"."""
        if self.what == "key":
            return f"under the key {self.key}"
        if self.what == "model":
            return f"from {self.model}"
        if self.what == "namespace":
            return f"in the namespace {self.namespace}{self._from}"
        if self.what == "tenant":
            return f"of tenant {self.tenant_name or self.tenant}{self._from}"
        return "of every model and namespace"


def read(form: QueryDict) -> Purge:
    """The purge a form asks for, with what is wrong in it by field."""
    tenant = form.get("tenant", "").strip()
    what = form.get("what", "model")
    purge = Purge(
        what=what if what in KINDS else "model",
        key=form.get("key", "").strip().lower(),
        model=form.get("model", "").strip(),
        namespace=form.get("namespace", "").strip(),
        tenant=tenant if whole(tenant) else "",
        tenant_name="" if whole(tenant) else form.get("tenant_name", "").strip(),
        only=form.get("only", "").strip(),
        reason=form.get("reason", "").strip()[:MOST_REASON],
        typed=form.get("typed", "").strip(),
        shown=whole(form.get("shown", "")),
        counted=form.get("counted", ""),
    )
    if purge.what == "key" and purge.key and purge.scope is None:
        purge.faults["key"] = "A key is 64 characters, 0–9 and a–f; copy it from the list of answers."
    return purge


def what_stops(purge: Purge, count: int | None) -> dict[str, str]:
    """What must be put right before `purge`, now of `count` answers, is done; by field, empty when nothing.

    count  None: unknown.
    """
    faults = dict(purge.faults)
    if purge.scope is None and purge.what not in faults:
        faults[purge.what] = "Choose what to purge."
    if purge.what == EVERYTHING and purge.typed.lower() != EVERYTHING:
        faults["typed"] = f"Type {EVERYTHING} to purge every answer."
    if count is None:
        faults["shown"] = "The answers could not be counted."
    elif purge.shown is None or (purge.counted == purge.about and count > purge.shown * GROWTH):
        faults["shown"] = "More answers are meant now than were shown. Look at the count again."
    elif purge.counted != purge.about:
        faults["shown"] = "Something else was counted than is meant now. Look at the count again."
    return faults


def within(scope: Scope, reach: Reach) -> Sequence[Scope]:
    """What of `scope` is in `reach`: whoever may purge for one tenant purges nothing of another's."""
    if reach.tenants is None:
        return (scope,)
    if scope.tenant_id is not None:
        return (scope,) if scope.tenant_id in reach else ()  # type: ignore[comparison-overlap]  # it says itself
    return [replace(scope, tenant_id=tenant_id) for tenant_id in sorted(reach.tenants)]


def total(held: Mapping[str, Holding | None] | None) -> int | None:
    """How many answers are meant: those of the fullest tier, since the tiers hold the same ones. None: no tier says."""
    return max((one.entries for one in (held or {}).values() if one), default=None)


def namespace_of(shown: str) -> str:
    """A namespace by the name it is shown under."""
    return "" if shown == NO_NAMESPACE else shown


def shown_namespace(namespace: str) -> str:
    """The name a namespace is shown under."""
    return namespace or NO_NAMESPACE
