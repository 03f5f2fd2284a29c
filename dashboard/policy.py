"""Who may see which page. What stands in no row here is refused.

A page is named as in the tables of addresses. It shows as much as its viewer reaches, but for lists of the Django admin
that show every tenant's rows to whoever sees them at all: what those need must be held for every tenant.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import NamedTuple

from orchestrator.core.permissions import Permission


class Open(Enum):
    """What a page needs that needs no permission."""

    ANYBODY = auto()
    OWN_ACCOUNT = auto()  # signed in; a code is not asked for, since it is set up and shown there
    SIGNED_IN = auto()  # with a code, where the role needs one


Rule = Permission | Open

PAGES: Mapping[str, Rule] = {
    "dashboard:overview": Permission.SEE_USAGE,
    "dashboard:series-csv": Permission.SEE_USAGE,
    "dashboard:go": Open.SIGNED_IN,  # it finds what whoever looks may see
    "dashboard:requests": Permission.SEE_USAGE,
    "dashboard:requests-csv": Permission.SEE_USAGE,
    "dashboard:request": Permission.SEE_USAGE,
    "dashboard:request-judged": Permission.PURGE_ANSWERS,
    "dashboard:models": Permission.SEE_REGISTRY,
    "dashboard:model": Permission.SEE_REGISTRY,
    "dashboard:models-act": Permission.CHANGE_REGISTRY,
    "dashboard:keys": Permission.SEE_KEYS,
    "dashboard:key": Permission.SEE_KEYS,
    "dashboard:key-new": Permission.CHANGE_KEYS,
    "dashboard:key-rotate": Permission.CHANGE_KEYS,
    "dashboard:key-revoke": Permission.CHANGE_KEYS,
    "dashboard:key-find": Permission.SEE_KEYS,
    "dashboard:limit": Permission.CHANGE_KEYS,
    "dashboard:limit-new": Permission.CHANGE_KEYS,
    "dashboard:limit-delete": Permission.CHANGE_KEYS,
    "dashboard:tenant": Permission.SEE_KEYS,
    "dashboard:tenant-new": Permission.CHANGE_PEOPLE,
    "dashboard:tenant-switch": Permission.CHANGE_PEOPLE,
    "dashboard:team-new": Permission.CHANGE_KEYS,
    "dashboard:budgets": Permission.SEE_BUDGETS,
    "dashboard:budget-new": Permission.CHANGE_BUDGETS,
    "dashboard:budget-delete": Permission.CHANGE_BUDGETS,
    "dashboard:budget": Permission.SEE_BUDGETS,
    "dashboard:budget-change": Permission.CHANGE_BUDGETS,
    "dashboard:audit": Permission.SEE_AUDIT,
    "dashboard:audit-event": Permission.SEE_AUDIT,
    "dashboard:audit-csv": Permission.SEE_AUDIT,
    "dashboard:audit-verify": Permission.SEE_AUDIT,
    "dashboard:playground": Permission.ASK,
    "dashboard:playground-ask": Permission.ASK,
    "dashboard:settings": Permission.SEE_SETTINGS,
    "dashboard:doctor": Permission.SEE_SETTINGS,
    "dashboard:cache": Permission.SEE_USAGE,
    "dashboard:purge": Permission.PURGE_ANSWERS,
    "dashboard:costs": Permission.SEE_USAGE,
    "dashboard:prices": Permission.SEE_USAGE,
    "dashboard:costs-csv": Permission.SEE_USAGE,
    "dashboard:charges-csv": Permission.SEE_USAGE,
    "dashboard:invoices": Permission.SEE_INVOICES,
    "dashboard:invoice": Permission.SEE_INVOICES,
    "dashboard:invoice-csv": Permission.SEE_INVOICES,
    "dashboard:invoice-import": Permission.CHANGE_INVOICES,
    "dashboard:invoice-delete": Permission.CHANGE_INVOICES,
    "dashboard:rules": Permission.SEE_RULES,
    "dashboard:rules-results": Permission.SEE_USAGE,
    "dashboard:rules-act": Permission.CHANGE_RULES,
    "dashboard:rules-publish": Permission.CHANGE_RULES,
    "dashboard:rules-version": Permission.SEE_RULES,
    "dashboard:rules-restore": Permission.CHANGE_RULES,
    "dashboard:rule-new": Permission.CHANGE_RULES,
    "dashboard:rule-part": Permission.CHANGE_RULES,
    "dashboard:rule": Permission.CHANGE_RULES,
    "dashboard:providers": Permission.SEE_REGISTRY,
    "dashboard:provider": Permission.SEE_REGISTRY,
    "dashboard:provider-test": Permission.CHANGE_REGISTRY,
    "dashboard:provider-again": Permission.CHANGE_REGISTRY,
    "dashboard:provider-switch": Permission.CHANGE_REGISTRY,
    "dashboard:people": Permission.SEE_PEOPLE,
    "dashboard:person": Permission.SEE_PEOPLE,
    "dashboard:person-invite": Permission.CHANGE_PEOPLE,
    "dashboard:person-role": Permission.CHANGE_PEOPLE,
    "dashboard:person-link": Permission.CHANGE_PEOPLE,
    "dashboard:person-two-factor-off": Permission.CHANGE_PEOPLE,
    "dashboard:person-remove": Permission.CHANGE_PEOPLE,
    "dashboard:account": Open.OWN_ACCOUNT,
    "dashboard:two-factor": Open.OWN_ACCOUNT,
    "dashboard:sign-out-elsewhere": Open.OWN_ACCOUNT,
    "dashboard:sign-in": Open.ANYBODY,
    "dashboard:sign-in-code": Open.ANYBODY,
    "dashboard:sign-in-link": Open.ANYBODY,
    "dashboard:sign-out": Open.ANYBODY,
    "admin:login": Open.ANYBODY,  # sends to the sign-in page
    "admin:logout": Open.ANYBODY,
    "admin:index": Permission.SEE_USAGE,
    "admin:app_list": Permission.SEE_USAGE,
    "admin:jsi18n": Permission.SEE_USAGE,
    "admin:orchestrator_requestrecord_said": Permission.PURGE_ANSWERS,
    "admin:autocomplete": Permission.SEE_USAGE,  # asks for the model's own permission besides
    "admin:view_on_site": Permission.SEE_USAGE,
    "admin:password_change": Open.OWN_ACCOUNT,
    "admin:password_change_done": Open.OWN_ACCOUNT,
    "admin:": Permission.SEE_USAGE,  # the rest of the addresses there: none of them is a page
}

SOCKETS: Mapping[str, Permission] = {"live": Permission.SEE_USAGE}


class Rows(NamedTuple):
    """What the rows of a model need in the Django admin. None: nobody may."""

    see: Permission
    change: Permission | None = None
    is_narrowed: bool = False  # its pages show and change only what is in the viewer's reach


MODELS: Mapping[str, Rows] = {
    "orchestrator.requestrecord": Rows(Permission.SEE_USAGE),
    "orchestrator.routedecision": Rows(Permission.SEE_USAGE, is_narrowed=True),
    "orchestrator.answeroutcome": Rows(Permission.SEE_USAGE, is_narrowed=True),
    "orchestrator.shadowrun": Rows(Permission.SEE_USAGE, is_narrowed=True),
    "orchestrator.charge": Rows(Permission.SEE_USAGE),
    "orchestrator.spendday": Rows(Permission.SEE_USAGE),
    "orchestrator.pricerow": Rows(Permission.SEE_USAGE),
    "orchestrator.apikey": Rows(Permission.SEE_KEYS, Permission.CHANGE_KEYS, is_narrowed=True),
    "orchestrator.team": Rows(Permission.SEE_KEYS, Permission.CHANGE_KEYS, is_narrowed=True),
    "orchestrator.limit": Rows(Permission.SEE_KEYS, Permission.CHANGE_KEYS, is_narrowed=True),
    "orchestrator.budget": Rows(Permission.SEE_BUDGETS, Permission.CHANGE_BUDGETS, is_narrowed=True),
    "orchestrator.budgetalert": Rows(Permission.SEE_BUDGETS, is_narrowed=True),
    "orchestrator.tenant": Rows(Permission.SEE_PEOPLE, Permission.CHANGE_PEOPLE, is_narrowed=True),
    "orchestrator.grant": Rows(Permission.SEE_PEOPLE, Permission.CHANGE_PEOPLE, is_narrowed=True),
    "orchestrator.auditevent": Rows(Permission.SEE_AUDIT, is_narrowed=True),
    "cache.cacheentry": Rows(Permission.SEE_ANSWERS, Permission.PURGE_ANSWERS),
    "cache.purge": Rows(Permission.SEE_ANSWERS),
    "registry.provider": Rows(Permission.SEE_REGISTRY, Permission.CHANGE_REGISTRY),
    "registry.registeredmodel": Rows(Permission.SEE_REGISTRY, Permission.CHANGE_REGISTRY),
    "registry.deployment": Rows(Permission.SEE_REGISTRY, Permission.CHANGE_REGISTRY),
    "registry.registryversion": Rows(Permission.SEE_REGISTRY, Permission.CHANGE_REGISTRY),
    "routing.ruledraft": Rows(Permission.SEE_RULES, Permission.CHANGE_RULES),
    "routing.ruleversion": Rows(Permission.SEE_RULES, Permission.CHANGE_RULES),
}
_ADMIN = "admin:"
_ACTIONS_THAT_SEE = frozenset({"changelist", "change", "history", "export"})


def rule_of(page: str) -> Rule | None:
    """What the page of that name needs; None: it stands in no row, and nobody may see it."""
    if page in PAGES:
        return PAGES[page]
    rows, action = _rows(page)
    return rows and (rows.see if action in _ACTIONS_THAT_SEE else rows.change)


def is_for_all(page: str) -> bool:
    """Whether what it needs must be held for every tenant."""
    rows, _ = _rows(page)
    return rows is not None and not rows.is_narrowed


def _rows(page: str) -> tuple[Rows | None, str]:
    """Of `admin:app_model_action`, as Django names them: the model's, and the action."""
    if page in PAGES or not page.startswith(_ADMIN):
        return None, ""
    app, _, rest = page.removeprefix(_ADMIN).partition("_")
    model, _, action = rest.partition("_")
    return MODELS.get(f"{app}.{model}"), action


def needed_for(permission: str) -> tuple[Permission | None, bool]:
    """What one of Django's own permissions needs, as `registry.change_provider`, and whether for every tenant."""
    app, _, codename = permission.partition(".")
    action, _, model = codename.partition("_")
    rows = MODELS.get(f"{app}.{model}")
    if rows is None:
        return None, True
    return (rows.see if action == "view" else rows.change), not rows.is_narrowed
