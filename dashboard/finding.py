"""What is called so: pages, requests, kept answers, models, providers, rules, tenants and keys, by how they begin.

Only what somebody may see is looked for, and each look is bounded: it goes by an index, or over a list that every
process holds anyhow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from django.db.models import Q
from django.urls import reverse

from cache.models import CacheEntry
from dashboard.policy import PAGES
from dashboard.providers.rows import title_of
from dashboard.rail import GROUPS
from dashboard.rules.rows import key_of
from orchestrator.core.numbers import whole
from orchestrator.core.permissions import EVERYBODY, Permission, Reach, Role, reach_of
from orchestrator.identity.keys import OURS
from orchestrator.models import ApiKey, RequestRecord, Tenant
from orchestrator.registry.models import Provider, RegisteredModel
from orchestrator.wiring import parts_there
from routing.models import RuleDraft

MOST_OF_A_KIND = 6
MOST_READ = 200  # rows of an index, of which only those in reach are shown
LEAST_OF_A_REQUEST = 3  # characters: fewer mean nothing
LEAST_OF_A_HASH = 4
LONGEST = 200
LAST = "\U0010ffff"
BESIDES = (  # pages that stand not in the rail
    ("Prices", "dashboard:prices"),
    ("Invoices", "dashboard:invoices"),
    ("Results of rules", "dashboard:rules-results"),
    ("Purge answers", "dashboard:purge"),
)


class Hit(NamedTuple):
    """Something that was found."""

    kind: str
    name: str
    words: str  # which one that is, where the name alone does not say it
    address: str
    is_code: bool = False


def find(wanted: str, held: Mapping[int | None, Role]) -> list[Hit]:
    """What begins so, for somebody with those roles; without a word, every page."""
    wanted = wanted.strip()[:LONGEST]
    found = list(_pages(wanted.lower(), held))
    if not wanted:
        return found
    for kind, permission in (
        (_requests, Permission.SEE_USAGE),
        (_answers, Permission.SEE_USAGE),
        (_models, Permission.SEE_REGISTRY),
        (_providers, Permission.SEE_REGISTRY),
        (_rules, Permission.SEE_RULES),
        (_tenants, Permission.SEE_KEYS),
        (_keys, Permission.SEE_KEYS),
    ):
        reach = reach_of(held, permission)
        if not reach.is_nobody:
            found += kind(wanted, reach)
    return found


def exactly(wanted: str, found: list[Hit]) -> Hit | None:
    """The one that is called just so, or the only one there is."""
    same = [hit for hit in found if hit.name.lower() == wanted.strip().lower()]
    if len(same) == 1:
        return same[0]
    return found[0] if len(found) == 1 else None


def _pages(wanted: str, held: Mapping[int | None, Role]) -> Iterator[Hit]:
    listed = [(one.title, one.page) for _, items in GROUPS for one in items]
    for title, page in (*listed, *(BESIDES if wanted else ())):
        rule = PAGES[page]
        may = not isinstance(rule, Permission) or not reach_of(held, rule).is_nobody
        if may and any(word.startswith(wanted) for word in (title.lower(), *title.lower().split())):
            yield Hit("Page", title, "", reverse(page))


def _requests(wanted: str, reach: Reach) -> list[Hit]:
    number = whole(wanted)
    if len(wanted) < LEAST_OF_A_REQUEST and number is None:
        return []
    near = RequestRecord.objects.of(EVERYBODY).filter(request_id__gte=wanted, request_id__lt=wanted + LAST)
    rows = RequestRecord.objects.of(reach, by_tenant=False).select_related("tenant")
    # The database reads so many of them and no more: others' ids may begin alike.
    ids = list(near.order_by("request_id").values_list("pk", flat=True)[:MOST_READ])
    if number is not None:
        ids.insert(0, number)
    found = rows.filter(pk__in=ids).order_by("-pk")[:MOST_OF_A_KIND]
    return [
        Hit(
            "Request",
            one.request_id,
            f"{one.tenant.name}, {one.model or one.asked_model}",
            reverse("dashboard:request", args=[one.pk]),
            is_code=True,
        )
        for one in found
    ]


def _answers(wanted: str, reach: Reach) -> list[Hit]:
    if len(wanted) < LEAST_OF_A_HASH or not re.fullmatch("[0-9a-f]+", wanted):
        return []
    near = CacheEntry.objects.of(EVERYBODY).filter(hash__gte=wanted, hash__lt=wanted + "g").order_by("hash")
    rows = list(near.values_list("hash", "tenant_id", "model")[:MOST_READ])
    page = reverse("dashboard:cache")
    mine = [(key, model) for key, tenant_id, model in rows if tenant_id in reach]  # type: ignore[comparison-overlap]
    return [
        Hit("Kept answer", key, model, f"{page}?{urlencode({'key': key})}#kept", is_code=True)
        for key, model in mine[:MOST_OF_A_KIND]
    ]


def _models(wanted: str, _: Reach) -> list[Hit]:
    """Registered ones, and those that providers and the model host are known to have; nobody is asked for it."""
    registered = RegisteredModel.objects.filter(name__istartswith=wanted).values_list("name", flat=True)
    names = dict.fromkeys(registered[:MOST_OF_A_KIND])
    low = wanted.lower()
    there = parts_there()
    known = sorted(one.name for one in there.catalogue.known()) if there else []
    begins = [name for name in known if any(part.startswith(low) for part in (name.lower(), *name.lower().split("/")))]
    names |= dict.fromkeys(begins[:MOST_OF_A_KIND])
    page = reverse("dashboard:models")
    return [
        Hit("Model", name, "", f"{page}?{urlencode({'q': name})}", is_code=True)
        for name in list(names)[:MOST_OF_A_KIND]
    ]


def _providers(wanted: str, _: Reach) -> list[Hit]:
    low = wanted.lower()
    there = parts_there()
    own = {one.name for one in there.catalogue.registry.providers} if there else set()
    names = sorted(own | set(Provider.objects.filter(name__istartswith=low).values_list("name", flat=True)))
    found = [name for name in names if name.startswith(low) or title_of(name).lower().startswith(low)]
    return [
        Hit("Provider", title_of(name), name, reverse("dashboard:provider", args=[name]))
        for name in found[:MOST_OF_A_KIND]
    ]


def _rules(wanted: str, _: Reach) -> list[Hit]:
    begins = Q(name__istartswith=wanted) | Q(name__icontains=f" {wanted}")
    names = RuleDraft.objects.filter(begins).values_list("place", "name")[:MOST_OF_A_KIND]
    page = reverse("dashboard:rules")
    return [Hit("Rule", name, f"number {place + 1}", f"{page}#rule-{key_of(name)}") for place, name in names]


def _tenants(wanted: str, reach: Reach) -> list[Hit]:
    rows = Tenant.objects.filter(name__gte=wanted.lower(), name__lt=wanted.lower() + LAST)
    if reach.tenants is not None:
        rows = rows.filter(pk__in=reach.tenants)
    found = rows.order_by("name").values_list("pk", "name")[:MOST_OF_A_KIND]
    return [Hit("Tenant", name, "", reverse("dashboard:tenant", args=[pk])) for pk, name in found]


def _keys(wanted: str, reach: Reach) -> list[Hit]:
    prefix = wanted.removeprefix(OURS)
    begins = Q(prefix__gte=prefix, prefix__lt=prefix + LAST) if prefix else Q()
    begins |= Q(name__istartswith=wanted)
    rows = ApiKey.objects.of(reach).filter(begins).select_related("tenant").order_by("revoked_at", "-pk")
    return [
        Hit(
            "Key",
            one.name,
            f"{one.prefix}…, {one.tenant.name}{', revoked' if one.revoked_at else ''}",
            reverse("dashboard:key", args=[one.pk]),
        )
        for one in rows[:MOST_OF_A_KIND]
    ]
