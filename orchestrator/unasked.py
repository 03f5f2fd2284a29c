"""What is done with one model and asks it nothing: load it, show its prompt, count its tokens."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress

from orchestrator.answers import MOST_ROUTE, Answer, charged_anyhow, each, failures_recorded, recorded
from orchestrator.capabilities import full_name, settle
from orchestrator.core.errors import BadRequest, Busy, EngineError, Unsupported
from orchestrator.core.types import Caller, ChatRequest, Chunk, Done, Model
from orchestrator.ledger.writer import Entry
from orchestrator.parts import Parts
from orchestrator.routes import check_template, choose
from routing.router import is_auto


async def load(request: ChatRequest, caller: Caller, parts: Parts) -> Answer:
    """Load the model, or with a `keep_alive` of 0 unload it: what a request without a question means."""
    entry = parts.ledger.begin(request, caller)
    with failures_recorded(entry, parts):
        model = await _chosen(request, entry, parts)
        is_local = model.engine == parts.local.name
        is_unload = request.keep_alive_s == 0
        if not is_unload:  # who lets a model go asks nothing of it
            request, entry.unsupported = settle(request, model, parts.unsupported)
        if is_local and is_unload:
            await parts.local.unload(model)
        elif is_local:
            await parts.local.load(model, request.keep_alive_s, request.options)
        done = Done(reason="unload" if is_unload else "load")
        return Answer(entry, recorded(each(Chunk(done=done)), entry, parts))


async def preview(request: ChatRequest, caller: Caller, parts: Parts) -> Answer:
    """The prompt that the model would be given, as the text of an answer that nobody makes."""
    entry = parts.ledger.begin(request, caller)
    with failures_recorded(entry, parts):
        model = await _chosen(request, entry, parts)
        request, entry.unsupported = settle(request, model, parts.unsupported)
        if model.engine != parts.local.name:
            raise Unsupported(f"{full_name(model)} is a cloud model: only its provider knows the prompt it is given")
        shown = await parts.local.preview(request, model)
        return Answer(entry, _unasked(shown.text, entry, parts))


async def count(request: ChatRequest, caller: Caller, parts: Parts) -> Answer:
    """How many tokens the question has, as the text of an answer that nobody makes; empty where nobody can say.

    That is so for models that run elsewhere or are not loaded, for `auto`, and for what the model cannot take.
    """
    entry = parts.ledger.begin(request, caller)
    with failures_recorded(entry, parts):
        tokens = None
        model = await _chosen(request, entry, parts)
        if model.engine == parts.local.name and not is_auto(request.model):
            with suppress(BadRequest, Busy, EngineError):
                request, entry.unsupported = settle(request, model, parts.unsupported)
                tokens = await parts.local.count(request, model)
        said = "" if tokens is None else str(tokens)
        return Answer(entry, _unasked(said, entry, parts))


async def _unasked(text: str, entry: Entry, parts: Parts) -> AsyncGenerator[Chunk, None]:
    """What was said without asking a model: it is recorded, and no tokens with it."""
    entry.ended("done", parts.clock.monotonic())
    parts.ledger.post(entry)
    yield Chunk(text=text, done=Done(reason="stop"))


async def _chosen(request: ChatRequest, entry: Entry, parts: Parts) -> Model:
    """The model that is asked first, for what is done with one model; the record says it. It counts as a request."""
    async with charged_anyhow(request, entry, parts):
        route = await choose(request, entry.caller, parts)
        await check_template(request, route.model)
    model = route.candidates[0].model
    entry.model, entry.provider, entry.route = model.name, model.engine, route.reason[:MOST_ROUTE]
    await parts.limiter.charge(entry.caller, route.model.name, request.address)
    return model
