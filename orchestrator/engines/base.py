"""What every engine is: something that answers a `ChatRequest` with chunks."""

from typing import Protocol

from orchestrator.core.types import ChatRequest, Chunks, Model


class Engine(Protocol):
    """Runs models, here or elsewhere."""

    name: str

    def chat(self, request: ChatRequest, model: Model) -> Chunks:
        """Yield the answer as it is made; the last chunk, and only that, has `done`.

        Closing the iterator stops the work at once. Raises EngineError before the first chunk when
        the answer could not be begun, later when it broke off; a stream that just ends is an error.
        """
        ...

    async def models(self) -> list[Model]:
        """What can be asked of it, from memory where that is fresh enough."""
        ...

    async def find(self, name: str) -> Model | None:
        """The model a caller's `name` means; None when this engine does not have it."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class ProviderEngine(Engine, Protocol):
    """An engine that can be replaced while it is in use."""

    is_retired: bool  # it was: what is under way may end, nothing more begins

    def look(self) -> None:
        """Begin to ask which models there are."""
        ...

    def name_of(self, remote_name: str) -> str:
        """What a model of it is called here, however its provider's name is written; nobody is asked."""
        ...

    def known(self) -> list[Model]:
        """What it listed when it was last asked."""
        ...

    async def retire(self) -> None:
        """Close the connections when the last call under way has ended. Nobody begins another."""
        ...
