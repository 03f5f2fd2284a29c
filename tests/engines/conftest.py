"""A model host with the embedded model, and the engine that asks it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from orchestrator.core.types import Model
from orchestrator.engines.llamacpp import LlamaCpp
from orchestrator.modelhost.embedded import NAME
from orchestrator.modelhost.minilm import open_store
from tests.modelhost.hosting import ModelHost


@pytest.fixture(scope="session")
def model_host() -> Iterator[ModelHost]:
    """One for all tests that leave it as they found it."""
    host = ModelHost(OLLAMA_NUM_PARALLEL="4")
    try:
        yield host.start()
    finally:
        host.clear()


@pytest.fixture
async def llama(model_host: ModelHost) -> AsyncIterator[LlamaCpp]:
    """The engine in front of the shared model host."""
    engine = LlamaCpp(model_host.socket, open_store(model_host.models_dir))
    yield engine
    await engine.aclose()


@pytest.fixture
async def model(llama: LlamaCpp) -> Model:
    """The embedded model."""
    found = await llama.find(NAME)
    assert found
    return found
