"""Rows that belong to a tenant, and a way to them that has to be told whose are meant.

`Model.objects` of such a model reads nothing before `of` has said for whom: a query that forgot to say raises
`Unscoped` where it would have gone to the database, also as a part of another query. Django's own machinery (the
admin's forms, validation, deletion, relations from a row at hand) goes by the default manager, `rows`, which the code
here leaves alone; a test walks through it.
"""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

from django.db import models
from django.db.models import Expression, ExpressionWrapper, F, Value, sql
from django.db.models.lookups import In

from orchestrator.core.permissions import Reach
from orchestrator.models.policy import PolicyQuerySet

M = TypeVar("M", bound=models.Model)


class Unscoped(RuntimeError):
    """A query of what belongs to tenants that does not say to which."""

    def __init__(self, model: type[models.Model]) -> None:
        name = model.__name__
        super().__init__(f"Say whose: {name}.objects.of(reach), or of(EVERYBODY) where that is meant.")


class ScopedQuery(sql.Query):
    """Turns into SQL only when it was said for whom; also counted, aggregated, explained, or within another query."""

    is_scoped = False  # a copy has what its original had

    def get_compiler(self, *args: Any, **kwargs: Any) -> Any:
        """What makes SQL of it. Raises Unscoped."""
        if not self.is_scoped:
            assert self.model is not None
            raise Unscoped(self.model)
        return super().get_compiler(*args, **kwargs)


class ScopedQuerySet(models.QuerySet[M]):
    """Rows with a `tenant_id`. Rows may be made without saying more; all else begins with `of`."""

    def __init__(
        self, model: type[M] | None = None, query: sql.Query | None = None, using: str | None = None, hints: Any = None
    ) -> None:
        super().__init__(model, query or ScopedQuery(model), using, hints)

    def of(self, reach: Reach, *, by_tenant: bool = True) -> ScopedQuerySet[M]:
        """Those of the tenants in `reach`. What belongs to no tenant is everybody's alone.

        by_tenant  they are looked up by their tenants; False where another index finds them sooner, such as that on
                   time: a database without statistics would take the tenant's, and read all it ever asked.
        """
        if reach.tenants is None:
            rows = self.all()
        elif not by_tenant:
            rows = self.filter(In(_unindexed("tenant_id"), sorted(reach.tenants)))
        elif len(reach.tenants) == 1:  # so that an index gives them in order
            rows = self.filter(tenant_id=next(iter(reach.tenants)))
        else:
            rows = self.filter(tenant_id__in=sorted(reach.tenants))
        rows.query.is_scoped = True  # type: ignore[attr-defined]
        return rows

    def update(self, **values: Any) -> int:
        """Update them all, and return how many there were. Raises Unscoped, as all below."""
        self._must_be_scoped()
        return super().update(**values)

    update.alters_data = True  # type: ignore[attr-defined]  # no template calls it

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete them all, and return how many rows of what that were."""
        self._must_be_scoped()
        return super().delete()

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]  # as Django's own

    def raw(self, *args: Any, **kwargs: Any) -> NoReturn:
        """SQL of one's own says whose rows it means in its own words, and that is seen where it stands."""
        raise Unscoped(self.model)

    def _merge_sanity_check(self, other: models.QuerySet[M]) -> None:
        """Of two that become one by `|`, `&` or `^`, both have said."""
        self._must_be_scoped()
        if not getattr(other.query, "is_scoped", False):
            raise Unscoped(self.model)
        super()._merge_sanity_check(other)  # type: ignore[misc]  # not in the stubs

    def _must_be_scoped(self) -> None:
        if not getattr(self.query, "is_scoped", False):
            raise Unscoped(self.model)


def _unindexed(column: str) -> Expression:
    """The value of a column, as an expression that no index is on."""
    return ExpressionWrapper(F(column) + Value(0), output_field=models.BigIntegerField())


class ScopedPolicyQuerySet(ScopedQuerySet[M], PolicyQuerySet[M]):  # type: ignore[override]  # its `as_manager`
    """The same for rows whose changes are announced."""
