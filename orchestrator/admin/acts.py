"""What the pages of who may ask share: somebody sees rows of theirs, and a form that they send is an act.

What is saved here goes the way of API and commands: it is checked, done and noted by `identity`, in the name of who
is signed in. So a page shows and takes what their roles let them see and change, and no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import ForeignKeyRawIdWidget
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.text import capfirst

from orchestrator.core.errors import OrchestratorError
from orchestrator.core.permissions import Permission
from orchestrator.identity.acting import Actor, of_user
from orchestrator.models import ApiKey, Team, Tenant

if TYPE_CHECKING:
    AnyBase = admin.ModelAdmin[Any]
    AnyForm = forms.ModelForm[Any]
else:
    AnyBase, AnyForm = admin.ModelAdmin, forms.ModelForm


class ActForm(AnyForm):
    """A form that is an act: right when whoever is signed in could do it."""

    by: Actor  # set by the page

    def act(self) -> models.Model:
        """Do it. Raises OrchestratorError."""
        raise NotImplementedError

    def clean(self) -> dict[str, Any]:
        """Try it, and take it back."""
        values = super().clean() or {}
        if not self.errors:
            try:
                with transaction.atomic():
                    self.act()
                    transaction.set_rollback(True)
            except OrchestratorError as error:
                field, _, words = str(error).partition(": ")
                raise ValidationError({field: words} if words and field in self.fields else str(error)) from None
        return values


class Reached(admin.RelatedFieldListFilter):
    """A filter by tenant whose choices are those that one may see: a name is something, too."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        """The tenants."""
        reach = model_admin.by(request).reach(model_admin.sees)
        within = {} if reach.tenants is None else {"pk__in": reach.tenants}
        ordering = self.field_admin_ordering(field, request, model_admin)
        return field.get_choices(include_blank=False, ordering=ordering, limit_choices_to=within)


class KeyNumber(ForeignKeyRawIdWidget):
    """A key by its number, with its name beside for whoever may see it: any number may be typed, or be in a link."""

    keys: QuerySet[Any]  # set by the page

    def label_and_url_for_value(self, value: Any) -> Any:
        """Its name, and where it is; nothing of another's."""
        is_theirs = str(value).isdecimal() and self.keys.filter(pk=value).exists()
        return super().label_and_url_for_value(value) if is_theirs else ("", "")


class Acts(AnyBase):
    """A page of rows that somebody may see, whose forms are acts."""

    sees = Permission.SEE_KEYS
    changes = Permission.CHANGE_KEYS
    tenants: tuple[str, ...] = ("tenant",)  # whose a row is, by column
    explanation = ""  # above the list

    def by(self, request: HttpRequest) -> Actor:
        """Who is signed in; asked once for each request."""
        known: Actor | None = getattr(request, "actor", None)
        if known is None:
            known = of_user(request.user)
            request.actor = known  # type: ignore[attr-defined]
        return known

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """What they may see."""
        reach = self.by(request).reach(self.sees)
        rows = super().get_queryset(request)
        if reach.tenants is None:
            return rows
        mine = Q()
        for column in self.tenants:
            mine |= Q(**{f"{column}__in": reach.tenants})
        return rows.filter(mine)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Choices are what they may change."""
        reach = self.by(request).reach(self.changes)
        if db_field.related_model is Team:
            kwargs["queryset"] = Team.objects.of(reach)
        elif db_field.related_model is ApiKey:
            kwargs["queryset"] = keys = ApiKey.objects.of(reach)
            kwargs["widget"] = widget = KeyNumber(db_field.remote_field, self.admin_site)
            widget.keys = keys
        elif db_field.related_model is Tenant and reach.tenants is not None:
            kwargs["queryset"] = Tenant.objects.filter(pk__in=reach.tenants)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """The form, which knows who fills it in."""
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        for field in form.base_fields.values():
            for way in ("add", "change", "delete", "view"):  # what is chosen from has a page of its own
                setattr(field.widget, f"can_{way}_related", False)
        form.by = self.by(request)  # the class was made for this request
        return form

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        """Do it."""
        return form.act()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """It is saved already."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """There is nothing beside."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Whether the page is in the index."""
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Which rows, `get_queryset` says."""
        return not self.by(request).reach(self.sees).is_nobody

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Of which rows, the act says."""
        return not self.by(request).reach(self.changes).is_nobody

    def has_add_permission(self, request: HttpRequest) -> bool:
        """The same."""
        return self.has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The same."""
        return self.has_change_permission(request)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """By the act that is for it."""
        self.end(self.by(request), obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """One by one, so that each is noted."""
        for obj in queryset:
            self.end(self.by(request), obj)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Delete one, or say why not."""
        try:
            return super().delete_view(request, object_id, extra_context)
        except OrchestratorError as error:
            return self._refused(request, error)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The list, under the name of what is in it.

        What is done with the chosen ones is done with all of them, or it is said why not.
        """
        told = {"title": capfirst(str(self.opts.verbose_name_plural)), "explanation": self.explanation}
        told |= extra_context or {}
        if request.method != "POST":
            return super().changelist_view(request, told)
        try:
            with transaction.atomic():
                return super().changelist_view(request, told)
        except OrchestratorError as error:
            return self._refused(request, error)

    def _refused(self, request: HttpRequest, error: OrchestratorError) -> HttpResponse:
        self.message_user(request, str(error), messages.ERROR)
        return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")

    def end(self, by: Actor, obj: Any) -> None:
        """Take one away."""
        raise NotImplementedError
