"""The providers' pages: what they say, what they cost, who may do what there, with JavaScript and without."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import DatabaseError
from django.test import AsyncClient

from dashboard.periods import DEFAULT
from dashboard.providers.rows import read_providers
from dashboard.providers.verdict import providers_part, providers_verdict
from orchestrator.catalogue import Catalogue
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.engines.cloud import Check
from orchestrator.models import Attempt, Membership
from orchestrator.provider_checks import remember
from orchestrator.registry.models import (
    Deployment,
    OpenBreaker,
    Provider,
    ProviderCheck,
    RegisteredModel,
    RegistryVersion,
)
from tests.dashboard.site import record
from tests.dashboard.spending import day
from tests.provider import Provider as Server

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "cache"])]

LIST = "/dashboard/providers/"
KEY = "sk-never-to-be-seen-anywhere"
FINE = Check(is_ok=True, took_s=0.2, words="lists 2 models", listed=2)
GONE = Check(is_ok=False, took_s=0.003, words="could not be reached: is GROQ_BASE_URL right, and is it running?")


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that sets keys of providers, as the environment does."""

    def put(*names: str) -> None:
        for name in names:
            monkeypatch.setitem(settings.PROVIDER_KEYS, name, KEY)

    return put


@pytest.fixture
async def staff(operator: User, console: Any) -> AsyncClient:
    """A client that is signed in as somebody who may do everything."""
    client = AsyncClient()
    await client.aforce_login(operator)
    return client


@pytest.fixture
async def onlooker(passer_by: User, console: Any) -> AsyncClient:
    """A client of somebody who may look and no more."""
    await Membership.objects.acreate(user=passer_by, role=Role.VIEWER)
    client = AsyncClient()
    await client.aforce_login(passer_by)
    return client


def text(response: Any) -> str:
    """The words of a page, tags taken out."""
    words = re.sub(r"<[^>]+>", " ", response.content.decode()).replace("&#x27;", "'")
    return re.sub(r"\s+([.,:;])", r"\1", re.sub(r"\s+", " ", words))


def call(provider: str, **fields: Any) -> None:
    """One call, a minute ago."""
    known = {"provider": provider, "tier": "miss", "is_paid": True, "cost_microusd": 20_000, "engine_first_us": 412_000}
    record(fields.pop("at", now() - timedelta(minutes=1)), **known | fields)


def failed(provider: str, count: int) -> None:
    for number in range(count):
        Attempt.objects.create(
            request_id=f"f{number}", at=now(), provider=provider, model="x", outcome="engine_timeout", took_us=1
        )


def breaker(provider: str, worker: str = "a:1", **fields: Any) -> OpenBreaker:
    known = {"model": f"{provider}/x", "opened_at": now(), "seen_at": now(), "why": "it was late"}
    return OpenBreaker.objects.create(provider=provider, worker=worker, **known | fields)


# What is said


def said() -> tuple[str, str, str]:
    """Headline, reason and state."""
    verdict = providers_verdict(read_providers(DEFAULT, EVERYBODY, now()))
    since = " since then" if verdict.since else ""
    return f"{verdict.headline}{since}{verdict.end}", verdict.why, verdict.state


def part() -> tuple[str, str, str]:
    """Words and state in the health strip, and the sentence of the overview."""
    found = providers_part(read_providers(DEFAULT, EVERYBODY, now()))
    return found.state, found.words, found.sentence


def test_without_a_provider_there_is_none(keys):
    assert said() == ("No providers yet.", "Models run on this machine only.", "off")
    assert part() == ("off", "none set up", "")


def test_all_answer(keys):
    keys("groq")
    remember({"groq": FINE})
    assert said() == ("Healthy. Groq answers.", "None was asked anything in the last hour.", "ok")
    assert part() == ("ok", "Groq answers", "")
    keys("mistral")
    remember({"mistral": FINE})
    call("mistral")
    assert said() == ("Healthy. Both providers answer.", "The one call was answered in the last hour.", "ok")
    keys("openai", "gemini")
    remember({"openai": FINE, "gemini": FINE})
    assert said()[0] == "Healthy. All four providers answer."
    assert part() == ("ok", "all 4 answer", "")


def test_one_is_down(keys):
    keys("groq", "mistral")
    remember({"groq": GONE, "mistral": FINE})
    assert said() == (
        "Groq is down since then: it could not be reached.",
        "Is GROQ_BASE_URL right, and is it running? None was asked anything in the last hour.",
        "down",
    )
    assert part() == ("slow", "Groq down", "Groq is down")


def test_several_and_all_are_down(keys):
    keys("groq", "mistral", "openai")
    remember({"groq": GONE, "mistral": GONE, "openai": FINE})
    assert said()[:2] == (
        "Two of three providers are down.",
        "Groq; Mistral. None was asked anything in the last hour.",
    )
    remember({"openai": GONE})
    assert said()[0] == "All three providers are down."
    assert part() == ("down", "3 of 3 down", "All three providers are down")


def test_a_breaker_is_open(keys):
    keys("groq")
    remember({"groq": FINE})
    breaker("groq")
    breaker("groq", "a:2")
    assert said() == (
        "Healthy. Groq is resting since then.",
        "2 workers do not ask groq/x: it was late. None was asked anything in the last hour.",
        "slow",
    )


def test_a_pause_that_it_asked_for_has_an_end(keys):
    keys("groq")
    remember({"groq": FINE})
    failed("groq", 3)
    end = now() + timedelta(seconds=30)
    breaker("groq", until=end - timedelta(seconds=9), why="groq answered HTTP 429.")
    breaker("groq", "a:2", until=end, why="groq answered HTTP 429.")
    verdict = providers_verdict(read_providers(DEFAULT, EVERYBODY, now()))
    assert (verdict.headline, verdict.since, verdict.until) == ("Healthy. Groq is resting", None, end)
    assert verdict.why.startswith("It asked for a pause; groq answered HTTP 429.")
    assert part() == ("slow", "Groq resting", "Groq is resting")
    assert providers_verdict(read_providers(DEFAULT, EVERYBODY, end)).headline == "Healthy. Groq is failing"
    breaker("groq", "a:3")
    assert said()[1].startswith("1 worker does not ask groq/x: it was late.")


@pytest.mark.parametrize(
    ("answered", "not_answered", "why"),
    [
        (0, 2, None),
        (0, 3, "None of 3 calls was answered."),
        (0, 9, "None of 9 calls was answered."),
        (2, 2, "2 of 4 calls failed."),
        (3, 2, None),
    ],
)
def test_of_few_calls_most_have_to_fail(keys, answered, not_answered, why):
    keys("groq")
    remember({"groq": FINE})
    for _ in range(answered):
        call("groq")
    failed("groq", not_answered)
    headline, said_why, _ = said()
    assert headline == ("Healthy. Groq is failing." if why else "Healthy. Groq answers.")
    assert said_why.startswith(why or "")


def test_calls_fail_although_it_answers_when_looked_at(keys):
    keys("groq", "mistral")
    remember({"groq": FINE, "mistral": FINE})
    for _ in range(8):
        call("groq")
    failed("groq", 2)
    headline, why, state = said()
    assert (headline, state) == ("Healthy. Groq is failing.", "slow")
    assert why.startswith("20.0\u202f% of 10 calls failed.")
    assert part() == ("slow", "Groq failing", "Groq is failing")


def test_first_tokens_come_late(keys, monkeypatch):
    monkeypatch.setattr(settings, "FIRST_TOKEN_TIMEOUT_S", 8.0)
    keys("groq")
    remember({"groq": FINE})
    for _ in range(10):
        call("groq", engine_first_us=4_100_000)
    assert said()[0] == "Healthy. Groq is slow."
    assert said()[1].startswith("The first token took 4.10\u202fs at p95.")


def test_one_that_answers_calls_is_not_down_for_a_look_that_failed(keys):
    keys("groq")
    remember({"groq": GONE}, now() - timedelta(seconds=10))
    call("groq", at=now())
    assert said()[0] == "Healthy. Groq is doubtful since then."
    remember({"groq": GONE}, now() + timedelta(minutes=5))
    assert said()[0] == "Groq is down since then: it could not be reached."


def test_of_one_nothing_is_known(keys, monkeypatch):
    keys("groq")
    assert said() == (
        "How the providers are is not known yet.",
        "Nobody has looked yet, and nothing was asked. The worker for tasks looks every 30\u202fs.",
        "unknown",
    )
    assert part()[:2] == ("unknown", "not looked at yet")
    monkeypatch.setattr(settings, "PROVIDER_CHECK_S", 0)
    assert "ORCHESTRATOR_PROVIDER_CHECK_S is 0" in said()[1]
    keys("mistral")
    remember({"mistral": FINE})
    assert said()[:2] == (
        "One of two providers answers.",
        "Nothing is known of Groq. None was asked anything in the last hour.",
    )


def test_without_looks_calls_tell(keys, monkeypatch):
    monkeypatch.setattr(settings, "PROVIDER_CHECK_S", 0)
    keys("groq", "mistral")
    call("groq")
    failed("mistral", 1)
    assert said()[0] == "Healthy. Mistral is failing."


def test_a_look_of_long_ago_says_nothing_of_now(keys):
    keys("groq")
    remember({"groq": GONE}, now() - timedelta(hours=1))
    found = read_providers(DEFAULT, EVERYBODY, now())
    assert found.is_stale
    assert found.rows[0].state == "unknown"
    assert providers_verdict(found).why.startswith("Nobody has looked lately")


# What is shown


async def test_the_page_of_a_fresh_install_says_what_to_set(staff):
    words = text(await staff.get(LIST))
    assert "No providers yet." in words
    assert "ANTHROPIC_API_KEY=…" in words


async def test_a_row_shows_state_look_speed_errors_share_and_spend(staff, keys):
    keys("groq", "mistral")
    await sync_to_async(remember)({"groq": GONE, "mistral": FINE})
    for _ in range(3):
        await sync_to_async(call)("mistral")
    await sync_to_async(call)("mistral", cost_microusd=None)
    await sync_to_async(day)(now().date(), provider="mistral", calls=4, cost_microusd=60_000, unpriced=1)
    await sync_to_async(failed)("groq", 1)
    page = await staff.get(LIST)
    words = text(page)
    assert words.index("Groq ") < words.index("Mistral ")  # the worst first
    row = words[words.index("Every provider") :]
    for shown in (
        "down",
        "could not be reached",
        "took 3.0 ms",
        "100.0",
        "1 timeout",
        "20.0",
        "80.0",
        "410",
        "0.06 + 1 unknown",
    ):
        assert shown in row.replace("\u202f", " "), shown
    assert KEY not in page.content.decode()


async def test_what_was_spent_is_what_a_provider_charges_whoever_answered(staff, keys):
    keys("groq", "mistral")
    await sync_to_async(call)("groq", cost_microusd=2_000_000)  # of which Mistral, that broke off, takes most
    await sync_to_async(day)(now().date(), provider="mistral", cost_microusd=1_900_000, unpriced=2, calls=3)
    await sync_to_async(day)(now().date(), provider="groq", cost_microusd=100_000)
    await sync_to_async(day)(now().date() - timedelta(days=3), provider="groq", cost_microusd=300_000)
    page = (await staff.get(LIST)).content.decode()
    assert "Spent today, $" in page
    assert sorted(re.findall(r'c-spent number">([^<]*)', page)) == ["0.10", "1.90"]
    assert "Spent today $1.90 and 2 calls of unknown cost" in text(await staff.get(f"{LIST}mistral/"))
    assert "Spent in 7 days $0.40" in text(await staff.get(f"{LIST}groq/?period=7d"))


async def test_what_nobody_knows_the_price_of_is_not_spent_for_nothing(staff, keys):
    keys("groq")
    await sync_to_async(day)(now().date(), provider="groq", calls=2, unpriced=2)
    assert "Spent today unknown and 2 calls of unknown cost" in text(await staff.get(f"{LIST}groq/"))


async def test_one_that_is_off_says_what_to_set_and_one_switched_off_how_to_have_it_on(staff):
    await Provider.objects.acreate(name="deepseek", kind="deepseek")
    await Provider.objects.acreate(name="together", kind="together", is_enabled=False)
    words = text(await staff.get(LIST))
    assert "No provider is on." in words
    assert "set DEEPSEEK_API_KEY" in words
    assert "Switch on Together" in words
    assert "set DEEPSEEK_API_KEY" in text(await staff.get(f"{LIST}deepseek/"))


async def test_one_is_added_and_edited_in_the_admin(staff, onlooker, keys):
    await Provider.objects.acreate(name="groq", kind="groq")
    for path, link in ((LIST, "Add a provider"), (f"{LIST}groq/", "Edit")):
        address = re.search(rf'href="(/admin/[^"]+)">{link}<', (await staff.get(path)).content.decode())
        assert address
        assert (await staff.get(address[1])).status_code == 200
        assert link not in text(await onlooker.get(path))


async def test_the_page_of_one_tells_where_everything_is_set_and_what_runs_there(staff, keys):
    keys("groq")
    await sync_to_async(remember)({"groq": FINE})
    await sync_to_async(failed)("groq", 1)
    groq = await Provider.objects.acreate(name="groq", kind="groq", token_timeout_s=7, extra_body={"tier": "flex"})
    smart = await RegisteredModel.objects.acreate(name="smart", fallbacks=["quick"])
    await RegisteredModel.objects.acreate(name="quick")
    await Deployment.objects.acreate(model=smart, provider=groq, remote_name="llama-3.3-70b")
    await Deployment.objects.acreate(model=smart, remote_name="tiny", rank=1)
    page = await staff.get(f"{LIST}groq/")
    words = text(page)
    for shown in (
        "Groq answers.",
        "It lists 2 models.",
        "Address https://api.groq.com/openai/v1 its usual one",
        "Key set GROQ_API_KEY",
        "Between two tokens 7 s the registry",
        "To connect 5 s ORCHESTRATOR_CONNECT_TIMEOUT_S",
        "Sent along {&quot;tier&quot;: &quot;flex&quot;} the registry",
        "smart llama-3.3-70b 0 1 other place, then quick",
        "engine timeout",
    ):
        assert shown in words.replace("\u202f", " "), shown
    assert KEY not in page.content.decode()
    assert (await staff.get(f"{LIST}nobody/")).status_code == 404


async def test_what_is_wrong_in_words_of_others_cannot_write_into_the_page(staff, keys):
    keys("groq")
    evil = Check(is_ok=False, took_s=0.1, words="answered HTTP 500: <script>alert(1)</script>")
    await sync_to_async(remember)({"groq": evil})
    for path in (LIST, f"{LIST}groq/"):
        assert "<script>alert" not in (await staff.get(path)).content.decode()


async def test_no_page_of_them_has_inline_style_or_script(staff, keys):
    keys("groq")
    await sync_to_async(remember)({"groq": GONE})
    await sync_to_async(breaker)("groq")
    for path in (LIST, f"{LIST}groq/"):
        page = (await staff.get(path)).content.decode()
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:", page), path


async def test_a_database_that_cannot_be_read_leaves_the_page_standing(staff, monkeypatch):
    def broken(*_: Any) -> None:
        raise DatabaseError("disk I/O error")

    monkeypatch.setattr("dashboard.reading.read_providers", broken)
    for path in (LIST, f"{LIST}groq/", "/dashboard/"):
        response = await staff.get(path)
        assert response.status_code == 200
    assert "The providers could not be read." in text(await staff.get(LIST))


async def test_looks_that_have_stopped_are_said_to_have(staff, keys):
    keys("groq")
    await sync_to_async(remember)({"groq": FINE}, now() - timedelta(minutes=10))
    assert "The last look was 10 min ago." in text(await staff.get(LIST)).replace("\u202f", " ")


async def test_two_hundred_are_shown_a_part_at_a_time_and_found_by_name(staff):
    await Provider.objects.abulk_create(
        Provider(name=f"p{number}", kind="compatible", address="http://127.0.0.1:9/v1") for number in range(200)
    )
    page = (await staff.get(LIST)).content.decode()
    assert page.count('class="row-link"') == 50
    assert "Show all 200" in page
    assert (await staff.get(f"{LIST}?show=all")).content.decode().count('class="row-link"') == 200
    assert (await staff.get(f"{LIST}?q=P17")).content.decode().count('class="row-link"') == 11
    assert "No provider is called so" in text(await staff.get(f"{LIST}?q=nobody"))


def test_two_hundred_take_as_many_queries_as_one(transactional_db, django_assert_max_num_queries):
    Provider.objects.bulk_create(
        Provider(name=f"p{number}", kind="compatible", address="http://127.0.0.1:9/v1") for number in range(200)
    )
    remember({f"p{number}": FINE for number in range(200)})
    with django_assert_max_num_queries(14):
        assert len(read_providers(DEFAULT, EVERYBODY, now()).rows) == 200


async def test_the_health_strip_leads_to_them(staff, keys):
    keys("groq", "mistral")
    await sync_to_async(remember)({"groq": GONE, "mistral": FINE})
    page = await staff.get("/dashboard/")
    assert "Healthy. Groq is down." in text(page)
    assert 'href="/dashboard/providers/">Providers</a>' in page.content.decode()


# Acts


async def test_testing_without_javascript_looks_and_comes_back_to_the_page(staff, keys, provider: Server, monkeypatch):
    keys("openai")
    monkeypatch.setitem(settings.PROVIDER_ADDRESSES, "openai", provider.address)
    response = await staff.post(f"{LIST}openai/test/", {"period": "24h"})
    assert (response.status_code, response["Location"]) == (302, f"{LIST}?period=24h")
    check = await ProviderCheck.objects.aget()
    assert (check.provider, check.is_ok, check.listed) == ("openai", True, 2)
    words = text(await staff.get(response["Location"]))
    assert "OpenAI answers: it lists 2 models." in words
    assert "Healthy. OpenAI answers." in words
    response = await staff.post(f"{LIST}openai/test/", {"on": "one"})
    assert response["Location"] == f"{LIST}openai/?period=1h"


async def test_testing_with_javascript_brings_the_board_and_what_is_true_now(staff, keys, monkeypatch):
    keys("openai")
    monkeypatch.setitem(settings.PROVIDER_ADDRESSES, "openai", "http://127.0.0.1:9/v1")
    response = await staff.post(f"{LIST}openai/test/", {}, headers={"HX-Request": "true"})
    page = response.content.decode()
    assert response.status_code == 200
    assert page.lstrip().startswith('<form method="post" id="board"')
    assert 'id="said" hx-swap-oob="true"' in page
    assert (
        "OpenAI does not answer as it should. It could not be reached: is OPENAI_BASE_URL right, and is it running? "
        in text(response)
    )
    assert KEY not in page


async def test_a_pause_is_shown_with_its_end(staff, keys):
    keys("groq")
    await sync_to_async(breaker)("groq", until=now() + timedelta(seconds=30), why="groq answered HTTP 429.")
    words = text(await staff.get(LIST))
    assert re.search(r"resting until \d\d:\d\d, it asked for a pause; groq answered HTTP 429", words)
    assert re.search(r"HTTP 429\. closed", words), "its breaker is not open"
    words = text(await staff.get(f"{LIST}groq/"))
    assert re.search(r"Groq is resting until \d\d:\d\d\.", words)
    assert "Each worker asks again by itself then" in words


async def test_trying_again_closes_breakers_everywhere_and_is_remembered(staff, keys, console):
    keys("groq")
    await sync_to_async(breaker)("groq")
    assert "Try again now" in text(await staff.get(LIST))
    before = console.generation.policy()
    response = await staff.post(f"{LIST}groq/again/")
    assert response.status_code == 302
    row = await Provider.objects.aget(name="groq")
    assert row.is_from_environment
    assert row.reset_at is not None
    assert console.generation.policy() > before  # every process of this machine reads it anew
    words = text(await staff.get(LIST))
    assert "Groq is asked again at once, by every worker." in words
    assert "Try again now" not in words
    entry = await LogEntry.objects.aget()
    assert (entry.object_repr, entry.change_message) == ("groq", "Asked again: its breakers are closed")


async def test_switching_off_and_on_are_versions_of_the_registry(staff, keys):
    keys("groq")
    await Provider.objects.acreate(name="groq", kind="groq", is_from_environment=True)
    await staff.post(f"{LIST}groq/switch/off/")
    assert not (await Provider.objects.aget(name="groq")).is_enabled
    words = text(await staff.get(LIST))
    assert "Groq is off. No request goes there from now on." in words
    assert "Switch on Groq" in words
    response = await staff.post(f"{LIST}groq/switch/on/", {}, headers={"HX-Request": "true"})
    assert "Groq is on." in text(response)
    assert "Undo" in text(response)
    versions = [version async for version in RegistryVersion.objects.order_by("number")]
    assert [version.by for version in versions] == ["mira", "mira"]
    assert "switched off" in versions[0].reason
    assert await LogEntry.objects.acount() == 2


async def test_what_there_is_not_cannot_be_acted_on(staff):
    for act in ("test", "again", "switch/off"):
        assert (await staff.post(f"{LIST}nobody/{act}/")).status_code == 404
    assert (await staff.get(f"{LIST}nobody/test/"))["Location"] == f"{LIST}nobody/"


async def test_staff_without_the_permission_may_look_and_test_and_no_more(
    onlooker, passer_by, keys, provider, monkeypatch
):
    keys("openai")
    monkeypatch.setitem(settings.PROVIDER_ADDRESSES, "openai", provider.address)
    await Provider.objects.acreate(name="openai", kind="openai", is_from_environment=True)
    await sync_to_async(breaker)("openai")
    words = text(await onlooker.get(f"{LIST}openai/"))
    assert "Switch off" not in words
    assert "Try again now" not in words
    for act in ("test", "again", "switch/off"):
        assert (await onlooker.post(f"{LIST}openai/{act}/")).status_code == 403
    assert (await Provider.objects.aget()).is_enabled
    await passer_by.memberships.aupdate(role=Role.OPERATOR)
    for act in ("test", "again"):
        assert (await onlooker.post(f"{LIST}openai/{act}/")).status_code == 302


async def test_nobody_else_gets_in(passer_by, console, keys):
    keys("groq")
    stranger, known = AsyncClient(), AsyncClient()
    await known.aforce_login(passer_by)
    for path in (LIST, f"{LIST}groq/"):
        assert (await stranger.get(path)).status_code == 302
        assert (await known.get(path)).status_code == 403
    for act in ("test", "again", "switch/off"):
        assert (await stranger.post(f"{LIST}groq/{act}/")).status_code == 302
        assert (await known.post(f"{LIST}groq/{act}/")).status_code == 403
    assert await ProviderCheck.objects.acount() == 0


async def test_an_act_needs_the_token_of_the_page(operator, console, keys):
    keys("groq")
    client = AsyncClient(enforce_csrf_checks=True)
    await client.aforce_login(operator)
    assert (await client.post(f"{LIST}groq/again/")).status_code == 403


# What nobody knows the price of


async def test_models_of_unknown_price_are_named_with_what_to_do(
    staff: AsyncClient, keys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys("groq")
    page = await staff.get(f"{LIST}groq/")
    assert b"prices set" not in page.content
    monkeypatch.setattr(Catalogue, "unpriced", lambda _, name: [f"of-{name}", "other"])
    words = text(await staff.get(f"{LIST}groq/"))
    assert "Nobody knows what 2 models of it cost. of-groq, other: their calls are of unknown cost" in words
    assert "manage.py prices set groq/of-groq --input … --output …" in words


async def test_who_is_taken_to_charge_is_told_to_be(staff: AsyncClient, db: None) -> None:
    await Provider.objects.acreate(name="their", kind="compatible", address="https://llm.example.com/v1")
    assert "Charges for calls yes nobody said so, and it is on the internet" in text(await staff.get(f"{LIST}their/"))
