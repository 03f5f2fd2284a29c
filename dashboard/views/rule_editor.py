"""The form of one rule: what it asks of a request, and what becomes of it then."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from dashboard import formats
from dashboard.access import page_now
from dashboard.rules.acts import edition, int_of
from dashboard.rules.form import BYS, DAYS, WHO, YES_NO, RuleForm, blank, of_post, of_rule
from dashboard.rules.rows import key_of
from dashboard.running import models_to_name
from dashboard.views.rules import by, while_readable, who_changed
from orchestrator.core.documents import Fault, WrongDocument
from orchestrator.core.errors import Conflict, NotThere, OrchestratorError
from orchestrator.ruling import draft
from orchestrator.ruling.draft import DraftView
from routing.rules.checking import faults_in
from routing.rules.document import Rule
from routing.rules.facts import FACTS
from routing.rules.sentences import marked

PARTS = {"conditions", "arms", "preview"}
GROUPS: Mapping[str, Sequence[str]] = {
    "forbid": ("forbid",),
    "where": ("local_only", "only", "never"),
    "limits": ("most_tokens", "most_cost", "context"),
    "auto": ("aim", "cascade"),
    "cache": ("cache", "cache-read", "cache-write", "cache-ttl_s"),
    "shadow": ("shadow", "shadow-model"),
}
FACT_GROUPS = [
    ("The request", [(name, fact.label) for name, fact in FACTS.items() if not fact.is_analysed]),
    ("Its text, which is looked at", [(name, fact.label) for name, fact in FACTS.items() if fact.is_analysed]),
]
_PLACE = re.compile(r"(?:line (\d+), )?column (\d+)", re.IGNORECASE)
Context = dict[str, Any]


@require_http_methods(["GET", "HEAD", "POST"])
@while_readable
def new(request: HttpRequest) -> HttpResponseBase:
    """A rule that is not there yet."""
    view = draft.read()
    if request.method != "POST":
        return _editor(request, view, blank(), "")
    form = of_post(request.POST)
    rule = _checked(form, view, "")
    if request.POST.get("act") or rule is None:
        return _editor(request, view, form, "", status=200 if request.POST.get("act") else 422)
    try:
        draft.add_rule(rule, by(request), place=int_of(request.POST, "place"), expected=edition(request.POST))
    except OrchestratorError as error:
        return _not_saved(request, form, "", error)
    return _saved(request, rule)


@require_http_methods(["GET", "HEAD", "POST"])
@while_readable
def rule(request: HttpRequest, name: str) -> HttpResponseBase:
    """One of the draft."""
    view = draft.read()
    found = next((one for one in view.document.rules if one.name == name), None)
    if request.method != "POST":
        if found is None:
            raise Http404
        return _editor(request, view, of_rule(found), name)
    form = of_post(request.POST)
    made = _checked(form, view, name)
    if request.POST.get("act") or made is None:
        return _editor(request, view, form, name, status=200 if request.POST.get("act") else 422)
    try:
        draft.put_rule(name, made, by(request), expected=edition(request.POST))
    except OrchestratorError as error:
        return _not_saved(request, form, name, error)
    return _saved(request, made)


@require_POST
@while_readable
def part(request: HttpRequest) -> HttpResponseBase:
    """A part of the form, after a button in it was pressed or something was typed: nothing is saved."""
    wanted = request.GET.get("part", "")
    if wanted not in PARTS:
        raise Http404
    form = of_post(request.POST)
    name = request.GET.get("rule", "")
    made = _checked(form, draft.read(), name)
    context = _choices(form) | {
        "act": request.POST.get("act", ""),
        "name": name,
        "is_preview": wanted == "preview",
        "rule": made,
        "sentence": marked(made) if made else "",
    }
    return page_now(request, f"dashboard/rule.html#{wanted}", context)


def _checked(form: RuleForm, view: DraftView, name: str) -> Rule | None:
    """The rule of the form; None where it cannot be, or not beside the other rules of the draft."""
    made = form.rule()
    if made is None:
        return None
    others = list(view.document.rules)
    at = next((index for index, one in enumerate(others) if one.name == name), len(others)) if name else len(others)
    others[at : at + 1] = [made]
    if any(one.name.casefold() == made.name.casefold() for index, one in enumerate(others) if index != at):
        form.blame(("name",), f"There is a rule {made.name!r} already.")
    for fault in faults_in(view.document.model_copy(update={"rules": others})):
        if fault.place[:2] == ("rules", at):
            form.blame(fault.place[2:], fault.words)
    return None if form.faults else made


def _editor(
    request: HttpRequest, view: DraftView, form: RuleForm, name: str, *, status: int = 200, more: Context | None = None
) -> HttpResponse:
    """The page, with `name` of the rule as the draft has it; empty: it is a new one."""
    is_new = not name and request.method != "POST"
    made = None if is_new else _checked(form, view, name)
    rules, known = view.document.rules, async_to_sync(models_to_name)()
    context = _choices(form) | {
        "name": name,
        "key": key_of(name),
        "place": next((place for place, one in enumerate(rules, 1) if one.name == name), len(rules) + 1),
        "count": len(rules),
        "edition": view.edition if more else request.POST.get("edition", view.edition),
        "touched": view.touched.get(name),
        "rule": made,
        "sentence": marked(made) if made else "",
        "act": request.POST.get("act", ""),
        "is_refused": status == 422,
        "models": sorted(name for name in known or () if not name.endswith("/*")),
    }
    return page_now(request, "dashboard/rule.html", context | (more or {}), status)


def _choices(form: RuleForm) -> Context:
    typed, faults = form.typed, form.faults
    return {
        "fields": {name.replace("-", "_"): value for name, value in typed.items()},
        "opens": {group: any(typed.get(name) or name in faults for name in names) for group, names in GROUPS.items()},
        "pointed": pointed(typed.get("expression", ""), faults.get("expression", "")),
        "here": "rules",
        "form": form,
        "typed": form.typed,
        "facts": FACT_GROUPS,
        "days": DAYS,
        "whos": WHO,
        "bys": BYS,
        "yes_no": YES_NO,
    }


def pointed(expression: str, words: str) -> str:
    """The line of an expression in which something is wrong, and a mark under where; empty where nobody says where."""
    found = _PLACE.search(words)
    if found is None:
        return ""
    rows = expression.strip().splitlines()
    line, column = int(found[1] or 1), int(found[2])
    if line > len(rows):
        return ""
    return f"{rows[line - 1]}\n{' ' * (column - 1)}↑"


def _not_saved(request: HttpRequest, form: RuleForm, name: str, error: OrchestratorError) -> HttpResponse:
    """The form again, with everything that was typed. The next press saves it into the draft as it is now."""
    view = draft.read()
    faults = error.faults if isinstance(error, WrongDocument) else [Fault((), str(error))]
    if isinstance(error, WrongDocument):
        for fault in faults:
            form.blame(_within_rule(fault.place), fault.words)
        return _editor(request, view, form, name, status=error.status, more={"is_refused": True})
    theirs = next((one for one in view.document.rules if one.name == name), None)
    more: Context = {"fault": who_changed(error) if isinstance(error, Conflict) else formats.sentence(str(error))}
    more |= {"is_conflict": isinstance(error, Conflict), "theirs": marked(theirs) if theirs else ""}
    if isinstance(error, NotThere):
        name = ""  # it is gone: what was typed makes a new one
    return _editor(request, view, form, name, status=error.status, more=more)


def _within_rule(place: tuple[str | int, ...]) -> tuple[str | int, ...]:
    return place[2:] if place[:1] == ("rules",) else place


def _saved(request: HttpRequest, made: Rule) -> HttpResponseBase:
    messages.success(request, f"{made.name} is in the draft. Nothing changes before you publish.")
    return redirect(f"{reverse('dashboard:rules')}#rule-{key_of(made.name)}")
