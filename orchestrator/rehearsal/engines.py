"""Engines that answer what is written in a replayed day, at once: nothing leaves this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from orchestrator.core.types import ChatRequest, Chunk, Done, Model, Usage
from orchestrator.registry.entries import ProviderEntry
from orchestrator.weighing.meaning import MODEL, MOST_TEXT

Tokens = Callable[[str], Usage]  # of a request, by its id
_MEANS = Model(name=f"{MODEL}:latest", digest=MODEL, engine="llamacpp", capabilities=frozenset({"embedding"}))


class ScriptedEngine:
    """A provider: its models answer with as many tokens as the trace says."""

    def __init__(self, name: str, models: Sequence[Model], tokens: Tokens) -> None:
        self.name, self.is_retired = name, False
        self._models = {model.name: model for model in models}
        self._tokens = tokens

    async def chat(self, request: ChatRequest, model: Model) -> AsyncGenerator[Chunk, None]:
        """The answer in one piece."""
        usage = self._tokens(request.request_id)
        yield Chunk(text="word " * max(usage.completion_tokens, 1))
        yield Chunk(done=Done(reason="stop", usage=usage))

    async def models(self) -> list[Model]:
        """All it has."""
        return self.known()

    def known(self) -> list[Model]:
        """The same."""
        return list(self._models.values())

    async def find(self, name: str) -> Model | None:
        """By its full name."""
        return self._models.get(name)

    def look(self) -> None:
        """It knows what it has."""

    def name_of(self, remote_name: str) -> str:
        """As it is."""
        return f"{self.name}/{remote_name}"

    async def retire(self) -> None:
        """There is nothing to close."""

    async def aclose(self) -> None:
        """There is nothing to close."""


class ScriptedHost(ScriptedEngine):
    """What runs here: the small models, and the one for vectors, which has those of all questions."""

    def __init__(self, name: str, models: Sequence[Model], tokens: Tokens, vectors: Mapping[str, bytes]) -> None:
        """`vectors` are by the beginning of a text."""
        super().__init__(name, models, tokens)
        self._vectors = vectors
        self._none = bytes(len(next(iter(vectors.values()))))

    async def chat(self, request: ChatRequest, model: Model) -> AsyncGenerator[Chunk, None]:
        """An answer, or vectors."""
        if request.inputs is None:
            async for chunk in super().chat(request, model):
                yield chunk
            return
        yield Chunk(vectors=tuple(self._vectors.get(text[:MOST_TEXT], self._none) for text in request.inputs))
        yield Chunk(done=Done(reason="stop"))

    async def find(self, name: str) -> Model | None:
        """That of vectors, too."""
        return _MEANS if name == MODEL else await super().find(name)

    async def load(self, model: Model, keep_alive_s: float | None, options: Any = None) -> None:
        """It is always loaded."""


def maker(models: Sequence[Model], tokens: Tokens) -> Callable[[ProviderEntry], ScriptedEngine]:
    """What makes the engine of a provider of the registry."""

    def make(entry: ProviderEntry) -> ScriptedEngine:
        return ScriptedEngine(entry.name, [model for model in models if model.engine == entry.name], tokens)

    return make
