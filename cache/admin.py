"""Kept answers in the Django admin: to look at, and to purge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from cache.assembly import purge_everywhere
from cache.codec import BadEntry, decode
from cache.entries import CacheKey, Scope
from cache.models import CacheEntry, Purge
from cache.tiered import OTHER_MACHINES
from orchestrator.audit import note
from orchestrator.core.numbers import whole
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.types import Reply
from orchestrator.models import Tenant

MOST_CHOICES = 100
_MOST_PURGED = 1000
_MOST_NOTED = 100  # of them are named in the audit


class TenantFilter(admin.SimpleListFilter):
    """By tenant; the names are in the other database file."""

    title = "tenant"
    parameter_name = "tenant"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[CacheEntry]) -> Iterable[tuple[str, str]]:
        """The first by name, and the chosen one."""
        first = Tenant.objects.order_by("name")[:MOST_CHOICES]
        number = whole(self.value() or "")
        chosen = () if number is None else Tenant.objects.filter(pk=number)
        return list({str(one.pk): one.name for one in (*first, *chosen)}.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[CacheEntry]) -> QuerySet[CacheEntry]:
        """The chosen tenant's answers."""
        number = whole(self.value() or "")
        return queryset if number is None else queryset.filter(tenant_id=number)


class Named(admin.AllValuesFieldListFilter):
    """By its value; one that is empty has a name to click on."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Every value there is."""
        for choice in super().choices(changelist):
            yield choice | {"display": choice["display"] or "(none)"}


class _ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable when it runs
    """Rows that come about by themselves."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Nobody; a purge reaches every tier, deleting a row does not."""
        return False


@admin.register(CacheEntry)
class CacheEntryAdmin(_ReadOnly):
    """The answers in SQLite."""

    list_filter = (TenantFilter, "model", ("namespace", Named))
    search_fields = ("hash__startswith",)
    search_help_text = "The beginning of a hash, as in a request's cache key."
    show_full_result_count = False  # counting a large cache twice is slow
    show_facets = admin.ShowFacets.NEVER  # a count for every choice reads every answer
    ordering = ("-created_at",)
    fields = ("hash", "tenant", "model", "namespace", "created_at", "expires_at", "size", "answer", "thinking", "ended")
    readonly_fields = fields
    actions = ("purge",)

    def get_list_display(self, request: HttpRequest) -> tuple[Any, ...]:
        """With the names of tenants, which are in the other database file, and so are read once for a list."""
        names = cache(lambda: dict(Tenant.objects.values_list("pk", "name")))

        @admin.display(description="tenant", ordering="tenant_id")
        def tenant(entry: CacheEntry) -> str:
            return names().get(entry.tenant_id, str(entry.tenant_id))

        return ("short_hash", "model", "namespace", tenant, "size", "created_at", "expires_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[CacheEntry]:
        """Without the answers, which the list does not show."""
        return CacheEntry.objects.of(EVERYBODY).order_by(*self.ordering).defer("body")

    @admin.display(description="hash", ordering="hash")
    def short_hash(self, entry: CacheEntry) -> str:
        """Enough to know it by."""
        return f"{entry.hash[:16]}…"

    @admin.display(description="tenant", ordering="tenant_id")
    def tenant(self, entry: CacheEntry) -> str:
        """The tenant's name; its number when it is gone."""
        tenant = Tenant.objects.filter(pk=entry.tenant_id).first()
        return tenant.name if tenant else str(entry.tenant_id)

    @admin.display(description="answer")
    def answer(self, entry: CacheEntry) -> str:
        """What callers are told, decoded."""
        try:
            return _decoded(entry).text
        except BadEntry as error:
            return f"Damaged, and so never served: {error}"

    @admin.display(description="thinking", empty_value="–")
    def thinking(self, entry: CacheEntry) -> str:
        """What the model thought before."""
        try:
            return _decoded(entry).thinking
        except BadEntry:
            return ""

    @admin.display(description="ended", empty_value="–")
    def ended(self, entry: CacheEntry) -> str:
        """How it ended, and after how many tokens."""
        try:
            done = _decoded(entry).done
        except BadEntry:
            return ""
        return f"{done.reason}, after {done.usage.completion_tokens} tokens"

    @admin.action(description="Purge the chosen answers from every tier", permissions=["purge"])
    def purge(self, request: HttpRequest, chosen: QuerySet[CacheEntry]) -> None:
        """Drop the chosen answers from memory, Redis and SQLite."""
        hashes = list(chosen.values_list("hash", flat=True)[: _MOST_PURGED + 1])
        if len(hashes) > _MOST_PURGED:
            told = f"At most {_MOST_PURGED} answers can be purged one by one; purge a whole model or namespace instead."
            self.message_user(request, told, messages.ERROR)
            return
        purged = async_to_sync(purge_everywhere)(*(Scope(hash=name) for name in hashes))
        noted = {"keys": hashes[:_MOST_NOTED], "counts": purged.counts, "unreached": list(purged.failed)}
        note(f"user:{request.user.get_username()}", "cache.purged", f"{len(hashes)} answers", None, noted)
        for tier, why in purged.failed.items():
            told = f"{tier} was not swept ({why}); what is left there is not served."
            if tier == OTHER_MACHINES:
                told = f"Not on every machine yet: {why}"
            self.message_user(request, told, messages.WARNING)
        self.message_user(request, f"Answers purged: {len(hashes)}.", messages.SUCCESS)

    def has_purge_permission(self, request: HttpRequest) -> bool:
        """Who may delete kept answers."""
        return request.user.has_perm("cache.delete_cacheentry")


@admin.register(Purge)
class PurgeAdmin(_ReadOnly):
    """What was purged, and when."""

    list_display = ("at", "tenant_id", "namespace", "model", "hash")
    list_display_links = None
    date_hierarchy = "at"


def _decoded(entry: CacheEntry) -> Reply:
    key = CacheKey(entry.hash, entry.tenant_id, entry.namespace, entry.model)
    return decode(key, bytes(entry.body)).reply
