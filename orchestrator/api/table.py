"""The API object: which family of endpoints is where, and how errors look."""

from __future__ import annotations

import logging
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError, ValidationErrorContext
from ninja.openapi.schema import OpenAPISchema
from ninja.parser import Parser
from ninja.renderers import BaseRenderer

from orchestrator import __version__
from orchestrator.api import (
    absent,
    account,
    anthropic,
    chat,
    completions,
    embed,
    feedback,
    local,
    manage_budgets,
    manage_cache,
    manage_costs,
    manage_decisions,
    manage_invoices,
    manage_keys,
    manage_limits,
    manage_outcomes,
    manage_people,
    manage_registry,
    manage_rules,
    manage_tenants,
    metrics,
    openai,
    responses,
    status,
)
from orchestrator.api.body import read_json
from orchestrator.api.calls import request_id
from orchestrator.api.description import Page, description
from orchestrator.api.openai import error_value
from orchestrator.api.policy import dialect_of
from orchestrator.api.replies import JSON_UTF8, to_json
from orchestrator.api.wrong_types import EMPTY_V1, go_words
from orchestrator.core.documents import MOST_BYTES, MOST_FAULTS, MOST_WORDS, WrongDocument
from orchestrator.core.errors import BadRequest, BudgetSpent, OrchestratorError, TooMany, Unauthorized
from orchestrator.core.text import escaped
from orchestrator.core.types import ChatRequest
from orchestrator.wiring import parts

log = logging.getLogger(__name__)

WAITED_S = 60.0  # what a client may wait for by itself
RECORDED = {
    "/api/chat",
    "/api/generate",
    "/api/embed",
    "/api/embeddings",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/messages",
}


class AnyJSON(Parser):
    """Reads every body as JSON, whatever its Content-Type says."""

    def parse_body(self, request: HttpRequest) -> Any:
        """The body's value; large bodies were read off the event loop already."""
        known = getattr(request, "json", None)
        if known is not None:
            return known
        if request.path.startswith("/v1/") and not request.body.strip():
            raise BadRequest(EMPTY_V1)
        return read_json(request.body)


class JSON(BaseRenderer):
    """For the few answers that ninja renders itself."""

    media_type = JSON_UTF8

    def render(self, request: HttpRequest, data: Any, *, response_status: int) -> bytes:
        """Compact JSON."""
        return orjson.dumps(data)


class API(NinjaAPI):
    """django-ninja, with type errors in Go's words."""

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        """What it says of itself; it is always at the root."""
        return description(self)

    def validation_error_from_error_contexts(
        self, error_contexts: list[ValidationErrorContext[Any]]
    ) -> ValidationError:
        """Keep what was given, which ninja drops: the words need its kind."""
        errors = []
        for context in error_contexts:
            source = context.model.__ninja_param_source__
            for error in context.pydantic_validation_error.errors(include_url=False):
                place = context.model.__ninja_flatten_map_reverse__.get(error["loc"], error["loc"])
                errors.append({**error, "loc": (source, *place)})
        return ValidationError(errors)


api = API(
    title="AI orchestrator",
    version=__version__,
    description="Ollama's API in front of every model, with OpenAI's and Anthropic's beside it.",
    parser=AnyJSON(),
    renderer=JSON(),
    docs=Page(),
    docs_url="/api/docs",
    openapi_url="/api/openapi.json",
    urls_namespace="api",
)
api.add_router("", status.router)
api.add_router("", metrics.router)
api.add_router("/api", local.router)
api.add_router("/api", chat.router)
api.add_router("/api", account.router)
api.add_router("/api", embed.router)
api.add_router("/api", feedback.router)
api.add_router("/api/admin/v1/routing", manage_outcomes.router)
api.add_router("/v1", openai.router)
api.add_router("/v1", completions.router)
api.add_router("/v1", responses.router)
api.add_router("/v1", anthropic.router)
api.add_router("/v1", embed.openai_router)
api.add_router("/api/admin/v1/cache", manage_cache.router)
api.add_router("/api/admin/v1", manage_costs.router)
api.add_router("/api/admin/v1", manage_decisions.router)
api.add_router("/api/admin/v1/invoices", manage_invoices.router)
api.add_router("/api/admin/v1", manage_registry.router)
api.add_router("/api/admin/v1/routing", manage_rules.router)
api.add_router("/api/admin/v1/keys", manage_keys.router)
api.add_router("/api/admin/v1/limits", manage_limits.router)
api.add_router("/api/admin/v1/budgets", manage_budgets.router)
api.add_router("/api/admin/v1/people", manage_people.router)
api.add_router("/api/admin/v1", manage_tenants.router)
api.add_router("", absent.router)


@api.exception_handler(OrchestratorError)
def show_error(request: HttpRequest, error: OrchestratorError) -> HttpResponse:
    """Say it in the caller's dialect. What it repeats of the request moves no terminal."""
    error.args = (escaped(str(error)),)
    _record(request, error)
    body, headers = told(request.path, error, request_id(request))
    return HttpResponse(body, status=error.status, headers=headers)


def told(path: str, error: OrchestratorError, known: str) -> tuple[bytes, dict[str, str]]:
    """The error as whoever asks for `path` reads it, and the headers it comes with.

    known  the request's id.
    """
    dialect = dialect_of(path)
    headers = {"Content-Type": JSON_UTF8 if dialect == "ollama" else "application/json", "X-Request-Id": known}
    if dialect == "anthropic":
        headers["Request-Id"] = anthropic.anthropic_id(known)
        value = anthropic.error_value(
            error.status, anthropic.words_of(error), headers["Request-Id"], anthropic.code_of(error)
        )
    else:
        value = error_value(error) if dialect == "openai" else {"error": str(error)}
        if isinstance(error, WrongDocument):
            value["faults"] = _faults(error)
    if isinstance(error, TooMany) and error.standing.policy:
        headers["RateLimit-Policy"] = error.standing.policy
        headers["RateLimit"] = error.standing.now
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if isinstance(error, BudgetSpent) and (error.retry_after_s is None or error.retry_after_s > WAITED_S):
        headers["X-Should-Retry"] = "false"  # or clients of OpenAI and Anthropic would, twice
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="orchestrator"'
    return to_json(value), headers


def _faults(error: WrongDocument) -> list[dict[str, str]]:
    """All that is wrong, as far as an error has room: names in it may be long, and are the caller's own."""
    found: list[dict[str, str]] = []
    room = MOST_BYTES
    for fault in error.faults[:MOST_FAULTS]:
        told = {"path": escaped(fault.path), "words": escaped(fault.words[:MOST_WORDS])}
        room -= len(to_json(told))
        if room < 0 and found:
            break
        found.append(told)
    return found


@api.exception_handler(ValidationError)
def show_wrong_type(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """A body of the wrong shape, in Go's words; one that nobody sends to Ollama, in ours."""
    if request.path.startswith("/api/admin/") and error.errors[0]["loc"][0] == "body":
        return show_error(request, manage_registry.wrong_body(error.errors))
    return show_error(request, BadRequest(go_words(error.errors, request.path)))


@api.exception_handler(HttpError)
def show_http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    """What ninja refuses by itself, and what it wraps of ours."""
    if isinstance(error.__cause__, OrchestratorError):
        return show_error(request, error.__cause__)
    refused = BadRequest(str(error))
    refused.status = error.status_code
    return show_error(request, refused)


@api.exception_handler(Exception)
def show_fault(request: HttpRequest, error: Exception) -> HttpResponse:
    """A fault of ours: the log has it, the caller gets its id."""
    log.error("request %s failed", request_id(request), exc_info=error)
    return show_error(request, OrchestratorError(f"internal error; the log has more under {request_id(request)}"))


def _record(request: HttpRequest, error: OrchestratorError) -> None:
    """Record a refusal that happened before the pipeline saw the request.

    Only for callers that are known: a stranger must not be able to fill the ledger.
    """
    caller = getattr(request, "auth", None)
    if error.is_recorded or not caller or request.path not in RECORDED:
        return
    refused = ChatRequest(
        model="", dialect=dialect_of(request.path), endpoint=request.path[:64], request_id=request_id(request)
    )
    entry = parts().ledger.begin(refused, caller)
    entry.failed(error, parts().clock.monotonic())
    parts().ledger.post(entry)
