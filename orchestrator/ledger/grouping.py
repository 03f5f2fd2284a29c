"""What records are grouped by, in SQL: steps of time, and durations by their leading digits."""

from __future__ import annotations

from typing import Any

from django.db.models import BigIntegerField, Case, Expression, ExpressionWrapper, F, Func, Value, When

LONGEST_US = 10**11  # longer ones count as this, 28 hours


class Epoch(Func):
    """A time as whole seconds since 1970."""

    output_field = BigIntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="unixepoch(%(expressions)s)", **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        # FLOOR, because a cast alone would round up.
        return self.as_sql(
            compiler, connection, template="CAST(FLOOR(EXTRACT(EPOCH FROM %(expressions)s)) AS bigint)", **context
        )


def leading_digits(number: int, digits: int) -> int:
    """`number` with all but its first `digits` digits set to zero; the same as the database groups by."""
    number = min(number, LONGEST_US)
    unit = int(10 ** max(0, len(str(number)) - digits))
    return number // unit * unit


def digits(column: str, number: int) -> Expression:
    """`leading_digits` of a column, in SQL: whole-number division, which both databases do alike. Unknown stays so."""
    steps = [When(**{f"{column}__isnull": True}, then=Value(None))]
    unit = 1
    while 10**number * unit <= LONGEST_US:
        steps.append(When(**{f"{column}__lt": 10**number * unit}, then=whole(F(column) / Value(unit)) * unit))
        unit *= 10
    return Case(*steps, default=Value(LONGEST_US), output_field=BigIntegerField())


def whole(quotient: Any) -> Any:
    """The quotient of two whole numbers as one."""
    return ExpressionWrapper(quotient, output_field=BigIntegerField())
