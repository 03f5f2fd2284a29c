"""Which engines exist, and which of them has the model a name means."""

from collections.abc import Sequence

from orchestrator.core.types import Model
from orchestrator.engines.base import Engine


class Catalogue:
    """All engines as one: the first that knows a name has it."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = {engine.name: engine for engine in engines}

    def engine_of(self, model: Model) -> Engine:
        """The engine that runs `model`."""
        return self._engines[model.engine]

    async def find(self, name: str) -> Model | None:
        """The model a caller's `name` means; None when no engine has it."""
        for engine in self._engines.values():
            if model := await engine.find(name):
                return model
        return None

    async def models(self) -> list[Model]:
        """Every model of every engine."""
        return [model for engine in self._engines.values() for model in await engine.models()]

    async def aclose(self) -> None:
        """Close every engine's connections."""
        for engine in self._engines.values():
            await engine.aclose()
