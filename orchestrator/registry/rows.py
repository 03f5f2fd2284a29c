"""Rows as the database has them, though somebody may have edited one by hand: such a one harms no other."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from django.db.models import Model, QuerySet

from orchestrator.core.types import Balance
from orchestrator.registry.models import Deployment, Provider, RegisteredModel

log = logging.getLogger(__name__)
RowT = TypeVar("RowT", bound=Model)
Kinds = type | tuple[type, ...]
NUMBER, COUNT = (int, float, type(None)), (int, type(None))
PROVIDER: Mapping[str, Kinds] = {
    "name": str,
    "kind": str,
    "address": str,
    "sealed_key": str,
    "connect_timeout_s": NUMBER,
    "first_token_timeout_s": NUMBER,
    "token_timeout_s": NUMBER,
    "answer_timeout_s": NUMBER,
    "slow_after_s": NUMBER,
    "most_calls": COUNT,
    "is_paid": (bool, type(None)),
    "extra_body": dict,
}
MODEL: Mapping[str, Kinds] = {
    "name": str,
    "aliases": list,
    "tags": list,
    "fallbacks": list,
    "capabilities": list,
    "hedge_after_s": NUMBER,
    "context_length": COUNT,
}
DEPLOYMENT: Mapping[str, Kinds] = {"remote_name": str, "rank": int, "weight": int}
_told: set[tuple[str, str]] = set()  # what is wrong was logged once


def rows_of(rows: QuerySet[RowT], named: str = "name") -> tuple[list[RowT], dict[str, str]]:
    """All rows that can be read, and why others cannot, by the column that names them.

    One after the other where not all can at once.
    """
    try:
        return list(rows), {}
    except (TypeError, ValueError, ArithmeticError):  # a column holds what its field cannot be made of
        numbers = list(rows.values_list("pk", named))
    found: list[RowT] = []
    unread = {}
    for number, name in numbers:
        try:
            found += list(rows.filter(pk=number))
        except (TypeError, ValueError, ArithmeticError) as error:
            unread[name] = f"its row cannot be read ({error}); write it anew"
            tell(f"{rows.model._meta.verbose_name} {name}", unread[name])
    return found, unread


def wrong_in_provider(row: Provider) -> str:
    """Why a row is no provider, in words; empty when it is one."""
    return _wrong(row, PROVIDER)


def wrong_in_model(row: RegisteredModel) -> str:
    """Why a row and its deployments are no model, in words; empty when they are one."""
    if row.balance not in get_args(Balance):
        return "its balance cannot be so; write it anew"
    return _wrong(row, MODEL) or next((words for one in row.deployments.all() if (words := _in_deployment(one))), "")


def tell(what: str, why: str, fate: str = "left out") -> None:
    """Log it once: rows are read twice a second."""
    if (what, why) not in _told:
        _told.add((what, why))
        log.error("%s is %s: %s", what, fate, why)


def _in_deployment(row: Deployment) -> str:
    return _wrong(row, DEPLOYMENT) or ("" if row.weight > 0 else "its weight cannot be so; write it anew")


def _wrong(row: Model, fields: Mapping[str, Kinds]) -> str:
    for field, kinds in fields.items():
        value: Any = getattr(row, field)
        if not isinstance(value, kinds) or (isinstance(value, list) and {type(one) for one in value} - {str}):
            return f"its {field} cannot be so; write it anew"
    return ""
