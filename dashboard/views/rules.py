"""The rules: what is live, what the draft makes of it, and what may be done with either."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dashboard import formats
from dashboard.access import page_now, roles
from dashboard.rules import acts as rule_acts
from dashboard.rules.acts import edition
from dashboard.rules.board import EXAMPLES, Rules, auto_words, named_faults, newest_touch, read_rules
from dashboard.rules.form import percents
from dashboard.rules.rows import count_changes, key_of, rows_of
from dashboard.rules.verdict import what_changes
from dashboard.running import models_to_name
from orchestrator.core.changing import By
from orchestrator.core.documents import WrongDocument
from orchestrator.core.errors import Conflict, NotThere, OrchestratorError
from orchestrator.core.permissions import EVERYBODY, Permission, reach_of
from orchestrator.models import AuditEvent
from orchestrator.ruling import draft, versions
from routing.models import RuleVersion
from routing.rules.checking import read_document

log = logging.getLogger(__name__)
MOST_REASON = 500
Context = dict[str, Any]
View = Callable[..., HttpResponseBase]


@require_safe
def rules(request: HttpRequest) -> HttpResponse:
    """The draft as sentences, beside what is live."""
    return _board(request, tries=request.GET.get("try") == "1")


@require_POST
def act(request: HttpRequest) -> HttpResponseBase:
    """Change the draft by one press of a button."""
    form = request.POST
    try:
        said = rule_acts.act(form, by(request))
    except Conflict as error:
        said = rule_acts.Said(
            f"Nothing was changed. {who_changed(error)} The draft below is as it is now.", is_warning=True
        )
    except OrchestratorError as error:
        said = rule_acts.Said(f"Nothing was changed. {formats.sentence(str(error))}", is_warning=True)
    about = form.get("rule", "")
    if request.headers.get("HX-Request"):
        return _board(request, tries=form.get("try") == "1", said=said, about=about)
    (messages.warning if said.is_warning else messages.success)(request, said.words)
    where = reverse("dashboard:rules") + ("?try=1" if form.get("try") == "1" else "")
    return redirect(f"{where}#rule-{key_of(about)}" if about else where)


def while_readable(view: View) -> View:
    """Sends to the page that says what stands in the way where the draft cannot be read."""

    @wraps(view)
    def asked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except WrongDocument:
            return redirect("dashboard:rules")

    return asked


@require_http_methods(["GET", "HEAD", "POST"])
@while_readable
def publish(request: HttpRequest) -> HttpResponseBase:
    """GET shows what would change; POST has it hold from now on."""
    if request.method == "POST":
        try:
            change = versions.publish(by(request, _reason(request.POST)), expected=edition(request.POST))
        except OrchestratorError as error:
            return _publish_page(request, error)
        if change.lines:
            said = f"Version {change.version} is live: every process goes by it within a second."
            messages.success(request, _with_undo(said, change.version))
        return redirect("dashboard:rules")
    return _publish_page(request)


@require_safe
@while_readable
def version(request: HttpRequest, number: int) -> HttpResponseBase:
    """One version: what it says, and what would change if it came back."""
    return _version_page(request, number)


@require_POST
def restore(request: HttpRequest, number: int) -> HttpResponseBase:
    """Have an older version hold again, as a new one."""
    try:
        change = versions.restore(number, by(request, _reason(request.POST)), expected=edition(request.POST))
    except NotThere:
        raise Http404 from None
    except OrchestratorError as error:
        return _version_page(request, number, error)
    words = f"The rules are those of version {number} again, as version {change.version}."
    if change.lines:
        messages.success(request, _with_undo(words, change.version))
    else:
        messages.success(request, f"Version {number} is what was live already.")
    return redirect("dashboard:rules")


def by(request: HttpRequest, reason: str = "") -> By:
    """Who is signed in, as the one who changes the rules."""
    name = request.user.get_username()
    return By(name, reason, f"user:{name}")


def who_changed(error: Conflict) -> str:
    """Who changed the draft meanwhile, as the audit has it: a rule that is gone has nobody's name."""
    changes = AuditEvent.objects.of(EVERYBODY).filter(action__startswith="rules.").order_by("-id")
    actor = changes.values_list("actor", flat=True).first()
    if actor is None:
        return formats.sentence(str(error))
    return f"{actor.removeprefix('user:')} changed the draft meanwhile."


def _board(request: HttpRequest, *, tries: bool, said: rule_acts.Said | None = None, about: str = "") -> HttpResponse:
    acted = request.POST.get("act", "")
    context: Context = {
        "here": "rules",
        "said": said,
        "tries": tries,
        "focus": key_of(about) if acted in {"place", "keep", "example"} else "",
        "opened": key_of(about) if acted in {"up", "down"} else "",
    }
    try:
        models = async_to_sync(models_to_name)() if tries else None
        found = read_rules(reach_of(roles(request), Permission.SEE_USAGE), tries=tries, models=models)
    except (DatabaseError, OrchestratorError) as error:
        log.warning("a page could not read the rules: %s", error)
        return page_now(
            request, _template(request), context | {"fault": str(error), "is_wrong": isinstance(error, WrongDocument)}
        )
    return page_now(request, _template(request), context | _shown(found))


def _shown(found: Rules) -> Context:
    auto = found.draft.document.auto
    kind = "quality" if auto.aim.quality is not None else "share"
    return {
        "found": found,
        "verdict": found.verdict,
        "count": len(found.draft.document.rules),
        "examples": EXAMPLES,
        "auto": auto,
        "aim": kind,
        "level": round(100 * (getattr(auto.aim, kind) or 0)),
        "explore": percents(auto.explore),
        "auto_words": auto_words(auto),
        "live_auto_words": auto_words(found.live.auto),
        "next": found.number + 1,
        "has_cost": found.trial is not None and found.trial.unpriced < found.trial.requests,
        "records": reverse("dashboard:requests"),
        "touch": newest_touch(found.draft),
    }


def _template(request: HttpRequest) -> str:
    return "dashboard/rules.html" + ("#board" if request.headers.get("HX-Request") else "")


def _publish_page(request: HttpRequest, error: OrchestratorError | None = None) -> HttpResponse:
    found = read_rules()
    context: Context = {
        "here": "rules",
        "reason": request.POST.get("reason", ""),
        "rows": [row for row in found.rows if row.change or not found.number],
        "warnings": _doubts(found),
        "fault": who_changed(error) if isinstance(error, Conflict) else str(error or ""),
        "is_conflict": isinstance(error, Conflict),
    }
    return page_now(request, "dashboard/rules_publish.html", context | _shown(found), error.status if error else 200)


def _doubts(found: Rules) -> list[tuple[str, str]]:
    """What of the draft can be so, and is hardly meant."""
    try:
        doubts = versions.try_document(found.draft.document, models=async_to_sync(models_to_name)()).warnings
    except WrongDocument:
        return []  # what is wrong is told
    return named_faults(doubts, found.draft.document)


def _version_page(request: HttpRequest, number: int, error: OrchestratorError | None = None) -> HttpResponse:
    try:
        row = versions.version(number)
        document = read_document(row.document)
    except NotThere:
        raise Http404 from None
    live, document_live = versions.live()
    rows = rows_of(document, document_live, {})
    told = what_changes(count_changes(rows), changes_auto=document.auto != document_live.auto)
    view = draft.read()
    context: Context = {
        "here": "rules",
        "row": row,
        "live": live,
        "rows": rows,
        "changes": [one for one in rows if one.change],
        "edition": view.edition,
        "auto_words": auto_words(document.auto),
        "live_auto_words": auto_words(document_live.auto),
        "whole": rows_of(document, document, {}),
        "lines": row.changes.splitlines(),
        "is_same": not any(one.change for one in rows) and document.auto == document_live.auto,
        "auto_differs": document.auto != document_live.auto,
        "headline": f"Going back to version {number} {told}.",
        "next": live + 1,
        "has_draft": view.document.rules != document_live.rules or view.document.auto != document_live.auto,
        "reason": request.POST.get("reason", ""),
        "fault": str(error or ""),
    }
    return page_now(request, "dashboard/rules_version.html", context, error.status if error else 200)


def _with_undo(words: str, number: int) -> str:
    """What is true now, and the way back: the page of the version before, which shows what would change again."""
    if not RuleVersion.objects.filter(number=number - 1).exists():
        return words
    before = reverse("dashboard:rules-version", args=[number - 1])
    return format_html('{} <a class="undo" id="undo" href="{}">Undo</a>', words, before)


def _reason(form: QueryDict) -> str:
    return form.get("reason", "").strip()[:MOST_REASON]
