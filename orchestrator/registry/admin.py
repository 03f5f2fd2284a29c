"""Providers, models and their history in the Django admin. Every save is a checked change, and a version."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db import models
from django.forms import Textarea
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from orchestrator.core.changing import By
from orchestrator.core.documents import WrongDocument
from orchestrator.core.errors import Conflict, NotThere
from orchestrator.registry import changes
from orchestrator.registry.changes import Change
from orchestrator.registry.doubts import doubts_in
from orchestrator.registry.forms import DeploymentFormSet, ModelForm, PriceField, ProviderForm
from orchestrator.registry.history import Versions, by_user
from orchestrator.registry.models import Deployment, Provider, RegisteredModel, RegistryVersion
from orchestrator.registry.reading import Off, provider_of
from orchestrator.registry.seal import hint
from orchestrator.registry.sent_back import SentBack
from orchestrator.registry.settled import PAGE, in_environment, key_of, place_of
from orchestrator.registry.stored import read_tables, shown

if TYPE_CHECKING:
    Inline = admin.TabularInline[Deployment, RegisteredModel]
else:
    Inline = admin.TabularInline


WHY: Any = ("This change", {"fields": ("reason",)})


class _Versioned(SentBack):
    """Saves and deletes by way of `changes`, so that each is one version under the user's name."""

    actions = None  # many at once would be many versions
    sent_back_by = (WrongDocument, Conflict, NotThere)
    kind: changes.Kind

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Not yet: what belongs to it is not here."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """All of it."""
        form.made = self.put(form, by_user(request, form.cleaned_data["reason"]))
        saved = type(form.instance).objects.get(name=form.instance.name)
        form.instance.pk = saved.pk
        for words in [*self.doubts(saved), *(f"Hardly meant: {warning}." for warning in form.made.warnings)]:
            messages.warning(request, words)

    def put(self, form: Any, by: By) -> Change:
        """Make the change that a form asks for."""
        raise NotImplementedError

    def doubts(self, saved: Any) -> list[str]:
        """What is to be said of a row that was saved, besides what its change warns of."""
        return []

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """For Django's own log of who did what."""
        return f"Version {form.made.version} of the registry." if form.made.lines else "Nothing was changed."

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The question; what came to need it meanwhile sends back to it."""
        try:
            return super().delete_view(request, *args, **kwargs)
        except self.sent_back_by as error:
            messages.error(request, str(error))
            return redirect(request.get_full_path())

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What would go; who needs it, by name."""
        gone, counts, lacking, _ = super().get_deleted_objects(objs, request)
        users = {user for one in objs for user in changes.users_of(self.kind, one.name)}
        return gone, counts, lacking, [f"used by the model {user}" for user in sorted(users)]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, under the name of what is in it."""
        title = str(self.opts.verbose_name_plural).capitalize()
        return super().changelist_view(request, {"title": title} | (extra_context or {}))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[Any, ...]:
        """A name is what everything else knows it by."""
        return ("name", *self.readonly_fields) if obj else tuple(self.readonly_fields)


@admin.register(Provider)
class ProviderAdmin(_Versioned):
    """Where models run."""

    kind = "providers"
    form = ProviderForm
    delete_confirmation_template = "admin/delete_registered.html"
    list_display = ("name", "kind", "where", "key_kept", "charges", "state")
    readonly_fields = ("key_kept", "state")
    search_fields = ("name",)
    fieldsets = (
        (None, {"fields": ("name", "kind", "address", "is_enabled", "state", "seen")}),
        ("Key", {"fields": ("key_kept", "key", "without_key")}),
        ("What it offers", {"fields": ("is_paid", "lists_models", "extra_body")}),
        (
            "How long it may take, how much it is asked",
            {
                "fields": (
                    "connect_timeout_s",
                    "first_token_timeout_s",
                    "token_timeout_s",
                    "answer_timeout_s",
                    "slow_after_s",
                    "most_calls",
                )
            },
        ),
        WHY,
    )
    formfield_overrides = {models.JSONField: {"widget": Textarea(attrs={"rows": 4, "class": "vLargeTextField lines"})}}  # noqa: RUF012  # read only

    def put(self, form: Any, by: By) -> Change:
        """The provider."""
        return changes.put_provider(form.instance.name, form.part, by, expected=form.version)

    def doubts(self, saved: Provider) -> list[str]:
        """Why it is off, when nobody switched it off."""
        found = provider_of(saved)
        return (
            [f"The provider {saved.name} is off: {found.why}."] if saved.is_enabled and isinstance(found, Off) else []
        )

    def delete_model(self, request: HttpRequest, obj: Provider) -> None:
        """Take it out."""
        changes.delete_provider(obj.name, by_user(request))

    def has_delete_permission(self, request: HttpRequest, obj: Provider | None = None) -> bool:
        """What the environment sets up would be back at once; it is switched off instead."""
        if obj is not None and obj.name in in_environment():
            return False
        return super().has_delete_permission(request, obj)

    @admin.display(description="address")
    def where(self, row: Provider) -> str:
        """Where it is asked, and who says so."""
        place = place_of(row.name, row.kind, row.address)
        source = "" if row.address else f" ({place.source})" if place.source != PAGE else " (the usual one)"
        return f"{place.address}{source}" if place.address else "–"

    @admin.display(description="key")
    def key_kept(self, row: Provider) -> str:
        """Whether there is one, where it is from, and how it ends."""
        if not row.pk:
            return "none yet"
        key = key_of(row.name, row.kind, row.sealed_key, place_of(row.name, row.kind, row.address))
        end = f", ends in {hint(key.value)}" if hint(key.value) else ""
        if row.sealed_key:
            return f"set here{end}" if key.value else f"set here, but of no use: {key.why}"
        if key.value:
            return f"from {key.source}{end}"
        return f"none: {key.why}" if key.why else "none"

    @admin.display(description="charges", ordering="is_paid")
    def charges(self, row: Provider) -> str:
        """In words: Django's cross would look like a fault."""
        if row.is_paid is not None:
            return "yes" if row.is_paid else "no"
        found = provider_of(row)
        return "not known" if isinstance(found, Off) else "yes, as far as is known" if found.is_paid else "no"

    @admin.display(description="state")
    def state(self, row: Provider) -> str:
        """On, or why it is off."""
        if not row.pk:
            return "–"
        found = provider_of(row)
        return f"off: {found.why}" if isinstance(found, Off) else "on"


def _named_place(request: HttpRequest) -> dict[str, Any] | None:
    """Where the model runs that a link to an empty form names, if its name says so."""
    name, _, remote_name = request.GET.get("name", "").partition("/")
    provider = Provider.objects.filter(name=name).first() if request.method == "GET" and remote_name else None
    return {"provider": provider.pk, "remote_name": remote_name} if provider else None


class DeploymentInline(Inline):
    """Where a model runs."""

    model = Deployment
    template = "admin/tabular_named.html"
    formset = DeploymentFormSet
    verbose_name = "deployment"
    fields = ("provider", "remote_name", "rank", "weight", "input_price", "output_price", "is_enabled")

    def get_extra(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> int:
        """An empty row only for the place that a link to the form names."""
        return 1 if obj is None and _named_place(request) else 0

    def formfield_for_foreignkey(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        """Providers by name; no pencil beside each, which would leave the form."""
        field = super().formfield_for_foreignkey(db_field, request, **kwargs)
        if field is not None:
            field.empty_label = "this machine"
        return field

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        """Without the icons of related objects, and without noughts at the end of a price."""
        if db_field.name.endswith("_price"):
            kwargs["form_class"] = PriceField
        elif db_field.name == "is_enabled":
            kwargs["label"] = "Switched on"
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        for icon in ("can_add_related", "can_change_related", "can_delete_related", "can_view_related"):
            if field is not None and hasattr(field.widget, icon):
                setattr(field.widget, icon, False)
        return field


@admin.register(RegisteredModel)
class RegisteredModelAdmin(_Versioned):
    """Models under names of ours."""

    kind = "models"
    form = ModelForm
    delete_confirmation_template = "admin/delete_registered.html"
    inlines = (DeploymentInline,)
    list_display = ("name", "also", "places", "instead", "state")
    search_fields = ("name", "aliases")
    fieldsets = (
        (None, {"fields": ("name", "aliases", "tags", "is_enabled", "seen")}),
        ("Who answers", {"fields": ("balance", "hedge_after_s", "fallbacks")}),
        ("What it can", {"fields": ("context_length", "capabilities")}),
        WHY,
    )

    def get_formset_kwargs(self, request: HttpRequest, obj: Any, inline: Any, prefix: str) -> dict[str, Any]:
        """Who comes to give `openai/gpt-9` a price finds its place: the usual one, this machine, does not have it."""
        kwargs: dict[str, Any] = super().get_formset_kwargs(request, obj, inline, prefix)
        place = _named_place(request)
        return kwargs | {"initial": [place]} if obj.pk is None and place else kwargs

    def put(self, form: Any, by: By) -> Change:
        """The model with its deployments."""
        return changes.put_model(form.instance.name, form.part, by, expected=form.version)

    def delete_model(self, request: HttpRequest, obj: RegisteredModel) -> None:
        """Take it out."""
        changes.delete_model(obj.name, by_user(request))

    def get_queryset(self, request: HttpRequest) -> Any:
        """With where they run."""
        return super().get_queryset(request).prefetch_related("deployments__provider")

    @admin.display(description="other names")
    def also(self, row: RegisteredModel) -> str:
        """Its aliases."""
        return ", ".join(row.aliases) or "–"

    @admin.display(description="runs at")
    def places(self, row: RegisteredModel) -> str:
        """Its deployments in the order of their ranks."""
        places = [f"{one}{'' if one.is_enabled else ' (off)'}" for one in row.deployments.all()]
        return ", ".join(places) or "where its name says"

    @admin.display(description="else")
    def instead(self, row: RegisteredModel) -> str:
        """Its fallbacks."""
        return ", ".join(row.fallbacks) or "–"

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The list, each row with what is hardly meant of it."""
        found = super().get_changelist_instance(request)
        doubts = defaultdict(list)
        for doubt in doubts_in(read_tables()):
            doubts[doubt.place[1]].append(doubt.words)
        for row in found.result_list:
            row.doubts = doubts[row.name]
        return found

    @admin.display(description="state", ordering="is_enabled")
    def state(self, row: Any) -> str:
        """In words."""
        return "; ".join(["on" if row.is_enabled else "off", *getattr(row, "doubts", [])])


@admin.register(RegistryVersion)
class RegistryVersionAdmin(Versions):
    """Every change, to be read and to be taken back."""

    what = "The registry"
    hint = "A key comes back only for the address it was given for."
    search_fields = ("summary", "by", "reason")

    def restore(self, number: int, by: By) -> tuple[int, Sequence[str]]:
        """Go back."""
        change = changes.restore(number, by)
        return change.version, change.lines

    def try_restore(self, number: int) -> Sequence[str]:
        """What that would change."""
        return changes.try_restore(number).lines

    def may_restore(self, request: HttpRequest) -> bool:
        """Whoever may change all of it."""
        return request.user.has_perms(("registry.change_provider", "registry.change_registeredmodel"))

    def document(self, row: RegistryVersion) -> Any:
        """The whole registry; of keys only that there were some."""
        return shown(row.document, is_now=False)
