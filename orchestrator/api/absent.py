"""Endpoints of Ollama and OpenAI that are not there yet say so, in words a client shows its user."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from django.http import HttpRequest, HttpResponseBase
from ninja import Router

from orchestrator.core.errors import NotSupportedYet

MODELS = "Managing models is not supported yet; models are read from OLLAMA_MODELS, a folder that Ollama can fill."
ABSENT = {
    ("POST", "/api/pull"): MODELS,
    ("POST", "/api/push"): MODELS,
    ("POST", "/api/create"): MODELS,
    ("POST", "/api/copy"): MODELS,
    ("DELETE", "/api/delete"): MODELS,
    ("POST", "/v1/completions"): "Completions are not supported yet; /v1/chat/completions is.",
    ("POST", "/v1/responses"): "Responses are not supported yet; /v1/chat/completions is.",
    ("POST", "/v1/messages"): "Messages are not supported yet; /v1/chat/completions is.",
}

router = Router()


def _saying(words: str) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    async def say(request: HttpRequest) -> HttpResponseBase:
        raise NotSupportedYet(words)

    return say


for (method, path), words in ABSENT.items():
    router.api_operation([method], path, include_in_schema=False)(_saying(words))
