"""Endpoints of Ollama and OpenAI that are not there yet say so, in words a client shows its user."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from django.http import HttpRequest, HttpResponseBase
from ninja import Router

from orchestrator.core.errors import NotSupportedYet

BLOBS = "/api/blobs/"
MODELS = "Managing models is not supported yet; models are read from OLLAMA_MODELS, a folder that Ollama can fill."
ABSENT = {
    ("POST", "/api/pull"): MODELS,
    ("POST", "/api/push"): MODELS,
    ("POST", "/api/create"): MODELS,
    ("POST", "/api/copy"): MODELS,
    ("DELETE", "/api/delete"): MODELS,
    ("POST", "/v1/audio/transcriptions"): "Transcriptions are not supported yet; send what was said as text.",
}

router = Router()


def is_absent(method: str, path: str) -> bool:
    """Whether the answer is known without the body, which may be a whole model."""
    return (method, path) in ABSENT or (method == "POST" and path.startswith(BLOBS))


def _saying(words: str) -> Callable[[HttpRequest], Awaitable[HttpResponseBase]]:
    async def say(request: HttpRequest) -> HttpResponseBase:
        raise NotSupportedYet(words)

    return say


for (method, path), words in ABSENT.items():
    router.api_operation([method], path, include_in_schema=False)(_saying(words))


@router.api_operation(["POST", "HEAD"], BLOBS + "{digest}", include_in_schema=False)
async def blob(request: HttpRequest, digest: str) -> HttpResponseBase:
    """Part of making a model. Not 404 to HEAD, which would ask for the blob to be sent."""
    raise NotSupportedYet(MODELS)
