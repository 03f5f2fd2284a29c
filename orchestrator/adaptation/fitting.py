"""How a question and a model are made to fit each other."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.adaptation import json_answers, prefill, stops, system_role, tool_calls, trimming
from orchestrator.core.types import ChatRequest, Chunk, Chunks, Model, Reply

Wish = Literal["never", "chosen", "always"]  # for which models it is done: those that a rule or the router chose
Step = Callable[[Chunks], AsyncGenerator[Chunk, None]]
Check = Callable[[Reply], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Fit:
    """A question as a model can take it, and what is done with its answer.

    steps  in the order they are done, each with the pieces that the one before it passes on.
    said   what was adapted, in words for the record: tools, format, stop, system, context, prefill.
    check  whether an answer that is heard unchecked will do for whoever is promised a checked one; None: it is checked,
           or nobody is.
    """

    request: ChatRequest
    steps: tuple[Step, ...] = ()
    said: tuple[str, ...] = ()
    check: Check | None = None

    def as_asked(self, sent: ChatRequest, wanted: ChatRequest) -> ChatRequest:
        """What is `sent`, with what is done here in the model's place: the answer depends on both.

        wanted  the question as it was before.
        """
        if "tools" in self.said:
            sent = replace(sent, tools=wanted.tools)
        if "format" in self.said:
            sent = replace(sent, format=wanted.format)
        if "stop" in self.said:
            sent = replace(sent, options={**sent.options, "stop": wanted.options["stop"]})
        return sent


def fit(
    request: ChatRequest, model: Model, *, is_chosen: bool, wish: Wish = "chosen", trims: bool | None = None
) -> Fit:
    """Put `request` so that `model` can answer it, where that can be done without changing what is asked.

    is_chosen  the caller did not name this model: it is ours to see that it can do what was asked. Who names a model
               hears what it cannot do in Ollama's own words.
    trims      whether the oldest turns are left out where all of them are too long; None: as it would be anyway.
    Raises ContextTooLong where they must not be and it is.
    """
    if wish == "never" or request.inputs is not None or "completion" not in model.capabilities:
        return Fit(request)
    is_for_all = is_chosen or wish == "always"
    steps: list[Step] = []
    said: list[str] = []
    check: Check | None = None
    wanted = request
    if request.tools and "tools" not in model.capabilities and is_for_all:
        request = tool_calls.in_words(request)
        steps.append(tool_calls.reading(wanted.tools, has_stops=bool(request.stops)))
        said.append("tools")
    if wanted.format and not wanted.tools and model.is_remote:
        is_taken = "format" in model.takes
        if not is_taken:
            request = json_answers.in_words(request)
            said.append("format")
        has_stops, begun = bool(request.stops), prefill.begun(wanted.messages)
        if is_taken and wanted.stream:  # whoever hears each piece hears it as it comes
            check = json_answers.standing(wanted.format, has_stops=has_stops, begun=begun)
        else:
            steps.append(json_answers.checking(wanted.format, has_stops=has_stops, begun=begun))
    if words := stops.untold(request, model):
        request = stops.without(request, words)
        steps.insert(0, stops.ending(words))
        said.append("stop")
    # After all that is told in words, which takes room, and before what the system says is in a turn that may go.
    if trims is not None and model.is_remote:
        trimmed = trimming.trimmed(request, model, must_fit=not trims)
        if trimmed is not request:
            request = trimmed
            said.append("context")
    turned, turns_said = _in_turns(request, model)
    return Fit(turned, tuple(steps), (*said, *turns_said), check)


def _in_turns(request: ChatRequest, model: Model) -> tuple[ChatRequest, list[str]]:
    """The same in turns that `model` takes, and what was adapted for that."""
    said: list[str] = []
    if system_role.is_lacking(model) and any(message.role == "system" for message in request.messages):
        request = replace(request, messages=system_role.folded(request.messages))
        said.append("system")
    if prefill.is_lacking(model) and prefill.begun(request.messages):
        request = replace(request, messages=prefill.asked_on(request.messages))
        said.append("prefill")
    return request, said
