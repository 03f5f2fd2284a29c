"""Rules that are published, keys that are shown, and a choice between a weak model here and a strong one."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from orchestrator.core.prices import Price
from orchestrator.core.threads import WorkerThread
from orchestrator.parts import Parts
from orchestrator.ruling.watch import RuleWatch
from routing.models import RuleVersion
from routing.rules.checking import read_document
from tests.choosing.asked import Make, Publish
from tests.fakes import FakeEngine
from tests.keys import issue_key


@pytest.fixture
async def publish(parts: Parts) -> Publish:
    """A function that publishes rules; those of `parts` are then kept up with, as in the product."""
    thread = WorkerThread("rules")
    watch = RuleWatch(thread, parts.generation.policy)
    object.__setattr__(parts, "rules", watch)
    watch.start()
    await watch.catch_up()

    async def publish(*rules: dict[str, Any], **auto: Any) -> None:
        document = {"rules": [{"name": f"rule {at}", **rule} for at, rule in enumerate(rules, 1)], "auto": auto}
        read_document(document)

        def save() -> None:
            number = RuleVersion.objects.count() + 1
            RuleVersion(number=number, at="2026-01-01T00:00:00Z", by="anna", document=document).save()

        await parts.managing.run(60, save)

    return publish


@pytest.fixture
def key(parts: Parts) -> Make:
    """Makes a key with scopes, as the headers that show it."""

    async def make(**scopes: Any) -> dict[str, str]:
        return {"x-api-key": await parts.reads.run(60, lambda: issue_key("web", "acme", **scopes))}

    return make


@pytest.fixture
def two_sides(parts: Parts, engine: FakeEngine, cloud: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weak model here, and a strong one for money, which its provider lists with its price."""
    cloud.model = replace(cloud.model, name="openai/big-70b", price=Price(input=Decimal(1), output=Decimal(2)))
    monkeypatch.setattr(parts.catalogue, "known", lambda: [cloud.model])
