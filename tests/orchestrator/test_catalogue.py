"""What the registry names, providers list and this machine holds are one set of models."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from orchestrator.catalogue import Catalogue
from orchestrator.core.clock import Clock
from orchestrator.core.errors import ModelNotFound
from orchestrator.core.prices import Price
from orchestrator.core.types import Caller, Model
from orchestrator.parts import Parts
from orchestrator.registry.entries import LOCAL, DeploymentEntry, ModelEntry, ProviderEntry, Registry
from orchestrator.routes import choose, plans_for
from orchestrator.wiring import engine_for
from tests.fakes import FakeEngine
from tests.orchestrator.test_pipeline import question


class MadeEngine(FakeEngine):
    """A provider's engine, as the registry has it made."""

    def __init__(self, entry: ProviderEntry) -> None:
        super().__init__(entry.name, f"{entry.name}/big", is_paid=entry.is_paid)
        self.entry = entry
        self.is_closed = self.is_retired = False
        self.model = replace(self.model, digest=entry.address)

    def look(self) -> None:
        pass

    def name_of(self, remote_name: str) -> str:
        return f"{self.name}/{remote_name}"

    def known(self) -> list[object]:
        return [self.model]

    async def retire(self) -> None:
        await asyncio.Event().wait()  # a call that never ends

    async def aclose(self) -> None:
        self.is_closed = True


OPENAI = ProviderEntry(name="openai", kind="openai", address="https://one.example", key="k")
GROQ = ProviderEntry(name="groq", kind="groq", address="https://two.example", key="k")


@pytest.fixture
def made() -> list[MadeEngine]:
    return []


@pytest.fixture
def catalogue(made: list[MadeEngine]) -> Catalogue:
    def make(entry: ProviderEntry) -> MadeEngine:
        made.append(MadeEngine(entry))
        return made[-1]

    return Catalogue([FakeEngine()], make)  # type: ignore[arg-type]  # a fake


def at(provider: str, name: str = "big", **fields: object) -> DeploymentEntry:
    return DeploymentEntry(provider=provider, remote_name=name, **fields)  # type: ignore[arg-type]  # fields of it


def model(name: str, *deployments: DeploymentEntry, **fields: object) -> ModelEntry:
    return ModelEntry(name=name, deployments=deployments, **fields)  # type: ignore[arg-type]  # fields of it


async def names(catalogue: Catalogue) -> list[str]:
    return [model.name for model in await catalogue.models()]


async def found_as(catalogue: Catalogue, name: str) -> Model | None:
    route = await catalogue.route(name)
    return route.model if route else None


async def test_engines_are_kept_while_nothing_of_them_changes(catalogue: Catalogue, made: list[MadeEngine]) -> None:
    catalogue.apply(Registry(providers=(OPENAI, GROQ)))
    catalogue.apply(Registry(providers=(replace(OPENAI, reset_at=5.0, most_calls=3), GROQ), models=(model("m"),)))
    assert len(made) == 2
    catalogue.apply(Registry(providers=(replace(OPENAI, key="another"),)))
    assert [one.entry.key for one in made] == ["k", "k", "another"]
    await catalogue.aclose()
    assert [one.is_closed for one in made] == [True, True, True]


async def test_registered_models_are_listed_before_those_of_engines(catalogue: Catalogue) -> None:
    catalogue.apply(Registry(providers=(OPENAI, replace(GROQ, lists_models=False)), models=(model("m", at("groq")),)))
    assert await names(catalogue) == ["m", "openai/big", "tiny:latest"]


async def test_a_model_that_can_be_had_nowhere_is_not_listed_and_says_why(catalogue: Catalogue) -> None:
    catalogue.apply(Registry(models=(model("m", at("groq")), ModelEntry(name="off", is_deployed=True))))
    assert await names(catalogue) == ["tiny:latest"]
    with pytest.raises(ModelNotFound, match=r"no place to ask it is set up \(groq/big\)"):
        await catalogue.route("m")
    with pytest.raises(ModelNotFound, match="is registered"):
        await catalogue.route("off")


async def test_answers_are_kept_for_a_model_as_it_is_deployed(catalogue: Catalogue) -> None:
    async def digest(*deployments: DeploymentEntry) -> str:
        catalogue.apply(Registry(providers=(OPENAI, GROQ), models=(model("m", *deployments),)))
        found = await found_as(catalogue, "m")
        assert found is not None
        return found.digest

    alone = await digest(at("openai"))
    assert await digest(at("openai", rank=3, weight=5)) == alone
    assert len({alone, await digest(at("openai"), at("groq")), await digest(at("local", "tiny"))}) == 3


async def test_what_the_registry_knows_better_holds(catalogue: Catalogue) -> None:
    priced = at("openai", input_price=Decimal("1.5"), output_price=Decimal(6))
    entry = model("m", priced, context_length=4096, capabilities=frozenset({"completion"}))
    catalogue.apply(Registry(providers=(OPENAI,), models=(entry,)))
    route = await catalogue.route("m")
    assert route is not None
    (candidate,) = route.candidates
    assert candidate.model.price == Price(input=Decimal("1.5"), output=Decimal(6), source="operator")
    assert (candidate.model.context_length, candidate.model.capabilities) == (4096, {"completion"})
    assert (route.model.name, route.model.is_paid) == ("m", True)


async def test_fallbacks_come_after_every_deployment_and_are_not_followed_further(catalogue: Catalogue) -> None:
    first = model("first", at("openai"), at("groq", rank=2), fallbacks=("second", "tiny", "nowhere"))
    second = model("second", at("groq"), fallbacks=("first",))
    catalogue.apply(Registry(providers=(OPENAI, GROQ), models=(first, second)))
    route = await catalogue.route("first")
    assert route is not None
    places = [(one.model.name, one.stands_for.name, one.rank) for one in route.candidates]
    assert places == [
        *(("openai/big", "first", 0), ("groq/big", "first", 2)),
        *(("groq/big", "second", 3), ("tiny:latest", "tiny:latest", 4)),
    ]


async def test_an_entry_without_deployments_describes_the_model_that_is_called_so(catalogue: Catalogue) -> None:
    catalogue.apply(Registry(providers=(OPENAI,)))
    plain = await found_as(catalogue, "openai/big")
    entry = ModelEntry(name="openai/big", aliases=("gpt",), fallbacks=("tiny",))
    catalogue.apply(Registry(providers=(OPENAI,), models=(entry,)))
    assert await found_as(catalogue, "gpt") == plain
    assert await names(catalogue) == ["openai/big", "tiny:latest"]


async def test_a_place_that_is_off_is_told_in_the_route_and_where_nothing_is_left(catalogue: Catalogue) -> None:
    catalogue.off = {"groq": "it is switched off"}
    entry = model("m", at("groq"), at("openai", rank=1))
    catalogue.apply(Registry(providers=(OPENAI,), models=(entry,)))
    route = await catalogue.route("m")
    assert route is not None
    assert route.reason == "named; off: groq/big"
    catalogue.apply(Registry(models=(model("m", at("groq")),)))
    with pytest.raises(ModelNotFound, match="groq is off: it is switched off"):
        await catalogue.route("m")


async def test_a_later_place_that_is_off_is_nobodys_business(catalogue: Catalogue) -> None:
    catalogue.apply(Registry(providers=(OPENAI,), models=(model("m", at("openai"), at("groq", rank=1)),)))
    route = await catalogue.route("m")
    assert route is not None
    assert route.reason == "named"


async def test_a_model_that_is_switched_off_is_not_the_one_that_is_called_so_anyway(catalogue: Catalogue) -> None:
    entries = (ModelEntry(name="openai/big", is_off=True), ModelEntry(name="tiny:latest", is_off=True))
    catalogue.apply(Registry(providers=(OPENAI,), models=entries))
    assert await names(catalogue) == []
    for name in ("openai/big", "tiny:latest"):
        with pytest.raises(ModelNotFound, match="switched off"):
            await catalogue.route(name)


async def test_a_price_makes_a_place_charge(catalogue: Catalogue) -> None:
    own = ProviderEntry(name="own", kind="compatible", address="http://own.example", is_paid=False)
    priced = at("own", input_price=Decimal(3), output_price=Decimal(15))
    catalogue.apply(Registry(providers=(own,), models=(model("m", priced), model("free", at("own")))))
    paid, free = await found_as(catalogue, "m"), await found_as(catalogue, "free")
    assert paid is not None
    assert free is not None
    assert (paid.is_paid, free.is_paid) == (True, False)


async def test_who_changed_is_told(catalogue: Catalogue) -> None:
    assert catalogue.apply(Registry(providers=(OPENAI, GROQ))) == set()
    assert catalogue.apply(Registry(providers=(replace(OPENAI, key="another"), replace(GROQ, reset_at=1)))) == {
        "openai"
    }
    assert catalogue.apply(Registry()) == {"openai", "groq"}
    await catalogue.aclose()


async def test_a_provider_that_goes_while_a_question_comes_leaves_the_other_places(parts: Parts) -> None:
    parts.catalogue.apply(Registry(models=(ModelEntry(name="openai/big", fallbacks=("tiny",)),)))
    route = await choose(question(model="openai/big"), Caller(tenant_id=1, tenant="acme"), parts)
    del parts.catalogue._always["openai"]
    plans = plans_for(route, question(model="openai/big"), Caller(tenant_id=1, tenant="acme"), parts)
    assert [plan.name for plan in plans] == ["tiny:latest"]


PLACES = [
    ("gemini", "models/gemini-pro", "at/gemini-pro"),
    ("gemini", "Gemini-Pro", "at/gemini-pro"),
    ("ollama", "llama3", "at/llama3:latest"),
    ("ollama", "llama3:latest", "at/llama3"),
    ("local", "https://registry.ollama.ai/library/Tiny:latest:local", "tiny:latest"),
]


@pytest.mark.parametrize(("kind", "there", "own"), PLACES)
async def test_a_place_is_known_by_its_own_name_however_the_registry_writes_it(kind: str, there: str, own: str) -> None:
    catalogue = Catalogue([FakeEngine()], lambda entry: engine_for(entry, Clock()))  # type: ignore[list-item]  # a fake
    provider = ProviderEntry(name="at", kind=kind, address="http://127.0.0.1:9", key="k")
    place = DeploymentEntry(provider=LOCAL if kind == "local" else "at", remote_name=there)
    ours = ModelEntry(name="ours", aliases=("fast",), deployments=(place,))
    catalogue.apply(Registry(providers=() if kind == "local" else (provider,), models=(ours,)))
    assert (catalogue.places_of(own), catalogue.places_of("ours")) == (("ours",), ())
    route = await catalogue.route(own)
    assert route is not None
    assert [one.places_of for one in route.candidates] == [("ours",)]
    await catalogue.aclose()
