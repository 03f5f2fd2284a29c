"""Answers that are to be JSON: asked for in words where a model takes no format, and seen to be what was asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace

from orchestrator.adaptation.schemas import Form
from orchestrator.adaptation.written import CUT, MISSING, is_object, json_in
from orchestrator.core.errors import NotTaken
from orchestrator.core.types import JSON, ChatRequest, Chunk, Chunks, Message, Reply


class WrongForm(NotTaken):
    """An answer is not the JSON that was asked for, and cannot be made to be. Another model may do better."""

    kind = "wrong_form"
    has_form = False


def in_words(request: ChatRequest) -> ChatRequest:
    """The same question with the form that is wanted told in words, to the end of what the system says."""
    wanted = request.format
    said = "Answer with nothing but JSON: no words around it, no fence."
    if isinstance(wanted, Mapping):
        said += f" It has to fit this JSON Schema:\n{json.dumps(wanted, ensure_ascii=False)}"
    place = next((at for at, one in enumerate(request.messages) if one.role != "system"), len(request.messages))
    told = Message(role="system", content=said)
    return replace(request, format=None, messages=(*request.messages[:place], told, *request.messages[place:]))


def checking(
    wanted: str | Mapping[str, JSON], *, has_stops: bool = False, begun: str = ""
) -> Callable[[Chunks], AsyncGenerator[Chunk, None]]:
    """A step that holds the text of an answer until it is whole, and passes it on as it was wanted.

    It raises WrongForm with what was said where that cannot be. One that was cut is passed on as it is: its end is
    missing.

    has_stops  the question has strings that end the answer, wherever they come; not every provider tells that one did.
    begun      what it goes on from.
    """
    schema = dict(wanted) if isinstance(wanted, Mapping) else None

    async def step(chunks: Chunks) -> AsyncGenerator[Chunk, None]:
        held: list[Chunk] = []
        async with aclosing(chunks):
            async for chunk in chunks:
                if chunk.usage and not (chunk.text or chunk.thinking or chunk.tool_calls or chunk.done):
                    yield chunk
                    continue
                held.append(chunk)
                if chunk.done is None:
                    continue
                whole = "".join(one.text for one in held)
                try:
                    right = whole
                    if chunk.done.reason == "stop":  # beside: to mend it may take seconds
                        may_be_cut = has_stops or bool(chunk.done.stop_string)
                        right = await asyncio.to_thread(settled, whole, schema, may_be_cut=may_be_cut, begun=begun)
                except WrongForm as error:
                    error.kept = held
                    raise
                if right != whole:
                    held = [*(replace(one, text="", logprobs=(), done=None) for one in held), Chunk(text=right)]
                    held = [*(one for one in held if one != Chunk()), replace(chunk, text="", logprobs=(), thinking="")]
                for one in held:
                    yield one

    return step


def standing(
    wanted: str | Mapping[str, JSON], *, has_stops: bool = False, begun: str = ""
) -> Callable[[Reply], Awaitable[bool]]:
    """What tells of a whole answer that was passed on unchecked whether `checking` would pass it on as it is.

    has_stops, begun  as for `checking`.
    """
    schema = dict(wanted) if isinstance(wanted, Mapping) else None

    async def stands(reply: Reply) -> bool:
        if reply.done.reason != "stop":
            return True
        may_be_cut = has_stops or bool(reply.done.stop_string)
        return await asyncio.to_thread(_stands, reply.text, schema, may_be_cut=may_be_cut, begun=begun)

    return stands


def _stands(text: str, schema: Mapping[str, JSON] | None, *, may_be_cut: bool, begun: str = "") -> bool:
    if begun and _stands(begun + text, schema, may_be_cut=may_be_cut):
        return True
    if not (may_be_cut or _is_json(text)):  # to mend it would take time, and change it
        return False
    try:
        return settled(text, schema, may_be_cut=may_be_cut) == text
    except WrongForm:
        return False


def settled(text: str, schema: Mapping[str, JSON] | None, *, may_be_cut: bool = False, begun: str = "") -> str:
    """`text` as it is where it is right, else mended. Raises WrongForm.

    may_be_cut  a stop string may have ended it: what lacks its end stays as it is. Another model's would end there too.
    begun       what it goes on from. It stays as it is where it is right with that, or by itself, since some models
                begin anew: mended it would be something else, for whoever puts the two together.
    """
    if begun:
        try:
            settled(begun + text, schema, may_be_cut=may_be_cut)
        except WrongForm:
            settled(text, schema, may_be_cut=may_be_cut)
        return text
    form = Form(schema) if schema is not None else None
    fits = is_object if form is None else lambda one: not form.wrong_with(one)
    value = json_in(text, fits, may_be_cut=may_be_cut)
    if value is CUT:
        return text
    if value is MISSING:
        raise WrongForm("The model's answer is not JSON, as it was asked to be, or not surely the one that was meant.")
    if form is None and not isinstance(value, dict | list):
        raise WrongForm("The model's answer is no JSON object, as it was asked to be.")
    if form is not None and (wrong := form.wrong_with(value)):
        raise WrongForm(f"The model's answer does not fit the JSON Schema that was asked for: {wrong}")
    return text if _is_json(text) else json.dumps(value, ensure_ascii=False)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
