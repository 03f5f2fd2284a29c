"""/api/admin/v1/registry, /providers, /models: which providers and models there are, and their history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar

from django.http import HttpRequest, HttpResponseBase
from ninja import Query, Router

from orchestrator.api.managing import threaded
from orchestrator.api.replies import json_response
from orchestrator.api.versioned import IfMatch, Number, Reason, answer, by, told, version_of
from orchestrator.core.changing import By
from orchestrator.core.documents import WrongDocument
from orchestrator.core.errors import NotThere
from orchestrator.core.permissions import Permission
from orchestrator.registry import changes, reading
from orchestrator.registry.changes import Change
from orchestrator.registry.document import Document, ModelPart, ProviderPart, faults_of
from orchestrator.registry.models import RegistryVersion
from orchestrator.registry.partly import Draft
from orchestrator.registry.stored import Stored, read_tables, shown
from orchestrator.wiring import parts

P = ParamSpec("P")
T = TypeVar("T")

router = Router(tags=["Management"])
MOST_SHOWN = 255  # characters of a name that is none


@router.get("/registry", summary="All providers and models")
async def whole(request: HttpRequest) -> HttpResponseBase:
    """The registry as one document, which can be sent back as it is. Of keys it tells the end."""
    version, stored = await _asked(_snapshot)
    return answer({"version": version, **shown(stored)}, version)


@router.put("/registry", summary="Replace all providers and models")
async def replace(
    request: HttpRequest, document: Document, if_match: IfMatch = None, reason: Reason = ""
) -> HttpResponseBase:
    """Make the registry be as the document says, all of it or nothing: providers and models it leaves out are removed.

    What the environment sets up stays, and so do keys that are left out.
    """
    expected = version_of(if_match)
    return _changed(await _asked(changes.apply, document, _by(request, reason), expected=expected))


@router.post("/registry/check", summary="What replacing them would do")
async def check(request: HttpRequest, document: Draft) -> HttpResponseBase:
    """Tell all that is wrong with a document, or what it would change and what is hardly meant. Nothing is changed."""
    try:
        change = await _asked(changes.trial, document)
    except WrongDocument as error:
        return json_response({"faults": told(error.faults), "warnings": [], "changes": []})
    return json_response({"faults": [], "warnings": told(change.warnings), "changes": change.lines})


@router.get("/registry/versions", summary="The history")
async def versions(
    request: HttpRequest,
    before: Annotated[int | None, Query(None, ge=1, le=2**31, description="Only older ones.")] = None,
    limit: Annotated[int, Query(50, ge=1, le=changes.MOST_VERSIONS)] = 50,
) -> HttpResponseBase:
    """Every change, newest first: who made it, when, why, and what it did."""
    rows = RegistryVersion.objects.defer("document")
    rows = rows.filter(number__lt=before) if before is not None else rows
    found = await _asked(lambda: list(rows[:limit]))
    return json_response({"versions": [_version(row) for row in found]})


@router.post("/registry/versions/{number}/restore", summary="Go back to a version")
async def restore(
    request: HttpRequest, number: Number, if_match: IfMatch = None, reason: Reason = ""
) -> HttpResponseBase:
    """Make the registry be as it was then, in a new version. Keys come back for the address they were given for."""
    expected = version_of(if_match)
    return _changed(await _asked(changes.restore, number, _by(request, reason), expected=expected))


@router.get("/registry/versions/{number}", summary="One version")
async def version(request: HttpRequest, number: Number) -> HttpResponseBase:
    """What a change did, and the registry as it was afterwards."""
    row = await _asked(changes.version, number)
    return json_response({**_version(row), "document": shown(row.document, is_now=False)})


@router.get("/providers", summary="Providers")
async def providers(request: HttpRequest) -> HttpResponseBase:
    """Every provider, why those are off that are, and which of their models cost nobody knows what."""
    version, (stored, off) = await _asked(
        reading.of_one_version, lambda _: (read_tables(), {one.name: one.why for one in reading.look().off})
    )
    known = shown(stored)["providers"]
    unpriced = {name: models for name in known if (models := parts().catalogue.unpriced(name))}
    return answer({"version": version, "providers": known, "off": off, "unpriced": unpriced}, version)


@router.get("/providers/{name}", summary="One provider")
async def provider(request: HttpRequest, name: str) -> HttpResponseBase:
    """A provider as the registry has it, which can be sent back as it is."""
    return await _one("providers", name)


@router.put("/providers/{name}", summary="Add or change a provider")
async def put_provider(
    request: HttpRequest, name: str, provider: ProviderPart, if_match: IfMatch = None, reason: Reason = ""
) -> HttpResponseBase:
    """Make a provider be so. A key that is left out stays as it is, unless the address leads elsewhere."""
    expected = version_of(if_match)
    return _changed(await _asked(changes.put_provider, name, provider, _by(request, reason), expected=expected))


@router.delete("/providers/{name}", summary="Remove a provider")
async def delete_provider(
    request: HttpRequest, name: str, if_match: IfMatch = None, reason: Reason = ""
) -> HttpResponseBase:
    """Take a provider out of the registry. Refused while a model is deployed there (409)."""
    expected = version_of(if_match)
    return _changed(await _asked(changes.delete_provider, name, _by(request, reason), expected=expected))


@router.get("/models", summary="Registered models")
async def models(request: HttpRequest) -> HttpResponseBase:
    """Every model that is registered. What providers list besides is in `/api/tags`."""
    version, stored = await _asked(_snapshot)
    return answer({"version": version, "models": stored["models"]}, version)


@router.get("/models/{path:name}", summary="One registered model")
async def model(request: HttpRequest, name: str) -> HttpResponseBase:
    """A model as the registry has it, which can be sent back as it is."""
    return await _one("models", name)


@router.put("/models/{path:name}", summary="Add or change a model")
async def put_model(
    request: HttpRequest, name: str, model: ModelPart, if_match: IfMatch = None, reason: Reason = ""
) -> HttpResponseBase:
    """Make a model be so: its other names, where it runs, what answers in its place."""
    expected = version_of(if_match)
    return _changed(await _asked(changes.put_model, name, model, _by(request, reason), expected=expected))


@router.delete("/models/{path:name}", summary="Remove a model")
async def delete_model(
    request: HttpRequest, name: str, if_match: IfMatch = None, reason: Reason = ""
) -> HttpResponseBase:
    """Take a model out of the registry. Where it runs it stays. Refused while another falls back to it (409)."""
    expected = version_of(if_match)
    return _changed(await _asked(changes.delete_model, name, _by(request, reason), expected=expected))


def wrong_body(errors: list[dict[str, Any]]) -> WrongDocument:
    """What is wrong with a body that ninja could not read."""
    return WrongDocument.of(faults_of([{**error, "loc": error["loc"][2:]} for error in errors]))  # without its name


async def _one(kind: str, name: str) -> HttpResponseBase:
    version, stored = await _asked(_snapshot)
    if name not in stored[kind]:
        raise NotThere(f"There is no {kind.removesuffix('s')} {name[:MOST_SHOWN]!r} in the registry.")
    return answer(shown(stored)[kind][name], version)


def _snapshot() -> tuple[int, Stored]:
    return reading.of_one_version(lambda _: read_tables())


async def _asked(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `function` finds or does in the tables, in a thread that nothing else waits for. Raises Busy."""
    return await threaded(lambda: function(*args, **kwargs))


def _by(request: HttpRequest, reason: str) -> By:
    return by(request, Permission.CHANGE_REGISTRY, reason)


def _changed(change: Change) -> HttpResponseBase:
    value = {"version": change.version, "changes": change.lines, "warnings": told(change.warnings)}
    return answer(value, change.version)


def _version(row: RegistryVersion) -> dict[str, Any]:
    return {
        "number": row.number,
        "at": row.at,
        "by": row.by,
        "reason": row.reason,
        "changes": row.summary.splitlines(),
    }
