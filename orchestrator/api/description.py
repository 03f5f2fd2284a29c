"""What /api/openapi.json says beyond what ninja finds out by itself, and the page that shows it.

Endpoints write their answers as bytes, so ninja knows nothing of them. Here stand their shapes, their
content types and an example of each; tests ask the product every example and compare.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.openapi.docs import Swagger
from ninja.openapi.schema import OpenAPISchema, get_schema
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from orchestrator.api.body import MAY_BE_PACKED
from orchestrator.api.replies import EVENTS, NDJSON
from orchestrator.core import errors
from orchestrator.core.errors import OrchestratorError

JSON = "application/json"
ERROR_TYPES = ("invalid_request_error", "authentication_error", "permission_error", "not_found_error")
REF = "#/components/schemas/{model}"
# `style-src` as such: Swagger UI writes style attributes. Nothing it loads comes from elsewhere.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


class Page(Swagger):
    """The description as a page, from files that ninja brings with it: it needs no other address."""

    def __init__(self) -> None:
        # The validator would be another address.
        super().__init__({"validatorUrl": None, "docExpansion": "list", "defaultModelsExpandDepth": 0})

    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:
        """The page, with a policy that holds it to that."""
        response = super().render_page(request, api, **kwargs)
        response["Content-Security-Policy"] = PAGE_POLICY
        return response


class OllamaError(BaseModel):
    """What went wrong, for whoever asked under /api."""

    error: str


class OpenAIErrorValue(BaseModel):
    """What went wrong, and of which kind it is."""

    message: str
    type: str = Field(description=f"{', '.join(ERROR_TYPES)}, rate_limit_error, else api_error.")
    param: None
    code: None


class OpenAIError(BaseModel):
    """What went wrong, for whoever asked under /v1."""

    error: OpenAIErrorValue


class AnthropicErrorValue(BaseModel):
    """What went wrong, and of which kind it is."""

    type: str
    message: str


class AnthropicError(BaseModel):
    """What went wrong, for whoever asked under /v1/messages."""

    type: Literal["error"]
    error: AnthropicErrorValue
    request_id: str


class Logprob(BaseModel):
    """A token and how likely it was."""

    token: str
    logprob: float = Field(description="Natural logarithm.")
    bytes: list[int]


class LogprobWithOthers(Logprob):
    """A token, and what could have stood in its place."""

    top_logprobs: list[Logprob] = []


class Metrics(BaseModel):
    """What stands on the last object of an answer. Durations in nanoseconds."""

    done: bool
    done_reason: str | None = Field(None, description="stop, length, load, unload or content_filter.")
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = Field(None, description="Tokens of the prompt.")
    prompt_eval_duration: int | None = None
    eval_count: int | None = Field(None, description="Tokens of the answer.")
    eval_duration: int | None = None
    logprobs: list[LogprobWithOthers] | None = None


class CalledFunction(BaseModel):
    """Which function, with what."""

    index: int
    name: str
    arguments: dict[str, Any]


class ToolCallMade(BaseModel):
    """A tool that the model wants to be called."""

    id: str
    function: CalledFunction


class AnswerMessage(BaseModel):
    """The model's turn."""

    role: Literal["assistant"]
    content: str
    thinking: str | None = None
    tool_calls: list[ToolCallMade] | None = None


class ChatAnswer(Metrics):
    """A whole answer, or one line of a stream."""

    model: str = Field(description="As it was asked for.")
    created_at: str
    message: AnswerMessage


class GenerateAnswer(Metrics):
    """A whole answer, or one line of a stream."""

    model: str = Field(description="As it was asked for.")
    created_at: str
    response: str
    thinking: str | None = None
    context: list[int] | None = Field(None, description="Token ids; send them to go on from here.")


class OpenAICalledFunction(BaseModel):
    """Which function, with what: arguments as JSON text."""

    name: str
    arguments: str


class OpenAIToolCallMade(BaseModel):
    """A tool that the model wants to be called."""

    id: str
    index: int
    type: Literal["function"]
    function: OpenAICalledFunction


class OpenAIAnswerMessage(BaseModel):
    """The model's turn."""

    role: Literal["assistant"]
    content: str
    reasoning: str | None = None
    tool_calls: list[OpenAIToolCallMade] | None = None


class OpenAILogprobs(BaseModel):
    """Of each token."""

    content: list[LogprobWithOthers]


class Choice(BaseModel):
    """The answer."""

    index: int
    message: OpenAIAnswerMessage
    finish_reason: str = Field(description="stop, length, tool_calls or content_filter.")
    logprobs: OpenAILogprobs | None = None


class TokensUsed(BaseModel):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(BaseModel):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int = Field(description="Seconds since the epoch.")
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: TokensUsed


class Details(BaseModel):
    """What a model is made of."""

    parent_model: str
    format: str
    family: str
    families: list[str] | None
    parameter_size: str
    quantization_level: str
    context_length: int | None = None
    embedding_length: int | None = None


class ListedModel(BaseModel):
    """A model that can be asked."""

    name: str
    model: str
    remote_model: str | None = None
    remote_host: str | None = None
    modified_at: str
    size: int = Field(description="Bytes; 0 for a model of a provider.")
    digest: str
    details: Details
    capabilities: list[str]


class Listing(BaseModel):
    """Every model."""

    models: list[ListedModel]


class Loaded(BaseModel):
    """A model in memory."""

    name: str
    model: str
    size: int
    digest: str
    details: Details
    expires_at: str
    size_vram: int
    context_length: int


class AllLoaded(BaseModel):
    """What is in memory."""

    models: list[Loaded]


class OpenAIModel(BaseModel):
    """A model that can be asked."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class OpenAIModels(BaseModel):
    """Every model."""

    object: Literal["list"]
    data: list[OpenAIModel]


class Version(BaseModel):
    """Which Ollama this behaves like."""

    version: str


class Cloud(BaseModel):
    """Whether ollama.com is used."""

    disabled: bool
    source: Literal["none", "env", "config", "both"]


class CloudStatus(BaseModel):
    """Whether ollama.com is used."""

    cloud: Cloud


class Alive(BaseModel):
    """It is."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """How each part is: ok, degraded, off or down."""

    ready: bool
    parts: dict[str, str]


ANSWERS: dict[str, type[BaseModel]] = {
    "/api/chat": ChatAnswer,
    "/api/generate": GenerateAnswer,
    "/api/tags": Listing,
    "/api/ps": AllLoaded,
    "/api/version": Version,
    "/api/status": CloudStatus,
    "/v1/chat/completions": Completion,
    "/v1/models": OpenAIModels,
    "/v1/models/{name}": OpenAIModel,
    "/healthz": Alive,
    "/readyz": Readiness,
}
ERRORS: tuple[type[BaseModel], ...] = (OllamaError, OpenAIError, AnthropicError)
STREAMS = {
    "/api/chat": (NDJSON, "One ChatAnswer a line; what broke off ends with an OllamaError."),
    "/api/generate": (NDJSON, "One GenerateAnswer a line; what broke off ends with an OllamaError."),
    "/v1/chat/completions": (EVENTS, "`chat.completion.chunk` events, then `[DONE]`; what broke off ends without it."),
    "/v1/completions": (EVENTS, "`text_completion` events, then `[DONE]`; what broke off ends without it."),
    "/v1/responses": (EVENTS, "Events from `response.created` to `response.completed`."),
    "/v1/messages": (EVENTS, "Events from `message_start` to `message_stop`, or an `error` event."),
}
NOT_JSON = {"/metrics": ("text/plain", "application/openmetrics-text")}
OPEN = {"/healthz", "/readyz", "/api/version"}  # no key is asked for
REFUSED = {  # whatever is asked: there is no ollama.com behind this
    "/api/me": 403,
    "/api/signout": 401,
    "/api/user/keys/{key}": 401,
    "/api/experimental/web_search": 403,
    "/api/experimental/web_fetch": 403,
}
FIRST_MODEL = "smollm2:135m"
EMBEDDER = "all-minilm"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
EXAMPLES: dict[str, dict[str, Any]] = {
    "/api/chat": {"model": FIRST_MODEL, "messages": QUESTION, "stream": False, "options": {"num_predict": 16}},
    "/api/generate": {"model": FIRST_MODEL, "prompt": "The sky is", "stream": False, "options": {"num_predict": 4}},
    "/api/show": {"model": FIRST_MODEL},
    "/api/embed": {"model": EMBEDDER, "input": ["Why is the sky blue?", "Why is grass green?"]},
    "/api/embeddings": {"model": EMBEDDER, "prompt": "Why is the sky blue?"},
    "/v1/chat/completions": {"model": FIRST_MODEL, "messages": QUESTION, "max_tokens": 16},
    "/v1/embeddings": {"model": EMBEDDER, "input": "Why is the sky blue?"},
    "/v1/messages": {"model": FIRST_MODEL, "messages": QUESTION, "max_tokens": 16},
    "/v1/messages/count_tokens": {"model": FIRST_MODEL, "messages": QUESTION},
}


@cache  # it is the same at all times
def description(api: NinjaAPI) -> OpenAPISchema:
    """What ninja finds out, with answers, errors, examples and keys."""
    schema = get_schema(api=api)
    models = sorted({*ANSWERS.values(), *ERRORS}, key=lambda model: model.__name__)
    _, shapes = models_json_schema([(model, "serialization") for model in models], ref_template=REF)
    schema["info"]["description"] += f"\n\nWhat went wrong is said in the words of the dialect. {_statuses()}"
    components = schema["components"]
    components["schemas"] |= shapes["$defs"]
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A key: `manage.py issue_key NAME`."},
        "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same, otherwise."},
    }
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            methods[method] = _operation(path, method, operation)
    return schema


def _operation(path: str, method: str, found: dict[str, Any]) -> dict[str, Any]:
    operation = dict(found)  # HEAD shares it with GET
    name = operation["operationId"].removeprefix("orchestrator_api_")
    operation["operationId"] = f"{name}_head" if method == "head" else name
    if path in EXAMPLES and "requestBody" in operation:
        content = operation["requestBody"]["content"][JSON]
        operation["requestBody"] = operation["requestBody"] | {"content": {JSON: content | {"example": EXAMPLES[path]}}}
    if path in MAY_BE_PACKED:
        operation["requestBody"] = operation["requestBody"] | {
            "description": "It may come with Content-Encoding: zstd."
        }
    if path not in OPEN:
        operation["security"] = [{"bearer": []}, {"x-api-key": []}, *([] if _is_managing(path) else [{}])]
    answered = {"description": "Answered."} | ({} if method == "head" else {"content": _content(path)})
    operation["responses"] = ({} if path in REFUSED else {"200": answered}) | _failures(path, operation)
    return operation


def _content(path: str) -> dict[str, Any]:
    if path in NOT_JSON:
        return {kind: {"schema": {"type": "string"}} for kind in NOT_JSON[path]}
    content: dict[str, Any] = {JSON: {"schema": _ref(ANSWERS[path]) if path in ANSWERS else {"type": "object"}}}
    if path in STREAMS:
        kind, description = STREAMS[path]
        content[kind] = {"schema": {"type": "string", "description": description}}
    return content


def _failures(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    shape: type[BaseModel] = OllamaError
    if path.startswith("/v1/"):
        shape = AnthropicError if path.startswith("/v1/messages") else OpenAIError
    content = {JSON: {"schema": _ref(shape)}}
    statuses = {401: "No key, or none that is known."} if path not in OPEN else {}
    if _is_managing(path):
        statuses[403] = "The key may not manage."
    if "requestBody" in operation:
        statuses |= {400: "The body cannot be understood.", 404: "There is no such model.", 413: "It is too large."}
    if "{name}" in path:
        statuses[404] = "There is no such model."
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


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REF.format(model=model.__name__)}
