"""POST /api/chat and /api/generate."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase
from ninja import Router

from orchestrator.api.calls import controls
from orchestrator.api.ollama import ChatForm, GenerateForm, error_line
from orchestrator.api.options import read_options, unknown_options
from orchestrator.api.replies import NDJSON, Wire, respond, started
from orchestrator.api.schemas import Asking, ChatBody, GenerateBody
from orchestrator.api.stamps import Stamps
from orchestrator.core.errors import BadRequest, ModelNotFound
from orchestrator.core.types import ChatRequest, Message
from orchestrator.pipeline import answer, choose, load
from orchestrator.wiring import parts

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
    return await _reply(request, asked, is_load=not body.messages)


@router.post("/generate", summary="Complete a prompt")
async def generate(request: HttpRequest, body: GenerateBody) -> HttpResponseBase:
    """Answer a prompt; streamed unless `stream` is false.

    Without a prompt the model is loaded, or with `keep_alive` 0 unloaded.
    """
    _check(body)
    if not body.model:
        raise ModelNotFound("model '' not found")
    common = _common(request, body)
    is_unload = not body.prompt and body.keep_alive == 0
    if body.raw and (body.template or body.system or body.context) and not is_unload:
        await choose(ChatRequest(**common), parts())  # that there is no such model is said first
        raise BadRequest("raw mode does not support template, system, or context")
    if body.raw:
        asked = ChatRequest(prompt=body.prompt or "", **common)
    else:
        system = [Message(role="system", content=body.system)] if body.system else []
        user = Message(role="user", content=body.prompt or "", images=tuple(body.images or ()))
        asked = ChatRequest(messages=(*system, user), context=tuple(body.context or ()), **common)
    return await _reply(request, asked, is_load=not body.prompt)


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


async def _reply(request: HttpRequest, asked: ChatRequest, *, is_load: bool) -> HttpResponseBase:
    caller = request.auth  # type: ignore[attr-defined]  # ninja sets it to what `show_key` returned
    begun = await started(await (load if is_load else answer)(asked, caller, parts()))
    is_chat = asked.endpoint.rstrip("/").endswith("/chat")

    def form(stamps: Stamps) -> ChatForm | GenerateForm:
        if is_chat:
            return ChatForm(stamps, asked.model)
        return GenerateForm(stamps, asked.model, is_raw=asked.prompt is not None)

    return await respond(request, begun, form, WIRE, is_streamed=asked.stream and not is_load)
