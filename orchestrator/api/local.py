"""What is here: /api/tags, /api/ps, /api/show, /api/version."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from ninja import Router

from orchestrator.api.calls import caller_of
from orchestrator.api.replies import json_response
from orchestrator.api.schemas import ShowBody
from orchestrator.core.errors import BadRequest, ModelNotFound
from orchestrator.core.types import Model
from orchestrator.modelhost.details import ModelDetails
from orchestrator.modelhost.names import Name, is_name
from orchestrator.routes import find, how_to_reach, may_ask
from orchestrator.wiring import parts
from routing.router import AUTO

router = Router(tags=["Ollama"])
OLLAMA_VERSION = "0.33.0"  # the release whose wire contract is served; clients compare it
NEVER_LEFT_OUT = {"model_info", "tensors"}  # of what is shown, when there is nothing in them
FOREVER = timedelta(days=292 * 365)  # what Ollama shows for a model that is never unloaded


@router.api_operation(["GET", "HEAD"], "/version", summary="Which Ollama this behaves like")
async def version(request: HttpRequest) -> HttpResponseBase:
    """Ollama's version, for clients that ask before they begin."""
    return json_response({"version": OLLAMA_VERSION})


@router.api_operation(["GET", "HEAD"], "/tags", summary="The models that can be asked")
async def tags(request: HttpRequest) -> HttpResponseBase:
    """List every model that may be asked, newest first, and `auto`, which leaves the choice to the router."""
    caller = caller_of(request)
    models = sorted(may_ask(await parts().catalogue.models(), caller), key=lambda model: -model.modified_at)
    listing = [_listed(model) for model in models]
    if models and caller.may_ask(AUTO.name):
        listing.insert(0, _listed(AUTO))
    return json_response({"models": listing})


def _listed(model: Model) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": model.name, "model": model.name}
    if model.remote_name:
        entry |= {"remote_model": model.remote_name, "remote_host": model.engine}
    return entry | {
        "modified_at": local_time(model.modified_at),
        "size": model.size,
        "digest": model.digest,
        "details": details(model),
        "capabilities": sorted(model.capabilities),
    }


def details(model: Model) -> dict[str, Any]:
    """The `details` object of several answers."""
    value: dict[str, Any] = {
        "parent_model": "",
        "format": model.format,
        "family": model.family,
        "families": list(model.families) or ([model.family] if model.family else None),
        "parameter_size": model.parameter_size,
        "quantization_level": model.quantization,
    }
    if model.context_length:
        value["context_length"] = model.context_length
    if model.embedding_length:
        value["embedding_length"] = model.embedding_length
    return value


def local_time(seconds: float) -> str:
    """A moment in the server's own zone, as Ollama shows file times: without zeros at the end of its fraction."""
    moment = datetime.fromtimestamp(seconds, UTC).astimezone()
    fraction = f".{moment.microsecond:06}".rstrip("0").rstrip(".")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}{moment.isoformat()[-6:].replace('+00:00', 'Z')}"


@router.get("/ps", summary="The models that are loaded")
async def ps(request: HttpRequest) -> HttpResponseBase:
    """List loaded models, the one that stays longest first."""
    caller = caller_of(request)
    seen = [one for one in await parts().local.ps() if caller.may_ask(one.model.name)]
    loaded = sorted(seen, key=lambda one: -(one.expires_at or float("inf")))
    never = (datetime.now(UTC) + FOREVER).timestamp()
    return json_response(
        {
            "models": [
                {
                    "name": one.model.name,
                    "model": one.model.name,
                    "size": one.size,
                    "digest": one.model.digest,
                    "details": details(one.model),
                    "expires_at": local_time(one.expires_at or never),
                    "size_vram": 0,
                    "context_length": one.context_length,
                }
                for one in loaded
            ]
        }
    )


@router.post("/show", summary="One model in detail")
async def show(request: HttpRequest, body: ShowBody) -> HttpResponseBase:
    """Describe a model: template, parameters, metadata, capabilities."""
    name = body.model or body.name
    if not name:
        raise BadRequest("model is required")
    model = await find(name, caller_of(request), parts(), "remote model details are unavailable")
    if model is None:
        if not is_name(name):
            raise BadRequest("invalid model name")
        raise ModelNotFound(f"model '{Name.parse(name)}' not found{how_to_reach(name, parts())}")
    shown = await parts().local.show(model, verbose=bool(body.verbose)) if model.engine == parts().local.name else None
    told = _local(shown) if shown else _remote(model)
    if request.headers.get("User-Agent", "").startswith("GitHubCopilotChat/"):
        told["model_info"]["general.basename"] = name
    always = {
        "details": details(model),
        "capabilities": sorted(model.capabilities),
        "modified_at": local_time(model.modified_at),
    }
    return json_response({key: value for key, value in told.items() if value or key in NEVER_LEFT_OUT} | always)


def _local(shown: ModelDetails) -> dict[str, Any]:
    return {
        "license": shown.license,
        "modelfile": shown.modelfile,
        "parameters": shown.parameters,
        "template": shown.template,
        "system": shown.system,
        "messages": shown.messages,
        "model_info": dict(shown.model_info),
        "tensors": shown.tensors,
    }


def _remote(model: Model) -> dict[str, Any]:
    """What is known of a model that runs elsewhere: little."""
    lengths = {"context_length": model.context_length, "embedding_length": model.embedding_length}
    return {
        "remote_model": model.remote_name,
        "remote_host": model.remote_name and model.engine,
        "model_info": {
            "general.architecture": model.family,
            "general.basename": model.remote_name or model.family,
            **{f"{model.family}.{name}": length for name, length in lengths.items() if length},
        },
    }
