"""/api/admin/v1/routing: the rules that say what becomes of a request. Each needs `see rules` or `change rules`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponseBase
from ninja import Path, Query, Router
from pydantic import Field, PrivateAttr, ValidationError, model_validator

from orchestrator.api.managing import acted, threaded
from orchestrator.api.managing import told as answered
from orchestrator.api.versioned import IfMatch, Number, Reason, answer, by, told, version_of
from orchestrator.core.changing import By
from orchestrator.core.documents import Fault, WrongDocument
from orchestrator.core.permissions import Permission
from orchestrator.identity.acting import Actor
from orchestrator.ruling import draft, versions
from orchestrator.ruling.documents import must_fit
from orchestrator.ruling.doubts import doubts_in, models_there
from orchestrator.ruling.draft import DraftView
from orchestrator.ruling.dry_run import MOST_REQUESTS, DryRun, dry_run
from orchestrator.ruling.versions import Change
from orchestrator.wiring import parts
from routing.models import RuleVersion
from routing.rules.checking import faults_of, faults_of_document, faults_of_rule
from routing.rules.document import LONGEST_NAME, MOST_RULES, AutoPart, Document, Part, Rule, plain

router = Router(tags=["Management"])
Name = Annotated[str, Path(max_length=LONGEST_NAME)]
Place = Annotated[int, Field(ge=1, le=MOST_RULES)]


class InWords(Part):
    """A body whose faults are told as a document's are."""

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, value: Any, read: Callable[[Any], Any]) -> Any:
        try:
            return read(value)
        except ValidationError as error:
            raise WrongDocument.of(cls._faults_of(error, value)) from None

    @classmethod
    def _faults_of(cls, error: ValidationError, value: Any) -> list[Fault]:
        if issubclass(cls, Document):
            return faults_of_document(error, value)
        return faults_of_rule(error, value) if issubclass(cls, Rule) else faults_of(error, value)


class RulesDocument(InWords, Document):
    """All rules, in the order they are asked, and how the router chooses."""


class RuleBody(InWords, Rule):
    """When a request is like this, that becomes of it."""


class RuleChange(InWords, Rule):
    """What of a rule is to be another way; the rest stays as it is."""

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)] = ""


class RuleMove(InWords):
    """Where a rule is to be asked."""

    place: Place = Field(description="From 1; beyond the last it is the last.")


class AutoBody(InWords, AutoPart):
    """How the router chooses."""


class DryRunAsked(InWords):
    """What is to be tried, on how many requests."""

    document: RulesDocument | None = Field(None, description="Null: the draft.")
    last: Annotated[int, Field(ge=1, le=MOST_REQUESTS)] = 200


class CheckedRules(Document):
    """Rules that may be wrong, to be checked."""

    _faults: Sequence[Fault] = PrivateAttr(())

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, value: Any, read: Callable[[Any], Any]) -> Any:
        try:
            return read(value)
        except ValidationError as error:
            wrong = cls.model_construct()
            wrong._faults = faults_of_document(error, value)
            return wrong


@router.get("/rules", summary="The rules, and their draft")
async def rules(request: HttpRequest) -> HttpResponseBase:
    """What requests go by, the draft that becomes the next version, and what is different in it."""

    def read() -> tuple[dict[str, Any], int]:
        number, live = versions.live()
        view = draft.read()
        faults: Sequence[Fault] = ()
        try:
            lines = versions.trial().lines
        except WrongDocument as error:
            lines, faults = (), error.faults
        value = {
            "live": {"version": number, **_document(live)},
            **_drafted(view),
            "changes": lines,
            "faults": told(faults),
        }
        return value, view.edition

    return answer(*await threaded(read))


@router.put("/draft", summary="Replace the draft")
async def replace(
    request: HttpRequest, document: RulesDocument, if_match: IfMatch = None, reason: Reason = ""
) -> HttpResponseBase:
    """Make the draft be as the document says. Requests go by it once it is published."""
    return await _changed(request, reason, lambda by: draft.save(document, by, expected=version_of(if_match)))


@router.delete("/draft", summary="Discard the draft")
async def discard(request: HttpRequest, if_match: IfMatch = None, reason: Reason = "") -> HttpResponseBase:
    """Make the draft be as what requests go by."""
    return await _changed(request, reason, lambda by: versions.discard(by, expected=version_of(if_match)))


@router.put("/draft/auto", summary="Change how the router chooses")
async def put_auto(
    request: HttpRequest, auto: AutoBody, if_match: IfMatch = None, reason: Reason = ""
) -> HttpResponseBase:
    """Say in the draft how the router chooses where no rule says otherwise."""
    return await _changed(request, reason, lambda by: draft.put_auto(auto, by, expected=version_of(if_match)))


@router.post("/draft/rules", summary="Add a rule")
async def add_rule(
    request: HttpRequest,
    rule: RuleBody,
    place: Annotated[int | None, Query(None, ge=1, le=MOST_RULES, description="From 1; the last without it.")] = None,
    if_match: IfMatch = None,
    reason: Reason = "",
) -> HttpResponseBase:
    """Add a rule to the draft."""
    added = Rule(**dict(rule))
    return await _changed(
        request,
        reason,
        lambda by: draft.add_rule(added, by, place=place, expected=version_of(if_match)),
        about=rule.name,
    )


@router.post("/draft/rules/{path:name}/move", summary="Move a rule")
async def move_rule(
    request: HttpRequest, name: Name, move: RuleMove, if_match: IfMatch = None, reason: Reason = ""
) -> HttpResponseBase:
    """Have a rule of the draft asked at another place."""
    return await _changed(
        request, reason, lambda by: draft.move_rule(name, move.place, by, expected=version_of(if_match))
    )


@router.patch("/draft/rules/{path:name}", summary="Change a rule")
async def change_rule(
    request: HttpRequest, name: Name, rule: RuleChange, if_match: IfMatch = None, reason: Reason = ""
) -> HttpResponseBase:
    """Make a rule of the draft be otherwise in what is given, its name too."""
    given = {field: getattr(rule, field) for field in rule.model_fields_set}
    return await _changed(
        request,
        reason,
        lambda by: draft.change_rule(name, given, by, expected=version_of(if_match)),
        about=given.get("name", name),
    )


@router.delete("/draft/rules/{path:name}", summary="Delete a rule")
async def delete_rule(
    request: HttpRequest, name: Name, if_match: IfMatch = None, reason: Reason = ""
) -> HttpResponseBase:
    """Take a rule out of the draft."""
    return await _changed(request, reason, lambda by: draft.delete_rule(name, by, expected=version_of(if_match)))


@router.post("/check", summary="What publishing rules would do")
async def check(request: HttpRequest, document: CheckedRules) -> HttpResponseBase:
    """Tell all that is wrong with a document, or what it would change and what is hardly meant. Nothing is changed."""
    models = await models_there(parts().catalogue)

    def tried() -> Change:
        if faults := getattr(document, "_faults", ()):
            raise WrongDocument.of(faults)
        return versions.try_document(document, models=models)

    try:
        change = await threaded(tried)
    except WrongDocument as error:
        return answered({"faults": told(error.faults), "warnings": [], "changes": []})
    return answered({"faults": [], "warnings": told(change.warnings), "changes": change.lines})


@router.post("/dry-run", summary="What rules would have done")
async def try_on_past_requests(request: HttpRequest, asked: DryRunAsked) -> HttpResponseBase:
    """Ask rules about the requests that came last: which they catch, who would have been asked, for how much."""

    models = await models_there(parts().catalogue)

    def tried(actor: Actor) -> DryRun:
        document = draft.read().document if asked.document is None else asked.document
        must_fit(document)
        return dry_run(document, asked.last, actor.must(Permission.SEE_USAGE), models=models)

    found = await acted(request, tried)
    return answered({**asdict(found), "uncaught": found.uncaught, "saved_micros": found.saved_micros})


@router.post("/publish", summary="Publish the draft")
async def publish(request: HttpRequest, if_match: IfMatch = None, reason: Reason = "") -> HttpResponseBase:
    """Make the draft be what requests go by, in every process within a second. An unchanged one is no new version."""
    models = await models_there(parts().catalogue)
    return await _published(
        request, reason, lambda by: versions.publish(by, expected=version_of(if_match), models=models)
    )


@router.get("/versions", summary="The history of the rules")
async def list_versions(
    request: HttpRequest,
    before: Annotated[int | None, Query(None, ge=1, le=2**31, description="Only older ones.")] = None,
    limit: Annotated[int, Query(50, ge=1, le=versions.MOST_VERSIONS)] = 50,
) -> HttpResponseBase:
    """Every version, newest first: who published it, when, why, and what it changed."""
    found = await threaded(lambda: list(versions.versions(before)[:limit]))
    return answered({"versions": [_version(row) for row in found]})


@router.get("/versions/{number}", summary="One version of the rules")
async def version(request: HttpRequest, number: Number) -> HttpResponseBase:
    """What it changed, and all rules as they were then."""
    row = await threaded(lambda: versions.version(number))
    return answered({**_version(row), "document": {"rules": [], "auto": {}, **row.document}})


@router.post("/versions/{number}/restore", summary="Go back to a version of the rules")
async def restore(
    request: HttpRequest, number: Number, if_match: IfMatch = None, reason: Reason = ""
) -> HttpResponseBase:
    """Make the rules be as they were then, in a new version; the draft as well. What of it is lost is told."""
    return await _published(request, reason, lambda by: versions.restore(number, by, expected=version_of(if_match)))


async def _changed(
    request: HttpRequest, reason: str, change: Callable[[By], DraftView], about: str | None = None
) -> HttpResponseBase:
    """The draft as it is then, with what of it is hardly meant: of one rule, where it is `about` that."""
    models = await models_there(parts().catalogue)
    view = await threaded(lambda: change(by(request, Permission.CHANGE_RULES, reason)))
    warnings = doubts_in(view.document, models)
    if about is not None:
        at = next((at for at, rule in enumerate(view.document.rules) if rule.name == about), None)
        warnings = [one for one in warnings if one.place[:2] == ("rules", at)]
    return answer({**_drafted(view), "warnings": told(warnings)}, view.edition)


async def _published(request: HttpRequest, reason: str, change: Callable[[By], Change]) -> HttpResponseBase:
    done = await threaded(lambda: change(by(request, Permission.CHANGE_RULES, reason)))
    return answered(
        {"version": done.version, "changes": done.lines, "warnings": told(done.warnings), "lost": done.lost}
    )


def _document(document: Document) -> dict[str, Any]:
    return {"rules": plain(document).get("rules", []), "auto": document.auto.model_dump(mode="json")}


def _drafted(view: DraftView) -> dict[str, Any]:
    touched = {name: {"by": one.by, "at": one.at} for name, one in view.touched.items()}
    return {"draft": {"version": view.base, **_document(view.document)}, "edition": view.edition, "touched": touched}


def _version(row: RuleVersion) -> dict[str, Any]:
    return {
        "number": row.number,
        "at": row.at,
        "by": row.by,
        "reason": row.reason,
        "changes": row.changes.splitlines(),
    }
