"""Versions in the Django admin, whatever they are of: to be read, and to be gone back to."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from orchestrator.core.changing import By
from orchestrator.core.documents import WrongDocument
from orchestrator.core.errors import NotThere

if TYPE_CHECKING:
    AnyBase = admin.ModelAdmin[Any]
else:
    AnyBase = admin.ModelAdmin


def by_user(request: HttpRequest, reason: str = "") -> By:
    """Who is signed in."""
    name = request.user.get_username()
    return By(name, reason, f"user:{name}")


class Versions(AnyBase):
    """Every version there is. Its rows have a number, a moment, who made it and why."""

    what = "It"  # that is as it was, at the beginning of a sentence
    changed = "summary"  # the field with what changed, a line each
    hint = ""  # what is to be known before one goes back
    list_display = ("number", "at", "by", "reason", "first_change")
    list_display_links = ("number",)
    show_full_result_count = False
    fields = ("number", "at", "by", "reason", "what_changed", "as_it_was")
    readonly_fields = fields
    change_form_template = "admin/version.html"
    actions = None

    def restore(self, number: int, by: By) -> tuple[int, Sequence[str]]:
        """Go back; the newest version afterwards, and what changed. Raises NotThere, WrongDocument, Conflict."""
        raise NotImplementedError

    def try_restore(self, number: int) -> Sequence[str]:
        """What that would change. Raises NotThere, WrongDocument."""
        raise NotImplementedError

    def may_restore(self, request: HttpRequest) -> bool:
        """Whether whoever is signed in may go back."""
        raise NotImplementedError

    def document(self, row: Any) -> Any:
        """What may be seen of the document of a version."""
        return row.document

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list, newest first."""
        title = str(self.opts.verbose_name_plural).capitalize()
        return super().changelist_view(request, {"title": title} | (extra_context or {}))

    def get_queryset(self, request: HttpRequest) -> Any:
        """Without the documents, which the list does not show."""
        return super().get_queryset(request).defer("document")

    @admin.display(description="what changed")
    def first_change(self, row: Any) -> str:
        """The first line of it."""
        first, *more = getattr(row, self.changed).splitlines() or ["–"]
        return f"{first}, and {len(more)} more" if more else first

    @admin.display(description="what changed")
    def what_changed(self, row: Any) -> SafeString:
        """All of it."""
        lines = ((line,) for line in getattr(row, self.changed).splitlines())
        return format_html('<ul class="changes">{}</ul>', format_html_join("", "<li>{}</li>", lines))

    @admin.display(description="as it was then")
    def as_it_was(self, row: Any) -> SafeString:
        """The whole document."""
        document = json.dumps(self.document(row), indent=2, ensure_ascii=False)
        return format_html('<details class="document"><summary>Show it</summary><pre>{}</pre></details>', document)

    def get_urls(self) -> list[Any]:
        """One page more: going back."""
        going_back: Callable[..., HttpResponse] = self.admin_site.admin_view(self.restore_view)
        return [path("<path:object_id>/restore/", going_back, name=self._name("restore")), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One version."""
        row = self.get_object(request, object_id)
        may_restore = row is not None and self.may_restore(request)
        told = {
            "title": f"Version {row.number if row else ''}",
            "subtitle": None,
            "restore_url": reverse(f"admin:{self._name('restore')}", args=[object_id]) if may_restore else "",
        }
        return super().change_view(request, object_id, form_url, told | (extra_context or {}))

    def restore_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Say what going back would change; then do it."""
        if not self.may_restore(request):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404("There is no such version.")
        lines: Sequence[str] = ()
        faults: Sequence[str] = ()
        try:
            if request.method == "POST":
                newest, changed = self.restore(row.number, by_user(request))
                said = f"{self.what} {self.is_as_it_was(row.number)} again." if changed else "It was so already."
                messages.success(request, f"{said} This is version {newest}.")
                return redirect(reverse(f"admin:{self._name('changelist')}"))
            lines = self.try_restore(row.number)
        except NotThere as error:
            raise Http404(str(error)) from None
        except WrongDocument as error:
            faults = [str(fault) for fault in error.faults]
        context = {
            **self.admin_site.each_context(request),
            "title": f"Restore version {row.number}",
            "number": row.number,
            "what": self.what,
            "is_as_it_was": self.is_as_it_was(row.number),
            "hint": self.hint,
            "lines": lines,
            "faults": faults,
            "opts": self.opts,
            "list_url": reverse(f"admin:{self._name('changelist')}"),
            "back_url": reverse(f"admin:{self._name('change')}", args=[object_id]),
        }
        return TemplateResponse(request, "admin/restore_version.html", context)

    def is_as_it_was(self, number: int) -> str:
        """The rest of the sentence that `what` begins."""
        return f"is as it was in version {number}"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """They come about by changes."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What was, was."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Old ones go when there are too many."""
        return False

    def _name(self, page: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"
