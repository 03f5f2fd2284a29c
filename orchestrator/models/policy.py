"""Rows that say who may do what, and that tell everybody when they change."""

from collections.abc import Iterable
from typing import Any, TypeVar

from django.db import models
from django.dispatch import Signal

policy_updated = Signal()  # sender: a model; `using`: where many rows of it were written at once

M = TypeVar("M", bound=models.Model)


class PolicyQuerySet(models.QuerySet[M]):
    """Rows that say who may do what. Unlike Django's own, a change of many is announced."""

    def update(self, **values: Any) -> int:
        """Update them all, and return how many there were."""
        count = super().update(**values)
        policy_updated.send(self.model, using=self.db)
        return count

    update.alters_data = True  # type: ignore[attr-defined]  # no template calls it

    def bulk_create(self, objs: Iterable[M], *args: Any, **kwargs: Any) -> list[M]:
        """Make them all, and return them."""
        made = super().bulk_create(objs, *args, **kwargs)
        policy_updated.send(self.model, using=self.db)
        return made

    bulk_create.alters_data = True  # type: ignore[attr-defined]
