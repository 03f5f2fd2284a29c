"""What a request asks for that a model cannot do: refused, or left out and said. Never just dropped.

`settle` decides, for every engine and every dialect. An engine declares what it takes
(`Model.capabilities`, `Model.takes`) and is asked for nothing else, so it has nothing to leave out itself.

    policy     what Ollama refuses         everything else            said in
    contract   is refused in its words     is left out                header and record
    warn       is left out                 is left out                header and record
    drop       is left out                 is left out                the record
    reject     is refused, all of it named in one error
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, replace
from typing import Any, Literal

from orchestrator.core.errors import BadRequest, Unsupported
from orchestrator.core.types import ChatRequest, Message, Model
from orchestrator.modelhost.names import Name

Policy = Literal["contract", "warn", "drop", "reject"]

# Fields of a ChatRequest that ask for something, and what callers call it. One that is not set asks for nothing.
ASKING = {
    "tools": "tools",
    "format": "format",
    "think": "think",
    "prompt": "raw",
    "suffix": "suffix",
    "template": "template",
    "context": "context",
    "logprobs": "logprobs",
    "top_logprobs": "top_logprobs",
    "truncate": "truncate",
    "shift": "shift",
    "keep_alive_s": "keep_alive",
}
ASKING_BY_PARTS = frozenset({"messages", "options", "ignored"})  # images and thinking; options one by one
NOT_ASKING = frozenset(
    {
        "model",
        "inputs",
        "namespace",
        "stream",
        "control",
        "tags",
        "dialect",
        "endpoint",
        "request_id",
        "address",
        "turn",
    }
)

# What is refused under the contract, in this order, and how Ollama puts it.
REFUSED = {"suffix": "insert", "template": "templates given in a request", "tools": "tools", "images": "images"}

_UNSET = {field.name: field.default for field in fields(ChatRequest) if field.default is not MISSING}


def settle(request: ChatRequest, model: Model, policy: Policy) -> tuple[ChatRequest, tuple[str, ...]]:
    """Return `request` as `model` can answer it, and the names of what was left out, in order.

    Raises Unsupported for what must not be left out: that the model answers in another way altogether,
    and whatever the policy refuses. BadRequest, whatever the model, for a raw prompt with something to frame it.
    """
    if request.prompt is not None and (request.messages or request.template or request.context):
        raise BadRequest("raw mode does not support template, system, or context")
    lacking = {name: without for name, without in _asked(request) if not _takes(model, name, request)}
    left_out = tuple(sorted({*lacking, *request.ignored}))
    if policy == "contract":
        _refuse_as_ollama(request, model, frozenset(lacking))
    _must_answer(request, model)
    if policy == "reject" and left_out:
        raise Unsupported(f'"{request.model}" does not support {", ".join(left_out)}; leave out what it cannot do')
    for without in lacking.values():
        request = without(request)
    return request, left_out


def full_name(model: Model) -> str:
    """The name with every part, as Ollama shows it in its refusals."""
    return model.name if model.is_remote else Name.parse(model.name).full


def _refuse_as_ollama(request: ChatRequest, model: Model, lacking: frozenset[str]) -> None:
    """Raises Unsupported in the words Ollama's clients know, and in its order."""
    # Anthropic's clients ask every model to think: one that cannot is asked without.
    if "think" in lacking and "thinking" not in model.capabilities and request.dialect != "anthropic":
        raise Unsupported(f'"{request.model}" does not support thinking')
    _must_answer(request, model)
    for name, words in REFUSED.items():
        if name in lacking:
            raise Unsupported(f"{full_name(model)} does not support {words}")
    if lacking & {"raw", "context"}:  # it would be another question without
        raise Unsupported(f"{model.name} is a cloud model: it takes messages, not raw prompts or `context`.")


def _must_answer(request: ChatRequest, model: Model) -> None:
    """Raises Unsupported when the model does something else altogether."""
    if request.inputs is not None:
        if "embedding" not in model.capabilities:
            raise Unsupported("this model does not support embeddings")
    elif "completion" not in model.capabilities:
        verb = "generate" if request.endpoint in {"/api/generate", "/v1/completions"} else "chat"
        raise Unsupported(f'"{request.model}" does not support {verb}')


def _takes(model: Model, name: str, request: ChatRequest) -> bool:
    """Whether `model` honours it, with what else is asked: it may be taken `unless` something stands in its way."""
    match name:
        case "tools":
            return "tools" in model.capabilities
        case "images":
            return "vision" in model.capabilities
        case "suffix":
            return "insert" in model.capabilities
        case "think" if "thinking" not in model.capabilities:
            return not request.think  # not to think it can
        case "think" if isinstance(request.think, str):
            name = "effort"
    unless = f"{name} unless "
    return name in model.takes or any(
        not any(_hinders(what, request, model) for what in one.removeprefix(unless).split(" or "))
        for one in model.takes
        if one.startswith(unless)
    )


def _hinders(what: str, request: ChatRequest, model: Model) -> bool:
    """Whether it is so: the model thinks, has tools, a stop string is blank, or an option of that name is set."""
    match what:
        case "thinking":
            return bool(request.think) and "thinking" in model.capabilities
        case "tools":
            return bool(request.tools)
        case "blank":
            return any(not word.strip() for word in request.stops)
    return what in request.options


def _asked(request: ChatRequest) -> Iterator[tuple[str, Callable[[ChatRequest], ChatRequest]]]:
    """What is asked for, by the caller's name for it, each with the way to leave it out."""
    for field, name in ASKING.items():
        if getattr(request, field) != _UNSET[field]:
            yield name, _as_message if field == "prompt" else _without(field)
    if any(message.images for message in request.messages):
        yield "images", lambda request: _of_each(request, images=())
    if any(message.thinking for message in request.messages):
        yield "thinking", lambda request: _of_each(request, thinking="")
    for option in request.options:
        yield option, _without_option(option)


def _without(field: str) -> Callable[[ChatRequest], ChatRequest]:
    return lambda request: replace(request, **{field: _UNSET[field]})


def _without_option(option: str) -> Callable[[ChatRequest], ChatRequest]:
    return lambda request: replace(
        request, options={name: value for name, value in request.options.items() if name != option}
    )


def _as_message(request: ChatRequest) -> ChatRequest:
    """A raw prompt becomes what it is without `raw`: a user's message."""
    return replace(request, prompt=None, messages=(Message(role="user", content=request.prompt or ""),))


def _of_each(request: ChatRequest, **unset: Any) -> ChatRequest:
    return replace(request, messages=tuple(replace(message, **unset) for message in request.messages))
