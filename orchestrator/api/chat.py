"""POST /api/chat and /api/generate."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase
from ninja import Router

from orchestrator.api.calls import controls
from orchestrator.api.ollama import ChatForm, GenerateForm, PreviewForm, error_line
from orchestrator.api.options import read_options, unknown_options
from orchestrator.api.replies import NDJSON, Form, Wire, begin, respond
from orchestrator.api.schemas import Asking, ChatBody, GenerateBody
from orchestrator.api.stamps import Stamps
from orchestrator.core.errors import BadRequest, ModelNotFound
from orchestrator.core.types import ChatRequest, Message
from orchestrator.pipeline import answer
from orchestrator.unasked import load, preview

router = Router(tags=["Ollama"])
MOST_TOP_LOGPROBS = 20
WIRE = Wire(error_line, NDJSON)


@router.post("/chat", summary="One turn of a conversation")
async def chat(request: HttpRequest, body: ChatBody) -> HttpResponseBase:
    """Answer the last message; streamed unless `stream` is false.

    Without messages the model is loaded, or with `keep_alive` 0 unloaded.
    """
    _check(body)
    if not body.model:
        raise BadRequest("model is required")
    asked = ChatRequest(
        messages=tuple(message.to_message() for message in body.messages or ()),
        tools=tuple(body.tools or ()),
        **_common(request, body),
    )
    return await _reply(request, body, asked, is_load=not body.messages)


@router.post("/generate", summary="Complete a prompt")
async def generate(request: HttpRequest, body: GenerateBody) -> HttpResponseBase:
    """Answer a prompt; streamed unless `stream` is false.

    Without a prompt the model is loaded, or with `keep_alive` 0 unloaded.
    """
    _check(body)
    if not body.model:
        raise ModelNotFound("model '' not found")
    return await _reply(request, body, _to_request(body, _common(request, body)), is_load=not body.prompt)


def _to_request(body: GenerateBody, common: dict[str, Any]) -> ChatRequest:
    suffix = body.suffix or ""
    common |= {"template": body.template or "", "context": tuple(body.context or ())}
    if body.raw:
        if suffix:  # a raw prompt says itself where its middle is
            common["ignored"] += ("suffix",)
        beside = (Message(role="system", content=body.system),) if body.system else ()
        return ChatRequest(prompt=body.prompt or "", messages=beside, **common)
    system = [Message(role="system", content=body.system)] if body.system and not suffix else []
    if body.system and suffix:  # who fills in the middle is given the two sides of it alone
        common["ignored"] += ("system",)
    user = Message(role="user", content=body.prompt or "", images=tuple(body.images or ()))
    return ChatRequest(messages=(*system, user), suffix=suffix, **common)


def _check(body: Asking) -> None:
    if not 0 <= (body.top_logprobs or 0) <= MOST_TOP_LOGPROBS:
        raise BadRequest("top_logprobs must be between 0 and 20")


def _common(request: HttpRequest, body: Asking) -> dict[str, Any]:
    return {
        "model": body.model or "",
        "format": body.format,
        "think": body.think,
        "options": read_options(body.options),
        "logprobs": bool(body.logprobs),
        "top_logprobs": body.top_logprobs or 0 if body.logprobs else 0,
        "truncate": body.truncate is not False,
        "shift": body.shift is not False,
        "keep_alive_s": body.keep_alive,
        "ignored": (*body.ignored, *unknown_options(body.options)),
        "stream": body.is_streamed,
        "dialect": "ollama",
        **controls(request),
    }


async def _reply(request: HttpRequest, body: Asking, asked: ChatRequest, *, is_load: bool) -> HttpResponseBase:
    is_preview = bool(body.debug_render_only) and not is_load
    begun = await begin(request, asked, preview if is_preview else load if is_load else answer)

    def form(stamps: Stamps) -> Form:
        if is_preview:
            return PreviewForm(stamps, asked, is_chat=_is_chat(asked))
        if _is_chat(asked):
            return ChatForm(stamps, asked.model)
        return GenerateForm(stamps, asked.model, is_raw=asked.prompt is not None)

    return await respond(request, begun, form, WIRE, is_streamed=asked.stream and not (is_load or is_preview))


def _is_chat(asked: ChatRequest) -> bool:
    return asked.endpoint.rstrip("/").endswith("/chat")
