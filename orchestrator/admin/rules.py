"""Rules: the draft as sentences, to be published; and its versions. They are written on a page of the dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from orchestrator.admin.seen import Seen
from orchestrator.core.changing import By
from orchestrator.core.documents import WrongDocument
from orchestrator.core.errors import Conflict
from orchestrator.core.numbers import whole
from orchestrator.core.permissions import EVERYBODY, Permission
from orchestrator.identity.people import reach
from orchestrator.registry.history import Versions, by_user
from orchestrator.ruling import draft, versions
from orchestrator.ruling.doubts import models_here
from routing.models import RuleDraft, RuleVersion
from routing.rules.checking import read_document
from routing.rules.sentences import sentence


def _may(request: HttpRequest, permission: Permission) -> bool:
    return reach(request.user, permission) == EVERYBODY


@admin.register(RuleDraft)
class RuleDraftAdmin(Seen):
    """The draft, to be read and to be published."""

    sees = Permission.SEE_RULES
    tenants = ()
    explanation = "The draft of the rules, in the order they are asked. Requests go by it once it is published."
    change_list_template = "admin/rule_draft.html"
    list_display = ("place", "name", "what", "state", "changed_by", "changed_at")
    list_display_links = None
    search_fields = ("name", "note")
    sortable_by = ()
    actions = None

    @admin.display(description="what it says")
    def what(self, row: RuleDraft) -> str:
        """In a sentence, where it can be read."""
        rule = {"name": row.name, "when": row.when, "expression": row.expression, "then": row.then}
        try:
            return sentence(read_document({"rules": [rule]}).rules[0])
        except WrongDocument as error:
            return f"It cannot be read: {error}"

    @admin.display(description="state")
    def state(self, row: RuleDraft) -> str:
        """In words: Django's cross would look like a fault."""
        return "on" if row.is_on else "off"

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The list, with the way to publish it."""
        may = _may(request, Permission.CHANGE_RULES)
        url = reverse("admin:routing_ruledraft_publish") if may else ""
        title = "Draft of the rules"
        return super().changelist_view(request, {"title": title, "publish_url": url} | (extra_context or {}))

    def get_urls(self) -> list[Any]:
        """One page more: publishing."""
        publishing = self.admin_site.admin_view(self.publish_view)
        return [path("publish/", publishing, name="routing_ruledraft_publish"), *super().get_urls()]

    def publish_view(self, request: HttpRequest) -> HttpResponse:
        """Say what publishing would change; then do it."""
        if not _may(request, Permission.CHANGE_RULES):
            raise PermissionDenied
        back = reverse("admin:routing_ruledraft_changelist")
        told: dict[str, Any] = {}
        try:
            if request.method == "POST":
                return self._published(request, back)
            models = models_here()
            view = draft.read()
            told["edition"] = view.edition
            change = versions.try_document(view.document, models=models)
            told |= {"lines": change.lines, "warnings": change.warnings, "number": change.version}
        except WrongDocument as error:
            told.setdefault("edition", draft.read_edition())  # it may be read where the rest cannot
            told["faults"] = [str(fault) for fault in error.faults]
        except Conflict as error:
            messages.error(request, str(error))
            return redirect(request.get_full_path())
        context = {**self.admin_site.each_context(request), "title": "Publish the draft", "opts": self.opts}
        return TemplateResponse(request, "admin/publish_rules.html", context | {"back_url": back} | told)

    def _published(self, request: HttpRequest, back: str) -> HttpResponse:
        edition = request.POST.get("edition", "")
        expected = whole(edition)
        change = versions.publish(by_user(request, request.POST.get("reason", "")), expected=expected)
        said = f"Version {change.version} holds." if change.lines else "There was nothing to publish."
        messages.success(request, said)
        return redirect(back)


@admin.register(RuleVersion)
class RuleVersionAdmin(Versions):
    """Every version of the rules, to be read and to be gone back to."""

    what = "The rules"
    changed = "changes"
    hint = "The draft becomes the same; what it has that was not published is gone then."
    search_fields = ("changes", "by", "reason")

    def is_as_it_was(self, number: int) -> str:
        """There are several of them."""
        return f"are as they were in version {number}"

    def restore(self, number: int, by: By) -> tuple[int, Sequence[str]]:
        """Go back."""
        change = versions.restore(number, by)
        return change.version, change.lines

    def try_restore(self, number: int) -> Sequence[str]:
        """What that would change, and what it would take from the draft."""
        change = versions.try_restore(number)
        return (*change.lines, *(f"gone from the draft: {line}" for line in change.lost))

    def may_restore(self, request: HttpRequest) -> bool:
        """Whoever may change rules."""
        return _may(request, Permission.CHANGE_RULES)
