"""Lists of which everybody changes the rows of their own tenants.

What is saved there goes the way of API and commands: it is checked, done and noted by `identity`, in the name of who
is signed in. So a page shows and takes what their roles let them see and change, and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.contrib.admin.widgets import ForeignKeyRawIdWidget
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from orchestrator.admin.seen import Seen
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.numbers import whole
from orchestrator.core.permissions import Permission
from orchestrator.identity.acting import Actor
from orchestrator.models import ApiKey, Team, Tenant
from orchestrator.registry.sent_back import SentBack

if TYPE_CHECKING:
    AnyForm = forms.ModelForm[Any]
else:
    AnyForm = forms.ModelForm


class ActForm(AnyForm):
    """A form that is an act: right when whoever is signed in could do it."""

    by: Actor  # set by the page
    changeable: tuple[str, ...] = ()  # of these a change is sent only where something else was typed

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        shown = self.fields.keys() & self.changeable  # others may only be read
        for name in shown if self.instance.pk is not None else ():
            # What it was when the form was opened; whoever sends none means what there is by now.
            hidden, said = self.fields[name].hidden_widget(), self.add_initial_prefix(name)
            is_told = not self.is_bound or not hidden.value_omitted_from_data(self.data, self.files, said)
            self.fields[name].show_hidden_initial = is_told

    def changed(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Of those, what was changed in the form: the rest may have become otherwise meanwhile, and stays so."""
        return {name: value for name, value in fields.items() if name in self.changed_data}

    def look(self) -> None:
        """Read what `act` is to know and takes long: outside of its transaction. Raises OrchestratorError."""

    def act(self) -> models.Model:
        """Do it. Raises OrchestratorError."""
        raise NotImplementedError

    def clean(self) -> dict[str, Any]:
        """Try it, and take it back."""
        values = super().clean() or {}
        if not self.errors:
            try:
                self.look()
                with transaction.atomic():
                    self.act()
                    transaction.set_rollback(True)
            except OrchestratorError as error:
                field, _, words = str(error).partition(": ")
                raise ValidationError({field: words} if words and field in self.fields else str(error)) from None
        return values


class KeyNumber(ForeignKeyRawIdWidget):
    """A key by its number, with its name beside for whoever may see it: any number may be typed, or be in a link."""

    keys: QuerySet[Any]  # set by the page

    def label_and_url_for_value(self, value: Any) -> Any:
        """Its name, and where it is; nothing of another's."""
        is_theirs = whole(str(value)) is not None and self.keys.filter(pk=value).exists()
        return super().label_and_url_for_value(value) if is_theirs else ("", "")


class Acts(SentBack, Seen):
    """A page of rows that somebody may see, whose forms are acts."""

    changes = Permission.CHANGE_KEYS

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Choices are what they may change."""
        reach = self.by(request).reach(self.changes)
        if db_field.related_model is Team:
            kwargs.setdefault("queryset", Team.objects.of(reach))
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

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Of some of the rows."""
        return self.may_act(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """The same."""
        return self.may_act(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The same."""
        return self.may_act(request)

    def may_act(self, request: HttpRequest) -> bool:
        """Whether there is a tenant of which they may change anything. Of which rows, the act says."""
        return not self.by(request).reach(self.changes).is_nobody

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Take one away, by the act that is for it."""
        raise NotImplementedError

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """One by one, so that each is noted."""
        for obj in queryset:
            self.delete_model(request, obj)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Delete one, or say why not."""
        try:
            return super().delete_view(request, object_id, extra_context)
        except OrchestratorError as error:
            return self._refused(request, error)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The list.

        What is done with the chosen ones is done with all of them, or it is said why not.
        """
        if request.method != "POST":
            return super().changelist_view(request, extra_context)
        try:
            with transaction.atomic():
                return super().changelist_view(request, extra_context)
        except OrchestratorError as error:
            return self._refused(request, error)

    def _refused(self, request: HttpRequest, error: OrchestratorError) -> HttpResponse:
        self.message_user(request, str(error), messages.ERROR)
        return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")

    def do_each(self, request: HttpRequest, rows: Iterable[Any], act: Callable[[Any], object], done: str) -> None:
        """Do it to each of the chosen rows for which it may be done, and say which those were."""
        names = []
        for row in rows:
            try:
                act(row)
            except OrchestratorError as error:
                self.message_user(request, f"{row}: {error}", messages.ERROR)
                continue
            self.log_change(request, row, f"{done}.")
            names.append(str(row))
        if names:
            self.message_user(request, f"{done}: {', '.join(names)}.", messages.SUCCESS)
