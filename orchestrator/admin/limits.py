"""Limits: made, changed, switched off and deleted."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from orchestrator.admin.acts import ActForm, Acts
from orchestrator.admin.seen import Reached
from orchestrator.identity import limiting
from orchestrator.identity.asked import LimitAsked, LimitChange, read
from orchestrator.models import Limit


class LimitForm(ActForm):
    """A limit. What it counts, and whose, stays."""

    changeable = limiting.FIELDS

    class Meta:
        model = Limit
        fields = (
            "name",
            "kind",
            "amount",
            "per_s",
            "burst",
            "each",
            "tenant",
            "team",
            "key",
            "model",
            "network",
            "is_off",
        )
        labels = {"per_s": "In seconds", "is_off": "Switched off"}  # noqa: RUF012  # read only
        help_texts = {"name": "As the header RateLimit-Policy names it."}  # noqa: RUF012  # read only

    def act(self) -> Limit:
        """Make or change it."""
        values = self.cleaned_data
        fields = {field: values[field] for field in limiting.FIELDS}
        if self.instance.pk is not None:
            return limiting.change(self.by, self.instance.name, read(LimitChange, self.changed(fields)))
        whose = {
            "tenant": values["tenant"] and values["tenant"].name,
            "team": values["team"] and values["team"].name,
            "key": values["key"] and values["key"].prefix,
        }
        if values["team"] and not values["tenant"]:
            whose["tenant"] = values["team"].tenant.name
        return limiting.make(
            self.by, read(LimitAsked, fields | whose | {field: values[field] for field in ("name", "kind")})
        )


@admin.register(Limit)
class LimitAdmin(Acts):
    """How much may be asked."""

    explanation = "How much may be asked. A request has to be within every limit that is about it."
    form = LimitForm
    list_display = ("name", "kind", "how_much", "each", "about", "is_on")
    list_filter = ("kind", "each", "is_off", ("tenant", Reached))
    list_select_related = ("tenant", "team__tenant", "key")
    search_fields = ("name", "tenant__name", "team__name", "key__prefix", "model")
    raw_id_fields = ("key",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Another kind, or of somebody else, is another limit."""
        return ("name", "kind", "tenant", "team", "key") if obj else ()

    @admin.display(description="how much", ordering="amount")
    def how_much(self, limit: Limit) -> str:
        """The amount, with its time."""
        within = f" in {limit.per_s:,} s" if limit.per_s else ""
        at_once = f", {limit.burst:,} at once" if limit.burst else ""
        return f"{limit.amount:,}{within}{at_once}"

    @admin.display(description="about")
    def about(self, limit: Limit) -> str:
        """Every field that is set."""
        whose = limit.key or limit.team or limit.tenant
        return ", ".join(str(one) for one in (whose, limit.model, limit.network) if one) or "everything"

    @admin.display(description="state", ordering="is_off")
    def is_on(self, limit: Limit) -> str:
        """In words: Django's cross would look like a fault."""
        return "off" if limit.is_off else "on"

    def delete_model(self, request: HttpRequest, obj: Limit) -> None:
        """For good; to lift it for a while it is switched off."""
        limiting.delete(self.by(request), obj.name)
