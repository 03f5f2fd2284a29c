"""A store with the embedded model in it."""

from pathlib import Path

import pytest

from orchestrator.modelhost.embedded import install_embedded
from orchestrator.modelhost.store import Store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Holds the embedded model; to be read only."""
    store = Store(tmp_path_factory.mktemp("models"))
    install_embedded(store)
    return store


@pytest.fixture
def empty_store(tmp_path: Path) -> Store:
    """Holds nothing yet."""
    return Store(tmp_path / "models")
