"""The models' pages: what they say, what they cost, who may do what there, with JavaScript and without."""

from __future__ import annotations

import asyncio
import dataclasses
import html
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import DatabaseError
from django.test import AsyncClient

from dashboard.llm import acts as model_acts
from dashboard.llm.rows import read_used
from dashboard.periods import DEFAULT
from dashboard.reading import reader
from orchestrator import wiring
from orchestrator.catalogue import Catalogue
from orchestrator.core.errors import ModelLoadFailed
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.core.prices import Price, Stated
from orchestrator.core.types import Model
from orchestrator.engines.cloud import Check
from orchestrator.engines.llamacpp import LoadedModel
from orchestrator.ledger.folding import Folder
from orchestrator.models import AuditEvent, Membership
from orchestrator.parts import Parts
from orchestrator.provider_checks import remember
from orchestrator.registry.entries import DeploymentEntry, ModelEntry, ProviderEntry, Registry
from orchestrator.registry.models import OpenBreaker, Provider
from tests.dashboard.site import FakeLocal, record

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]

LIST = "/dashboard/models/"
ACT = f"{LIST}act/"
FINE = Check(is_ok=True, took_s=0.2, words="lists 2 models", listed=2)
GONE = Check(is_ok=False, took_s=0.003, words="could not be reached")
OPENAI = ProviderEntry(name="openai", kind="openai", address="https://one.example", key="k")
SMART = ModelEntry(
    name="team/smart:v1",
    aliases=("clever",),
    deployments=(
        DeploymentEntry(provider="openai", remote_name="big"),
        DeploymentEntry(provider="gone", remote_name="big", rank=1),
    ),
)


def now() -> datetime:
    return datetime.now(UTC)


class Host(FakeLocal):
    """A model host that loads and unloads; `error` comes of loading, `busy` and `waiting` are so of who is loaded."""

    def __init__(self) -> None:
        self.stays: dict[str, float | None] = {"smollm2:135m": 5e9}
        self.error: Exception | None = None
        self.busy = 0
        self.waiting = 0
        self.loads: frozenset[str] = frozenset()

    async def loading(self) -> frozenset[str]:
        return self.loads

    async def ps(self) -> list[LoadedModel]:
        one = (await super().ps())[0]
        found = {model.name: model for model in await self.models()}
        return [
            dataclasses.replace(one, model=found[name], expires_at=at, busy=self.busy, waiting=self.waiting)
            for name, at in self.stays.items()
        ]

    async def find(self, name: str) -> Model | None:
        return next((model for model in await self.models() if model.name == name), None)

    async def load(self, model: Model, keep_alive_s: float | None = None) -> int:
        if self.error:
            raise self.error
        if keep_alive_s is not None or model.name not in self.stays:  # who says nothing leaves it as it is
            self.stays[model.name] = None if keep_alive_s is not None and keep_alive_s < 0 else 5e9
        return 1_200_000_000

    async def unload(self, model: Model) -> bool:
        return self.stays.pop(model.name, 0) != 0

    async def show(self, model: Model) -> Any:
        raise OSError("no file")


class Sells:
    """A provider's engine that lists what it has."""

    name = "openai"

    def __init__(self, entry: ProviderEntry) -> None:
        self.entry = entry
        self.listed = [listed("big", capabilities=frozenset({"completion", "tools", "vision"}), context_length=128000)]

    async def models(self) -> list[Model]:
        return self.listed

    async def find(self, name: str) -> Model | None:
        return next((one for one in self.listed if one.name == name), None)

    def look(self) -> None:
        pass

    def name_of(self, remote_name: str) -> str:
        return f"{self.name}/{remote_name}"

    def known(self) -> list[Model]:
        return self.listed

    async def aclose(self) -> None:
        pass


def listed(name: str, **fields: Any) -> Model:
    return Model(name=f"openai/{name}", digest="e" * 64, engine="openai", is_paid=True, remote_name=name, **fields)


@pytest.fixture
def local() -> Host:
    return Host()


@pytest.fixture
async def catalogue(console: Parts, local: Host, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Catalogue]:
    """One provider, and a model that is registered there."""
    catalogue = Catalogue([local], Sells)  # type: ignore[arg-type, list-item]  # fakes
    catalogue.apply(Registry(providers=(OPENAI,), models=(SMART,)))
    monkeypatch.setattr(wiring, "_parts", dataclasses.replace(console, catalogue=catalogue))
    yield catalogue
    monkeypatch.setattr(wiring, "_parts", console)


@pytest.fixture
async def staff(operator: User, catalogue: Catalogue) -> AsyncClient:
    """A client that is signed in as somebody who may do everything."""
    client = AsyncClient()
    await client.aforce_login(operator)
    return client


@pytest.fixture
async def onlooker(passer_by: User, catalogue: Catalogue) -> AsyncClient:
    """A client of somebody who may look and no more."""
    await Membership.objects.acreate(user=passer_by, role=Role.VIEWER)
    client = AsyncClient()
    await client.aforce_login(passer_by)
    return client


def text(response: Any) -> str:
    """The words of a page, tags taken out."""
    words = (
        re.sub(r"<[^>]+>", " ", response.content.decode())
        .replace("&#x27;", "'")
        .replace("\u202f", " ")
        .replace("&#8239;", " ")
    )
    return re.sub(r"\s+([.,:;])", r"\1", re.sub(r"\s+", " ", words))


def call(model: str, count: int = 1, **fields: Any) -> None:
    """Calls, a minute ago."""
    known = {"provider": model.partition("/")[0], "model": model, "tier": "miss", "engine_first_us": 412_000}
    for _ in range(count):
        record(now() - timedelta(minutes=1), **known | fields)


async def asked(client: AsyncClient, do: str, name: str, **fields: Any) -> str:
    """The words after an act on the list, as htmx has it."""
    more = "".join(f"&{key}={value}" for key, value in fields.items())
    answer = await client.post(f"{ACT}?do={do}&name={name}{more}", headers={"HX-Request": "true"})
    assert answer.status_code == 200
    return text(answer)


# What is said


async def test_what_is_loaded_and_how_much_memory_that_leaves(staff, settings):
    settings.MODEL_MEMORY = 8 * 1024**3
    words = text(await staff.get(LIST))
    assert "1 model loaded, 192 MB of 8 GB." in words
    assert "192 MB taken by models, 7.8 GB left of 8 GB" in words
    assert "qwen2.5:3b-instruct not loaded" in re.sub(r"\s+", " ", words)
    assert f"Models lie in {settings.MODELS_DIR}" in words


async def test_who_has_others_waiting_is_said(staff, local, settings):
    settings.MODEL_MEMORY = 400 * 1024**2
    local.busy, local.waiting = 4, 3
    words = text(await staff.get(LIST))
    assert "1 model loaded, 192 of 400 MB; smollm2:135m has 3 waiting." in words
    assert "busy, 3 waiting" in words


async def test_nothing_loaded_and_nothing_installed(staff, local, monkeypatch):
    local.stays.clear()
    assert "No model is loaded. 2 models are installed; one is loaded when it is asked." in text(await staff.get(LIST))

    async def none() -> list[Model]:
        return []

    monkeypatch.setattr(local, "models", none)
    words = text(await staff.get(LIST))
    assert "No local model is installed." in words
    assert "No model is installed on this machine" in words


async def test_a_host_that_is_down_leaves_the_cloud_part_standing(staff, local):
    local.is_down = True
    words = text(await staff.get(LIST))
    assert "The model host does not answer. It is started again by itself" in words
    assert "what is loaded is unknown" in words
    assert "openai/big" in words
    assert "Load smollm2" not in words
    assert "whether it is loaded is unknown" in text(await staff.get(f"{LIST}of/smollm2:135m/"))


async def test_places_show_price_health_abilities_and_use(staff, catalogue):
    catalogue.apply(
        dataclasses.replace(
            catalogue.registry,
            stated=(
                Stated(
                    provider="openai", model="big", since=0.0, price=Price(input=Decimal("2.50"), output=Decimal(10))
                ),
            ),
        )
    )
    await sync_to_async(remember)({"openai": FINE})
    await sync_to_async(call)("openai/big", 3, total_us=2_000_000)
    await sync_to_async(call)("openai/big", 1, outcome="engine_timeout", status=504)
    words = text(await staff.get(LIST))
    row = words[words.index("At providers") :]
    assert (
        "openai/big registered as team/smart:v1 answering 2.50 / 10.00 $ a million tools, images 128,000 4 requests"
        in row
    )
    assert "25.0 % failed" in row
    assert 'href="/dashboard/requests/?model=openai%2Fbig&amp;period=1h"' in (await staff.get(LIST)).content.decode()


async def test_a_price_nobody_knows_is_unknown_with_a_way_to_say_it(staff, onlooker):
    page = (await staff.get(LIST)).content.decode()
    assert re.search(r'href="/admin/registry/registeredmodel/\?q=team[^"]+">unknown</a>', page)
    assert '<span class="quiet">unknown</span>' in (await onlooker.get(LIST)).content.decode()


async def test_a_place_is_down_with_its_provider_or_rests_by_itself(staff):
    await sync_to_async(remember)({"openai": GONE})
    words = text(await staff.get(LIST))
    assert "openai/big is down" in words
    assert "OpenAI could not be reached" in words
    await sync_to_async(remember)({"openai": FINE})
    await OpenBreaker.objects.acreate(
        provider="openai", model="openai/big", worker="a:1", opened_at=now(), seen_at=now(), why="it was late"
    )
    reader.forget()
    words = text(await staff.get(f"{LIST}of/openai/big/"))
    assert "openai/big is resting. It was late." in words


async def test_three_hundred_are_shown_a_part_at_a_time_and_found_by_name(staff, catalogue):
    engine: Any = catalogue._made["openai"][1]
    engine.listed += [listed(f"m{number}") for number in range(300)]
    await sync_to_async(call)("openai/m299", 2)
    page = (await staff.get(LIST)).content.decode()
    part = page[page.index('id="elsewhere-region"') :]
    assert re.findall("<code>(openai/[^<]+)</code>", part)[:2] == ["openai/m299", "openai/big"]  # used, then registered
    assert part.count('class="row-link"') == 40
    assert "40 of 302" in text(await staff.get(LIST))
    assert (await staff.get(f"{LIST}?q=M29")).content.decode().count("<code>openai/m29") == 11
    assert (await staff.get(f"{LIST}?q=smart")).content.decode().count("<code>openai/") == 1
    assert "No model elsewhere is called so" in text(await staff.get(f"{LIST}?q=nobody"))


def test_the_requests_of_every_model_are_counted_however_many_there_are(transactional_db):
    for number in range(60):
        call(f"p/m{number:02}", 1 if number == 59 else 2)
    used = read_used(DEFAULT, EVERYBODY, now(), ())
    assert used.of("p/m59").requests == 1
    assert len(used.by_model) == 60


def test_it_takes_few_queries(transactional_db, django_assert_max_num_queries):
    names = [f"p{number}" for number in range(50)]
    Provider.objects.bulk_create(Provider(name=name, kind="compatible") for name in names[:45])
    remember(dict.fromkeys(names, GONE))
    for name in names:
        call(f"{name}/x")
    Folder().fold(5.0)  # as the worker does; how high numbers are by now says nothing then
    with django_assert_max_num_queries(9):
        used = read_used(DEFAULT, EVERYBODY, now(), names)
    assert len(used.by_model) == len(used.checks) == 50


async def test_a_ledger_that_cannot_be_read_leaves_the_acts(staff, monkeypatch):
    def broken(*_: Any) -> Any:
        raise DatabaseError("locked")

    monkeypatch.setattr("dashboard.reading.read_used", broken)
    words = text(await staff.get(LIST))
    assert "What was asked could not be read." in words
    assert "Unload smollm2:135m" in words
    assert "What was asked of it could not be read." in text(await staff.get(f"{LIST}of/openai/big/"))


async def test_a_name_cannot_write_into_the_page(staff, catalogue):
    evil = "<script>alert(1)</script>"
    catalogue.apply(dataclasses.replace(catalogue.registry, models=(ModelEntry(name=evil),)))
    await sync_to_async(call)(f"openai/{evil}")
    for path in (LIST, f"{LIST}?q={evil}", f"{LIST}of/openai/{evil}/", f"{LIST}of/{evil}/"):
        answer = await staff.get(path)
        assert answer.status_code == 200, path
        assert "<script>alert" not in answer.content.decode(), path
    await sync_to_async(call)("no provider's/a\nb")
    reader.forget()
    assert (await staff.get(LIST)).status_code == 200
    assert "is not set up" in text(await staff.get(f"{LIST}of/no%20provider's/a%0Ab/"))
    assert (await staff.get(f"{LIST}of/nobody:1b/")).status_code == 404
    assert (await staff.post(f"{ACT}?do=load&name=../../etc")).status_code == 404
    assert (await staff.post(f"{ACT}?do=format&name=smollm2:135m")).status_code == 404


# One


async def test_a_registered_model_shows_its_places_in_order(staff):
    words = text(await staff.get(f"{LIST}of/team/smart:v1/"))
    assert "team/smart:v1 is asked at openai/big first. Also called clever." in words
    order = words[words.index("Where it is asked") :]
    assert order.index("openai/big") < order.index("gone/big")
    assert "gone is not set up" in text(await staff.get(LIST))


async def test_one_of_this_machine_shows_its_acts_and_what_it_is(staff):
    words = text(await staff.get(f"{LIST}of/smollm2:135m/"))
    assert "smollm2:135m is loaded." in words
    assert "4,096 tokens, loaded" in words
    assert "Its file could not be read at the moment." in words
    assert "Keep loaded" in words


async def test_rules_that_name_it_are_shown(staff, monkeypatch):
    from routing.rules.checking import read_document

    rules = [
        {"name": "mail", "then": {"use": ["team/smart:v1"]}},
        {"name": "eu", "then": {"never": ["openai/*"]}},
        {"name": "other", "then": {"use": ["smollm2:135m"]}},
    ]
    monkeypatch.setattr("dashboard.llm.facts.live_if_read", lambda: read_document({"rules": rules}))
    words = text(await staff.get(f"{LIST}of/openai/big/"))
    assert "1. mail" in words
    assert "2. eu" in words
    assert "3. other" not in words
    monkeypatch.setattr("dashboard.llm.facts.live_if_read", lambda: None)
    assert "The rules could not be read." in text(await staff.get(f"{LIST}of/openai/big/"))


# Acts


async def test_one_that_is_being_loaded_is_shown_so(staff, local):
    local.loads = frozenset({"qwen2.5:3b-instruct"})
    words = text(await staff.get(LIST))
    assert "qwen2.5:3b-instruct loading" in words
    assert "Load qwen2.5:3b-instruct" not in words
    assert "qwen2.5:3b-instruct is being loaded." in text(await staff.get(f"{LIST}of/qwen2.5:3b-instruct/"))


async def test_load_keep_and_unload_say_what_is_true_and_are_audited(staff, local):
    words = await asked(staff, "load", "qwen2.5:3b-instruct")
    assert "qwen2.5:3b-instruct is loaded; that took 1.20 s. Undo" in words
    assert "2 models loaded" in words
    assert "stays loaded from now on. Undo" in await asked(staff, "keep", "qwen2.5:3b-instruct")
    assert local.stays["qwen2.5:3b-instruct"] is None
    answer = await staff.post(f"{ACT}?do=unload&name=qwen2.5:3b-instruct", headers={"HX-Request": "true"})
    assert "192 MB of memory are free again. Undo" in text(answer)
    assert "do=keep&amp;name=qwen2.5" in answer.content.decode()  # as it was before
    events = [(event.actor, event.action, event.subject) async for event in AuditEvent.objects.of(EVERYBODY)]
    assert sorted(events) == [
        ("user:mira", "model.kept", "qwen2.5:3b-instruct"),
        ("user:mira", "model.loaded", "qwen2.5:3b-instruct"),
        ("user:mira", "model.unloaded", "qwen2.5:3b-instruct"),
    ]


async def test_a_busy_one_is_asked_about_first(staff, local):
    local.busy, local.waiting = 2, 1
    assert "say again that it is to go" in await asked(staff, "unload", "smollm2:135m")
    assert "smollm2:135m" in local.stays
    answer = await staff.post(f"{ACT}?do=unload&name=smollm2:135m")
    assert answer["Location"] == f"{ACT}?do=unload&name=smollm2%3A135m"
    assert "It is making 2 answers, and 1 waits for a place." in text(await staff.get(answer["Location"]))
    words = await asked(staff, "unload", "smollm2:135m", sure=1)
    assert "takes nothing new, and is unloaded as soon as its 2 answers are done." in words
    assert local.stays == {}


async def test_to_take_a_load_back_asks_first_when_it_is_busy_by_then(staff, local):
    htmx = {"HX-Request": "true"}
    page = (await staff.post(f"{ACT}?do=load&name=qwen2.5:3b-instruct", headers=htmx)).content.decode()
    undo = re.search(r'hx-post="([^"]*)"[^>]*id="undo"', page)
    assert undo
    address = html.unescape(undo[1])
    local.busy = 1
    assert "say again that it is to go" in text(await staff.post(address, headers=htmx))
    assert "qwen2.5:3b-instruct" in local.stays
    local.busy = 0
    assert "qwen2.5:3b-instruct is unloaded" in text(await staff.post(address, headers=htmx))


async def test_what_is_said_of_an_act_says_when(staff, local):
    page = (
        await staff.post(f"{ACT}?do=load&name=qwen2.5:3b-instruct", headers={"HX-Request": "true"})
    ).content.decode()
    assert re.search(r'data-clock="minute">\d\d:\d\d</time></span> qwen2.5:3b-instruct is loaded', page)


async def test_what_fails_is_said_and_not_audited(staff, local):
    local.error = ModelLoadFailed("it needs 9 GiB, more than models may take")
    words = await asked(staff, "load", "qwen2.5:3b-instruct")
    assert "qwen2.5:3b-instruct could not be loaded. It needs 9 GiB, more than models may take." in words
    assert not await AuditEvent.objects.of(EVERYBODY).aexists()


async def test_a_load_that_takes_long_goes_on_by_itself(staff, local, monkeypatch):
    monkeypatch.setattr(model_acts, "PATIENCE_S", 0.0)
    assert "is being loaded. It stands here as loaded as soon as it is." in await asked(
        staff, "load", "qwen2.5:3b-instruct"
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModelLoadFailed("it needs 9 GiB, more than models may take"), "It needs 9 GiB, more than models may take."),
        (RuntimeError("odd"), "The log says more."),
    ],
)
async def test_what_fails_when_no_page_waits_any_more_is_said_until_the_next_act(
    staff, local, monkeypatch, error, said
):
    goes_on, name, load = asyncio.Event(), "qwen2.5:3b-instruct", local.load

    async def late(*_: Any) -> int:
        await goes_on.wait()
        raise error

    monkeypatch.setattr(local, "load", late)
    with monkeypatch.context() as patched:
        patched.setattr(model_acts, "PATIENCE_S", 0.0)
        assert "is being loaded" in await asked(staff, "load", name)
    assert "could not be loaded" not in text(await staff.get(LIST))
    under_way = list(model_acts._under_way)
    goes_on.set()
    await asyncio.wait(under_way)
    for path in (LIST, f"{LIST}of/{name}/"):
        assert f"{name} could not be loaded. {said}" in text(await staff.get(path))
    local.stays[name] = None  # somebody asked it meanwhile
    assert "could not be loaded" not in text(await staff.get(LIST))
    del local.stays[name]
    monkeypatch.setattr(local, "load", load)
    assert "is loaded" in await asked(staff, "load", name)
    del local.stays[name]
    assert "could not be loaded" not in text(await staff.get(LIST))


async def test_of_acts_that_failed_the_last_of_few_models_are_kept(monkeypatch):
    monkeypatch.setattr(model_acts, "MOST_FAILED", 2)
    monkeypatch.setattr(model_acts, "_failed", {})
    for name in ("a", "b", "a", "c"):
        task = asyncio.get_running_loop().create_future()
        task.set_result(model_acts.Outcome(f"{name} could not be loaded.", is_warning=True))
        model_acts._remember("load", name, task)
    assert list(model_acts.failures()) == ["a", "c"]
    monkeypatch.setattr(model_acts, "FAILED_SHOWN", timedelta())
    assert model_acts.failures() == {}


async def test_without_javascript_an_act_comes_back_to_the_page(staff):
    answer = await staff.post(f"{ACT}?do=unload&name=smollm2:135m", {"period": "24h"})
    assert (answer.status_code, answer["Location"]) == (302, f"{LIST}?period=24h")
    assert "smollm2:135m is unloaded" in text(await staff.get(answer["Location"]))


async def test_who_may_only_look_has_no_buttons_and_is_refused(onlooker, local):
    words = text(await onlooker.get(LIST))
    assert "1 model loaded" in words
    assert "Unload smollm2" not in words
    assert "Add a model to this machine" not in words
    assert (await onlooker.post(f"{ACT}?do=unload&name=smollm2:135m")).status_code == 403
    assert "smollm2:135m" in local.stays
