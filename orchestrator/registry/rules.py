"""What does not fit together in a document whose fields are right one by one. Nothing is asked over a network."""

from __future__ import annotations

import re
from collections.abc import Iterator

from django.conf import settings

from orchestrator.core.documents import Fault
from orchestrator.core.presets import BY_NAME, is_at
from orchestrator.modelhost.names import as_compared, is_name
from orchestrator.registry.document import Document, ModelPart, ProviderPart
from orchestrator.registry.entries import LOCAL

# Names that mean something else: this machine, the choice that is left to us, and engines of our own.
TAKEN = {LOCAL, "auto", "llamacpp", "router"}
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+-]*(/[A-Za-z0-9_.:@+-]+)*")
MOST_SHOWN = 16  # models of a circle
SOURCES = (":local", ":cloud", "-cloud")  # Ollama's words for where a model runs
# What questions are made of, in any of the protocols; the rest of a body is an operator's to add to.
SENT = frozenset(
    {
        "contents",
        "context",
        "dimensions",
        "encoding_format",
        "format",
        "frequency_penalty",
        "generationConfig",
        "images",
        "input",
        "keep_alive",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "n",
        "options",
        "output_config",
        "presence_penalty",
        "prompt",
        "random_seed",
        "raw",
        "reasoning",
        "reasoning_effort",
        "requests",
        "response_format",
        "seed",
        "shift",
        "stop",
        "stop_sequences",
        "stream",
        "stream_options",
        "suffix",
        "system",
        "systemInstruction",
        "temperature",
        "template",
        "think",
        "thinking",
        "toolConfig",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "truncate",
        "usage",
    }
)


def faults_in(document: Document) -> list[Fault]:
    """Everything that does not fit together."""
    found = [*_providers(document), *_names(document)]
    for name, model in document.models.items():
        found += _model(name, model, document)
    return found + list(_circles(document))


def _providers(document: Document) -> Iterator[Fault]:
    for name, provider in document.providers.items():
        place = ("providers", name)
        if name in TAKEN:
            yield Fault(place, f"{name!r} means something else here; choose another name")
        if name in BY_NAME and provider.kind != name:
            yield Fault(
                (*place, "kind"), f"a provider called {name} is of the kind {name}; choose another name or kind"
            )
        if provider.address and is_at(provider.address, settings.ADDRESS.host, settings.ADDRESS.port):
            yield Fault((*place, "address"), "that is this server itself, which would ask in circles")
        if reserved := sorted(SENT & provider.extra_body.keys()):
            yield Fault((*place, "extra_body"), f"what questions are made of cannot be set here: {', '.join(reserved)}")
        yield from _times(place, provider)


def _times(place: tuple[str, ...], provider: ProviderPart) -> Iterator[Fault]:
    """What is waited for last has the longest time; what is not said here may be anything."""
    shorter_first = (
        ("first_token_timeout_s", "answer_timeout_s"),
        ("token_timeout_s", "answer_timeout_s"),
        ("slow_after_s", "first_token_timeout_s"),
    )
    for shorter, longer in shorter_first:
        short_s, long_s = getattr(provider, shorter), getattr(provider, longer)
        if short_s is not None and long_s is not None and short_s > long_s:
            yield Fault((*place, shorter), f"{short_s:g} s are more than {longer} allows, {long_s:g} s")


def _names(document: Document) -> Iterator[Fault]:
    """Names and aliases: each means one model."""
    seen: dict[str, str] = {}
    for name, model in document.models.items():
        places = [(("models", name), name), *((("models", name, "aliases", i), a) for i, a in enumerate(model.aliases))]
        for place, one in places:
            if words := _why_no_name(one):
                yield Fault(place, words)
            elif (other := seen.setdefault(as_compared(one), name)) != name or (
                place[2:] and as_compared(one) == as_compared(name)
            ):
                yield Fault(place, f"{one!r} is a name of the model {other!r} already")
        provider = [one.partition("/")[0] if "/" in one else "" for one in model.aliases]
        for index, prefix in enumerate(provider):
            if prefix in document.providers or prefix in BY_NAME:
                place = ("models", name, "aliases", index)
                yield Fault(place, f"that is a model of the provider {prefix}; an alias cannot stand for another one")
        yield from _twice(("models", name, "aliases"), [as_compared(one) for one in model.aliases])


def _why_no_name(name: str) -> str:
    if as_compared(name) == "auto":
        return "'auto' leaves the choice to us; choose another name"
    if not NAME.fullmatch(name):
        return "a name is of letters, digits and _ . : @ + -, with / between its parts"
    if name.lower().endswith(SOURCES):
        return f"a name cannot end with {' or '.join(SOURCES)}: to Ollama's clients that says where a model runs"
    return ""


def _model(name: str, model: ModelPart, document: Document) -> Iterator[Fault]:
    place = ("models", name)
    for index, one in enumerate(model.deployments):
        at = (*place, "deployments", index)
        if one.provider != LOCAL and one.provider not in document.providers:
            yield Fault((*at, "provider"), f"there is no provider {one.provider!r} here; `local` is this machine")
        if (one.input_price is None) != (one.output_price is None):
            missing = "input_price" if one.input_price is None else "output_price"
            yield Fault((*at, missing), "input_price and output_price are given together; 0 is for free")
        if one.provider == LOCAL and not is_name(one.remote_name):
            yield Fault((*at, "remote_name"), "no local model can be called so")
    yield from _twice((*place, "deployments"), [(one.provider, one.remote_name) for one in model.deployments])
    yield from _twice((*place, "tags"), model.tags)
    yield from _twice((*place, "capabilities"), model.capabilities)
    yield from _twice((*place, "fallbacks"), [as_compared(one) for one in model.fallbacks])
    for index, fallback in enumerate(model.fallbacks):
        if words := _why_no_name(fallback):
            yield Fault((*place, "fallbacks", index), words)
        elif as_compared(fallback) in {as_compared(one) for one in (name, *model.aliases)}:
            yield Fault((*place, "fallbacks", index), "a model cannot take its own place")
    if model.hedge_after_s is not None and len(model.deployments) < 2:
        yield Fault((*place, "hedge_after_s"), "there is no second deployment to ask")


def _twice(place: tuple[str | int, ...], values: list[object] | list[str] | list[tuple[str, str]]) -> Iterator[Fault]:
    seen: set[object] = set()
    for index, value in enumerate(values):
        if value in seen:
            yield Fault((*place, index), "it is there twice")
        seen.add(value)


def _circles(document: Document) -> Iterator[Fault]:
    """Fallbacks that lead back to where they began. Told once at each model that they lead back to.

    Each fallback is looked at once, however many lead on from it.
    """
    means = {as_compared(one): name for name, model in document.models.items() for one in (name, *model.aliases)}
    leads = {
        name: [means[as_compared(one)] for one in model.fallbacks if means.get(as_compared(one), name) != name]
        for name, model in document.models.items()
    }
    passed: set[str] = set()  # whatever they lead to was looked at
    told: set[str] = set()
    for start in leads:
        path: list[str] = []
        places: dict[str, int] = {}  # in the path
        waiting = [iter([start])]
        while waiting:
            name = next(waiting[-1], None)
            if name is None:
                waiting.pop()
                if path:
                    passed.add(path[-1])
                    del places[path.pop()]
            elif name in places:
                if name not in told:
                    told.add(name)
                    yield Fault(("models", name, "fallbacks"), _circle(path, places[name]))
            elif name not in passed:
                places[name] = len(path)
                path.append(name)
                waiting.append(iter(leads[name]))


def _circle(path: list[str], begins: int) -> str:
    shown = path[begins : begins + MOST_SHOWN]
    between = [f"{len(path) - begins - MOST_SHOWN} more"] if len(path) - begins > MOST_SHOWN else []
    return f"they lead in a circle: {' → '.join([*shown, *between, path[begins]])}"
