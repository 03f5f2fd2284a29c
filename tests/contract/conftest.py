"""What the tables of facts are checked against."""

from __future__ import annotations

import httpx
import pytest

from tests.contract.facts import Scene
from tests.fakes import FakeEngine


@pytest.fixture
def scene(client: httpx.AsyncClient, engine: FakeEngine, cloud: FakeEngine) -> Scene:
    """The API in this process."""
    return Scene(client, engine, cloud)
