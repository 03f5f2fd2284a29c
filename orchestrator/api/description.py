"""What /api/openapi.json says beyond what ninja finds out by itself, and the page that shows it.

Endpoints write their answers as bytes, so ninja knows nothing of them. Here stand their shapes, their
content types and an example of each; tests ask the product every example and compare. See also `answers/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.openapi.docs import Swagger
from ninja.openapi.schema import OpenAPISchema, get_schema
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from orchestrator.api.body import MAY_BE_PACKED
from orchestrator.api.replies import EVENTS, NDJSON
from orchestrator.core import errors
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.headers import PAGE_POLICY

Shape = type[BaseModel]
JSON = "application/json"
REF = "#/components/schemas/{model}"
# It needs nothing from elsewhere, nothing inline and no forms, so it may have none of them.
DOCS_POLICY = PAGE_POLICY.replace("form-action 'self'", "form-action 'none'")


class Page(Swagger):
    """The description as a page, from files that ninja brings with it: it needs no other address."""

    def __init__(self) -> None:
        # The validator would be another address.
        super().__init__({"validatorUrl": None, "docExpansion": "list", "defaultModelsExpandDepth": 0})

    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:
        """The page, with a policy that holds it to that."""
        response = super().render_page(request, api, **kwargs)
        response["Content-Security-Policy"] = DOCS_POLICY
        return response


# In words; what a line or the data of an event may be stands beside it as `x-itemSchema`, which OpenAPI 3.2 calls
# `itemSchema`: 3.1 has no word for it.
STREAMS = {
    "/api/chat": (NDJSON, "One ChatAnswer a line; what broke off ends with an OllamaError."),
    "/api/generate": (NDJSON, "One GenerateAnswer a line; what broke off ends with an OllamaError."),
    "/v1/chat/completions": (EVENTS, "`chat.completion.chunk` events, then `[DONE]`; what broke off ends without it."),
    "/v1/completions": (EVENTS, "`text_completion` events, then `[DONE]`; what broke off ends without it."),
    "/v1/responses": (EVENTS, "Events from `response.created` to `response.completed`, or `response.failed`."),
    "/v1/messages": (EVENTS, "Events from `message_start` to `message_stop`, or an `error` event."),
}
NOT_JSON = {
    "/metrics": ("text/plain", "application/openmetrics-text"),
    "/api/admin/v1/invoices/{number}/differences.csv": ("text/csv",),
    "/api/admin/v1/costs.csv": ("text/csv",),
    "/api/admin/v1/costs/charges.csv": ("text/csv",),
}
OPEN = {"/healthz", "/readyz", "/api/version"}  # no key is asked for
REFUSED = {  # whatever is asked: there is no ollama.com behind this
    "/api/me": 403,
    "/api/signout": 401,
    "/api/user/keys/{key}": 401,
    "/api/experimental/web_search": 403,
    "/api/experimental/web_fetch": 403,
}
WHO_MAY_ASK = tuple(
    f"/api/admin/v1/{one}"
    for one in ("keys", "tenants", "people", "teams", "grants", "limits", "budgets", "routing/draft/rules/")
)
NOT_READY = {"/readyz": "No question could be answered."}  # said in the shape of an answer
FIRST_MODEL = "smollm2:135m"
EMBEDDER = "all-minilm"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
VLLM = {"kind": "compatible", "address": "http://127.0.0.1:8000/v1", "is_enabled": False}
SMART = {"deployments": [{"remote_name": FIRST_MODEL}], "fallbacks": ["openai/gpt-4.1-mini"]}
REGISTRY = {"providers": {"vllm": VLLM}, "models": {"smart": SMART}}
RULE = {
    "name": "mail goes to a small one",
    "when": [{"fact": "tags", "op": "has", "value": ["mail"]}],
    "then": {"use": [FIRST_MODEL]},
}
COSTS = {
    "data": [
        {
            "start_time": 1772323200,
            "end_time": 1772409600,
            "results": [
                {"amount": {"value": "0.8958740000000000", "currency": "usd"}, "line_item": "gpt-4.1-2025-04-14, input"}
            ],
        }
    ],
    "has_more": False,
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "/api/chat": {"model": FIRST_MODEL, "messages": QUESTION, "stream": False, "options": {"num_predict": 16}},
    "/api/generate": {"model": FIRST_MODEL, "prompt": "The sky is", "stream": False, "options": {"num_predict": 4}},
    "/api/show": {"model": FIRST_MODEL},
    "/api/feedback": {"request_id": "8f3c2a", "good": False, "note": "It is 4."},
    "/api/embed": {"model": EMBEDDER, "input": ["Why is the sky blue?", "Why is grass green?"]},
    "/api/embeddings": {"model": EMBEDDER, "prompt": "Why is the sky blue?"},
    "/v1/chat/completions": {"model": FIRST_MODEL, "messages": QUESTION, "max_tokens": 16},
    "/v1/completions": {"model": FIRST_MODEL, "prompt": "The sky is", "max_tokens": 4},
    "/v1/responses": {"model": FIRST_MODEL, "input": "What is the capital of France?", "max_output_tokens": 16},
    "/v1/embeddings": {"model": EMBEDDER, "input": "Why is the sky blue?"},
    "/v1/messages": {"model": FIRST_MODEL, "messages": QUESTION, "max_tokens": 16},
    "/v1/messages/count_tokens": {"model": FIRST_MODEL, "messages": QUESTION},
    "/api/admin/v1/keys": {"name": "web-app", "model_patterns": ["openai/*"], "dialects": ["openai"], "tags": ["web"]},
    "/api/admin/v1/keys/{prefix}": {"tags": ["web", "prod"], "networks": ["10.0.0.0/8", "2001:db8::/32"]},
    "/api/admin/v1/keys/{prefix}/rotate": {"overlap_s": 3600},
    "/api/admin/v1/tenants": {"name": "initech", "priority": 7},
    "/api/admin/v1/tenants/{name}": {"priority": 8, "suspended": False},
    "/api/admin/v1/people": {"name": "paula", "role": "auditor", "tenant": "acme"},
    "/api/admin/v1/people/{name}/role": {"role": "operator", "tenant": "acme"},
    "/api/admin/v1/teams": {"tenant": "acme", "name": "search"},
    "/api/admin/v1/grants": {"owner": "acme", "reader": "globex"},
    "/api/admin/v1/limits": {
        "name": "a-minute",
        "kind": "requests",
        "each": "key",
        "amount": 600,
        "per_s": 60,
        "tenant": "acme",
    },
    "/api/admin/v1/limits/{name}": {"amount": 300},
    "/api/admin/v1/budgets": {
        "name": "a-month",
        "period": "month",
        "each": "key",
        "amount_usd": "50.00",
        "shares": [80, 100],
        "tenant": "acme",
    },
    "/api/admin/v1/budgets/{name}": {"amount_usd": "75.00"},
    "/api/admin/v1/invoices": COSTS,
    "/api/admin/v1/registry": REGISTRY,
    "/api/admin/v1/registry/check": REGISTRY,
    "/api/admin/v1/analyze": {"text": "Why is the sky blue?"},
    "/api/admin/v1/decide": {"text": "Prove that there are infinitely many primes.", "tags": ["lectures"]},
    "/api/admin/v1/routing/draft": {"rules": [RULE]},
    "/api/admin/v1/routing/draft/auto": {"aim": {"share": 0.3}, "never": ["openai/*"]},
    "/api/admin/v1/routing/draft/rules": {"name": "dear calls", "then": {"most_cost": "0.05"}},
    "/api/admin/v1/routing/draft/rules/{name}/move": {"place": 1},
    "/api/admin/v1/routing/draft/rules/{name}": {"is_on": False, "note": "no longer"},
    "/api/admin/v1/routing/check": {"rules": [RULE]},
    "/api/admin/v1/routing/dry-run": {"last": 100, "document": {"rules": [RULE]}},
    "/api/admin/v1/providers/{name}": VLLM,
    "/api/admin/v1/models/{name}": SMART,
}


@cache  # it is the same at all times
def description(api: NinjaAPI) -> OpenAPISchema:
    """What ninja finds out, with answers, errors, examples and keys."""
    from orchestrator.api.answers import ANSWERS, ERRORS, STREAMED  # a hundred shapes that no start should wait for
    from orchestrator.api.answers.shape import LeftOut

    schema = get_schema(api=api)
    streamed = [model for models in STREAMED.values() for model in models]
    models = sorted({*ANSWERS.values(), *streamed, *ERRORS}, key=lambda model: model.__name__)
    _, shapes = models_json_schema(
        [(model, "serialization") for model in models], ref_template=REF, schema_generator=LeftOut
    )
    schema["info"]["description"] += f"\n\nWhat went wrong is said in the words of the dialect. {_statuses()}"
    components = schema["components"]
    components["schemas"] |= shapes["$defs"]
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A key: `manage.py issue_key NAME`."},
        "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same, otherwise."},
    }
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            answer = ANSWERS.get((method, path))
            methods[method] = _operation(path, method, operation, _content(path, answer, STREAMED.get(path, ())))
    return schema


def _operation(path: str, method: str, found: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    operation = dict(found)  # HEAD shares it with GET
    name = operation["operationId"].removeprefix("orchestrator_api_")
    operation["operationId"] = f"{name}_head" if method == "head" else name
    if path in EXAMPLES and "requestBody" in operation:
        body = operation["requestBody"]["content"][JSON] | {"example": EXAMPLES[path]}
        operation["requestBody"] = operation["requestBody"] | {"content": {JSON: body}}
    if path in MAY_BE_PACKED:
        operation["requestBody"] = operation["requestBody"] | {
            "description": "It may come with Content-Encoding: zstd."
        }
    if path not in OPEN:
        operation["security"] = [{"bearer": []}, {"x-api-key": []}, *([] if _is_managing(path) else [{}])]
    answered = {"description": "Answered."} | ({"content": content} if content else {})
    operation["responses"] = ({} if path in REFUSED else {"200": answered}) | _failures(path, method, operation)
    if path in NOT_READY:
        operation["responses"]["503"] = {"description": NOT_READY[path], "content": content}
    return operation


def _content(path: str, answer: Shape | None, streamed: Sequence[Shape]) -> dict[str, Any]:
    """What an answer looks like, by its content type. Empty for HEAD, and for what is never answered."""
    if path in NOT_JSON:
        return {kind: {"schema": {"type": "string"}} for kind in NOT_JSON[path]}
    content: dict[str, Any] = {JSON: {"schema": _ref(answer.__name__)}} if answer else {}
    if path in STREAMS:
        kind, description = STREAMS[path]
        each = [_ref(model.__name__) for model in streamed]
        content[kind] = {
            "schema": {"type": "string", "description": description},
            "x-itemSchema": {"anyOf": each} if len(each) > 1 else each[0],
        }
    return content


def _failures(path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    shape = "ManagementError" if _is_managing(path) else "OllamaError"
    if path.startswith("/v1/"):
        shape = "AnthropicError" if path.startswith("/v1/messages") else "OpenAIError"
    content = {JSON: {"schema": _ref(shape)}}
    statuses = {401: "No key, or none that is known."} if path not in OPEN else {}
    if "requestBody" in operation:
        statuses |= {400: "The body cannot be understood.", 404: "There is no such model.", 413: "It is too large."}
    if _is_managing(path):
        statuses[403] = "The key may not manage."
        statuses.pop(404, None)  # what is written may be new
    is_about_who = path.startswith(WHO_MAY_ASK)
    if "{" in path and path not in REFUSED and ("requestBody" not in operation or is_about_who):
        statuses[404] = "There is nothing of that name."
    if any(one["name"] == "If-Match" for one in operation.get("parameters", ())) or (is_about_who and method != "get"):
        statuses[409] = "It was changed meanwhile, or is in use."
    if path in MAY_BE_PACKED:
        statuses[415] = "It is packed in another way than zstd."
    if path in REFUSED:
        statuses[REFUSED[path]] = "Always: there is no ollama.com behind this."
    failures = {str(status): {"description": words, "content": content} for status, words in sorted(statuses.items())}
    return failures | {
        "default": {"description": "It failed; see above for what each status means.", "content": content}
    }


def _statuses() -> str:
    """What each status means, from the tree of errors itself."""
    tree = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, OrchestratorError)]
    tree.remove(OrchestratorError)
    words: dict[int, list[str]] = {}
    for kind in tree:
        words.setdefault(kind.status, []).append((kind.__doc__ or "").split("\n")[0])
    return "\n\n" + "\n".join(f"- {status}: {' '.join(words[status])}" for status in sorted(words))


def _is_managing(path: str) -> bool:
    return path.startswith("/api/admin/")


def _ref(shape: str) -> dict[str, str]:
    return {"$ref": REF.format(model=shape)}
