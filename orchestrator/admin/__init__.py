"""The pages of the Django admin for what this app keeps: who may ask, who changed that, and what was asked.

`seen` and `acts` are what pages share whose rows belong to tenants, `lists` is for tables that may be long. The
registry and the cache are apps of their own, with pages of their own.
"""

from orchestrator.admin import (  # noqa: F401  # importing registers them
    audit,
    budgets,
    costs,
    decisions,
    keys,
    limits,
    records,
    rules,
    tenants,
)
