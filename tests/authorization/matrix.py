"""Everybody who can ask, in every way, and what the API's table means for them, told apart from how it is enforced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from orchestrator.api.policy import ANYBODY, METRICS, STATS, dialect_of, need_of, offered
from orchestrator.api.table import api
from orchestrator.core.permissions import ALLOWED, DIALECTS, FAMILIES, FOR_ALL_TENANTS, Permission, Role

IN, UNKNOWN, FORBIDDEN, UNCLEAR = "in", "401", "403", "400"
STATES = ("valid", "revoked", "expired", "suspended")
SHOWN = ("bearer", "x-api-key", "both the same", "both different")
NOT_SHOWN = ("none", "session cookie", "query string")
CARRIERS = (*SHOWN, *NOT_SHOWN)


class Route(NamedTuple):
    """One method of one route."""

    method: str
    path: str

    @property
    def need(self) -> str:
        need = need_of(self.method, self.path)
        assert need is not None, f"{self} has no row"
        return need


class Key(NamedTuple):
    """A key as it was issued."""

    role: Role | None = None
    is_for_all: bool = False
    dialects: tuple[str, ...] = ()
    families: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """In words."""
        whose = (" of every tenant" if self.is_for_all else " of one tenant") if self.role else ""
        kept = ", ".join((*self.dialects, *self.families))
        return f"{self.role or 'plain'}{whose}{f' for {kept} only' if kept else ''}"


class Asking(NamedTuple):
    """Somebody asks."""

    route: Route
    key: Key
    carrier: str = "bearer"
    state: str = "valid"


ROUTES = [Route(method, path) for path, methods in sorted(offered(api).items()) for method in sorted(methods)]
KEYS = [Key(), *(Key(role, is_for_all) for role in Role for is_for_all in (False, True))]
SCOPED = [
    *(Key(dialects=(dialect,)) for dialect in DIALECTS),
    *(Key(families=(family,)) for family in FAMILIES),
    Key(dialects=DIALECTS[1:], families=FAMILIES[:2]),
    Key(Role.ADMIN, is_for_all=True, dialects=("anthropic",), families=("embed",)),
]


def everybody() -> Iterator[Asking]:
    """Every route, asked by everybody in every way; one key after the other, for it is remembered for a moment."""
    for carrier in NOT_SHOWN:
        yield from (Asking(route, Key(Role.ADMIN, is_for_all=True), carrier) for route in ROUTES)
    for key in KEYS:
        for state in STATES:
            for carrier in SHOWN:
                yield from (Asking(route, key, carrier, state) for route in ROUTES)
    for key in SCOPED:
        yield from (Asking(route, key) for route in ROUTES)


def verdict(asking: Asking, *, keys_required: bool) -> str:
    """What the table means for it."""
    need, key = asking.route.need, asking.key
    if need == ANYBODY:
        return IN
    if asking.carrier == "both different":
        return UNCLEAR
    if asking.carrier in NOT_SHOWN:
        if keys_required:
            return UNKNOWN
        return FORBIDDEN if isinstance(need, Permission) else IN
    if asking.state != "valid":
        return UNKNOWN
    if need == METRICS:
        sees_all = key.is_for_all and key.role is not None and Permission.SEE_USAGE in ALLOWED[key.role]
        if sees_all:
            return IN
        return FORBIDDEN if keys_required or not _is_for(key, STATS, None) else IN
    if isinstance(need, Permission):
        may = key.role is not None and need in ALLOWED[key.role]
        return IN if may and (key.is_for_all or need not in FOR_ALL_TENANTS) else FORBIDDEN
    return IN if _is_for(key, need, None if need == STATS else dialect_of(asking.route.path)) else FORBIDDEN


def _is_for(key: Key, family: str, dialect: str | None) -> bool:
    if key.families and family not in key.families:
        return False
    return not (dialect and key.dialects) or dialect in key.dialects
