"""A model that is chosen has the price that holds where it runs, by its number."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from orchestrator.catalogue import Catalogue
from orchestrator.core.prices import Price, Stated
from orchestrator.core.types import Candidate, Model
from orchestrator.models import PriceRow
from orchestrator.pricing.book import PriceBook
from orchestrator.registry.entries import DeploymentEntry, ModelEntry, ProviderEntry, Registry
from routing.router import in_turn
from tests.fakes import FakeEngine, SetClock
from tests.orchestrator.test_catalogue import MadeEngine

OPENAI = ProviderEntry(name="openai", kind="openai", address="https://api.openai.com/v1", key="k")
ROUTER = ProviderEntry(name="openrouter", kind="openrouter", address="https://openrouter.ai/api/v1", key="k")
OWN = ProviderEntry(name="own", kind="compatible", address="http://gpu:8000/v1", is_paid=False)
XAI = ProviderEntry(name="xai", kind="compatible", address="https://api.x.ai/v1", is_paid=True, is_paid_by_default=True)
Chosen = Callable[[str], Awaitable[Candidate]]
LISTED = Price(input=Decimal(3), output=Decimal(15))


class Sells(MadeEngine):
    """A provider whatever is asked of it, that lists a price for one model."""

    async def find(self, name: str) -> Model | None:
        provider, _, remote_name = name.partition("/")
        if provider != self.name:
            return None
        price = LISTED if remote_name == "listed" else None
        return replace(self.model, name=name, remote_name=remote_name, price=price)


@pytest.fixture
async def catalogue(transactional_db: None) -> AsyncIterator[Catalogue]:
    catalogue = Catalogue([FakeEngine()], Sells, PriceBook(SetClock()))  # type: ignore[arg-type]  # a fake
    catalogue.apply(Registry(providers=(OPENAI, ROUTER, OWN, XAI)))
    yield catalogue
    for made in list(catalogue._made.values()):
        made[1].retire = made[1].aclose  # type: ignore[method-assign]  # no call of it is under way
    await catalogue.aclose()


@pytest.fixture
def chosen(catalogue: Catalogue) -> Chosen:
    async def choose(name: str) -> Candidate:
        route = await catalogue.route(name)
        assert route is not None
        return route.candidates[0]

    return choose


async def test_the_first_question_already_has_the_price_and_its_number(catalogue: Catalogue, chosen: Chosen) -> None:
    price = (await chosen("openai/gpt-4o")).model.price
    assert price.source.startswith("genai-prices")
    row = await PriceRow.objects.aget()
    assert (row.pk, row.provider, row.model) == (price.number, "openai", "gpt-4o")
    assert row.last_used_at is None, "nothing was charged by it"


async def test_what_a_provider_lists_is_before_the_table(catalogue: Catalogue, chosen: Chosen) -> None:
    price = (await chosen("openrouter/listed")).model.price
    assert price == replace(LISTED, source="list", number=price.number)
    assert price.number


async def test_an_unknown_price_is_unknown_and_paid(catalogue: Catalogue, chosen: Chosen) -> None:
    model = (await chosen("openai/made-up")).model
    assert (model.price, model.is_paid) == (None, True)


async def test_a_server_of_ones_own_is_free_unless_an_operator_says_what_it_takes(
    catalogue: Catalogue, chosen: Chosen
) -> None:
    for name in ("own/gpt-4o", "own/listed"):
        model = (await chosen(name)).model
        assert model.is_paid is False
    said = Stated(provider="own", model="gpt-4o", since=0.0, price=LISTED)
    catalogue.apply(replace(catalogue.registry, stated=(said,)))
    model = (await chosen("own/gpt-4o")).model
    assert (model.is_paid, model.price) == (True, replace(LISTED, source="operator", number=model.price.number))
    assert (await chosen("own/listed")).model.is_paid is False


async def test_a_known_seller_is_known_by_its_address(catalogue: Catalogue, chosen: Chosen) -> None:
    assert (await chosen("xai/grok-4")).model.price.source.startswith("genai-prices")


async def test_what_is_stated_holds_for_every_way_to_the_model(catalogue: Catalogue, chosen: Chosen) -> None:
    deployment = DeploymentEntry(
        provider="openai", remote_name="gpt-4o", input_price=Decimal(1), output_price=Decimal(2)
    )
    models = (ModelEntry(name="smart", deployments=(deployment,)),)
    catalogue.apply(replace(catalogue.registry, models=models))
    assert (await chosen("smart")).model.price.input == 1
    assert (await chosen("openai/gpt-4o")).model.price.source.startswith("genai-prices")
    said = Stated(provider="openai", model="gpt-4o", since=0.0, price=LISTED)
    catalogue.apply(replace(catalogue.registry, stated=(said,)))
    assert (await chosen("smart")).model.price.input == (await chosen("openai/gpt-4o")).model.price.input == 3


@pytest.mark.parametrize(
    ("body", "is_known"),
    [
        ({"service_tier": "priority"}, False),
        ({"server_tools": []}, False),
        ({"n": 3}, False),
        ({"search_parameters": {}}, False),
        ({"service_tier": "default", "seed": 1}, True),
    ],
    ids=str,
)
async def test_what_is_sent_along_and_charged_for_makes_the_price_unknown(
    catalogue: Catalogue, chosen: Chosen, body: dict[str, Any], *, is_known: bool
) -> None:
    catalogue.apply(replace(catalogue.registry, providers=(replace(OPENAI, extra_body=body),)))
    assert ((await chosen("openai/gpt-4o")).model.price is not None) == is_known


async def test_registered_models_have_theirs_before_anybody_asks(catalogue: Catalogue) -> None:
    names = ("gpt-4o", "gpt-4o-mini", "made-up")
    models = tuple(
        ModelEntry(name=name, deployments=(DeploymentEntry(provider="openai", remote_name=name),)) for name in names
    )
    catalogue.apply(replace(catalogue.registry, models=models))
    await catalogue.look_up_prices()
    assert {row.model async for row in PriceRow.objects.all()} == {"gpt-4o", "gpt-4o-mini"}
    listed = {model.name: model.price for model in await catalogue.models()}
    assert [bool(listed[name]) for name in names] == [True, True, False]


async def test_a_model_that_was_taken_from_a_list_has_its_price_as_well(catalogue: Catalogue) -> None:
    """As of those that `auto` chooses from."""
    await catalogue.models()
    here = await FakeEngine().models()
    sold = [
        replace(made.known()[0], remote_name=model, price=listed)
        for (_, made), model, listed in zip(
            [catalogue._made["openai"], catalogue._made["openrouter"]],
            ("gpt-4o", "listed"),
            (None, LISTED),
            strict=True,
        )
    ]
    route = await catalogue.priced(in_turn([*here, *sold], "auto"))
    assert [one.model is one.stands_for for one in route.candidates] == [True] * 3
    assert route.model is route.candidates[0].model
    assert route.model.price is None
    prices = [one.model.price for one in route.candidates[1:]]
    assert [price and price.source.partition(" ")[0] for price in prices] == ["genai-prices", "list"]
    assert all(price and price.number for price in prices)
    again = await catalogue.priced(route)
    assert [one.model.price for one in again.candidates[1:]] == prices


async def test_models_of_unknown_price_are_named_where_somebody_has_to_do_with_them(
    catalogue: Catalogue, chosen: Chosen, caplog: pytest.LogCaptureFixture
) -> None:
    models = tuple(
        ModelEntry(name=name, deployments=(DeploymentEntry(provider="openai", remote_name=name),))
        for name in ("gpt-4o", "new", "newer")
    )
    catalogue.apply(replace(catalogue.registry, models=models))
    await catalogue.look_up_prices()
    await chosen("openai/made-up")  # by a caller, who may make up any name
    assert catalogue.unpriced("openai") == ["new", "newer"]
    assert catalogue.unpriced("own") == catalogue.unpriced("nobody") == []
    catalogue.apply(
        replace(catalogue.registry, stated=(Stated(provider="openai", model="new", since=0.0, price=LISTED),))
    )
    await catalogue.look_up_prices()
    assert catalogue.unpriced("openai") == ["newer"]
    said = [line for line in caplog.messages if "no price is known" in line]
    assert [line.rpartition(" ")[2] for line in said] == ["openai/new`", "openai/newer`"]
