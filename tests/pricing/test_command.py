"""What models charge, from a terminal: said from a moment on, shown with who says so, and missed where nobody does."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orchestrator.checks.prices import prices_are_known, who_charges_was_said
from orchestrator.core.changing import By
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.presets import PRESETS
from orchestrator.core.prices import Price
from orchestrator.ledger.price_rows import note_used, rows_of
from orchestrator.models import AuditEvent, SpendDay, Tenant
from orchestrator.price_list import price_list
from orchestrator.pricing.order import InForce, in_force, place_at
from orchestrator.pricing.rows import numbered
from orchestrator.registry import changes
from orchestrator.registry.document import read_document
from orchestrator.registry.models import Deployment, Provider, RegistryVersion, StatedPrice
from orchestrator.registry.reading import read

Run = Callable[..., tuple[int, str, str]]
WIDE = {"provider": "openai", "remote_name": "gpt-4o"}
REGISTRY: dict[str, Any] = {
    "providers": {
        "openai": {"kind": "openai", "key": "sk-test-0123456789"},
        "openrouter": {"kind": "openrouter", "key": "sk-test-0123456789"},
        "own": {"kind": "compatible", "address": "http://gpu:8000/v1"},
        "grok": {"kind": "compatible", "address": "https://api.x.ai/v1"},
        "their": {"kind": "compatible", "address": "https://llm.example.com/v1"},
    },
    "models": {
        "smart": {"deployments": [WIDE]},
        "cheap": {"deployments": [{**WIDE, "input_price": 1, "output_price": 2}]},
        "twice": {"deployments": [WIDE, {"provider": "openrouter", "remote_name": "openai/gpt-4o"}]},
        "new": {"deployments": [{"provider": "openai", "remote_name": "gpt-9"}]},
        "mine": {"deployments": [{"provider": "own", "remote_name": "llama"}]},
        "theirs": {"deployments": [{"provider": "their", "remote_name": "llama"}]},
        "here": {"deployments": [{"remote_name": "smollm2:135m"}]},
    },
}


@pytest.fixture(autouse=True)
def registry(db: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nothing = {preset.name: "" for preset in PRESETS}
    monkeypatch.setattr(settings, "PROVIDER_KEYS", nothing)
    monkeypatch.setattr(settings, "PROVIDER_ADDRESSES", nothing)
    monkeypatch.setattr(settings, "GENERATION_FILE", tmp_path / "generation")
    changes.apply(read_document(REGISTRY), By("ops"))


@pytest.fixture
def run() -> Run:
    """Run it; exit code, standard output, standard error."""

    def command(*arguments: object) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        try:
            call_command("prices", *map(str, arguments), stdout=out, stderr=err)
        except CommandError as error:
            return error.returncode, out.getvalue(), str(error)
        return 0, out.getvalue(), err.getvalue()

    return command


def listed(run: Run, *more: str) -> list[tuple[str, Any, str]]:
    rows = json.loads(run("list", "--json", *more)[1])
    return [(row["model"], row["input"], row["source"].partition(" ")[0]) for row in rows]


def now_at(provider: str, model: str, at: datetime | None = None) -> InForce:
    found = read()
    (seller,) = (one for one in found.providers if one.name == provider)
    return in_force(place_at(seller, model), found.stated, (at or timezone.now()).timestamp())


def test_the_list_has_every_registered_model_and_who_says_what_it_charges(run: Run) -> None:
    assert listed(run) == [
        ("openai/gpt-4o", "1", "operator"),
        ("openai/gpt-4o", "2.5", "genai-prices"),
        ("openai/gpt-9", None, "unknown"),
        ("openrouter/openai/gpt-4o", "2.5", "genai-prices"),
        ("own/llama", None, "free"),
        ("their/llama", None, "unknown"),
    ]
    assert [model for model, _, _ in listed(run, "--unknown")] == ["openai/gpt-9", "their/llama"]
    code, told, beside = run("list")
    assert (code, told.splitlines()[0].split()[:3]) == (0, ["MODEL", "INPUT", "OUTPUT"])
    assert "prices set" in beside


def test_what_was_last_listed_and_used_is_known(run: Run) -> None:
    for asked in (3, 4):
        numbered([("openrouter", "openai/gpt-4o", Price(input=Decimal(asked), output=Decimal(15), source="list"))])
    assert ("openrouter/openai/gpt-4o", "4", "list") in listed(run)


ROUTED = "openrouter/openai/gpt-4o"


def listed_at(asked: int, model: str = "openai/gpt-4o", used: datetime | None = None) -> None:
    """A provider's list says so, and a call is charged by it."""
    (price,) = numbered([("openrouter", model, Price(input=Decimal(asked), output=Decimal(15), source="list"))])
    if used is not None:
        with connection.cursor() as cursor:
            note_used(cursor, [(price.number, used)])


def test_a_listed_price_that_was_gone_back_to_is_the_one_that_is_told(run: Run) -> None:
    now = timezone.now()
    for minutes, asked in ((9, 3), (6, 4), (3, 3)):
        listed_at(asked, used=now - timedelta(minutes=minutes))
    assert (ROUTED, "3", "list") in listed(run)
    assert json.loads(run("show", ROUTED, "--json")[1])[0]["input"] == "3"
    listed_at(5)
    assert (ROUTED, "3", "list") in listed(run), "nothing was charged by 5 yet"


def test_a_name_that_somebody_made_up_is_in_no_list(run: Run) -> None:
    """It has a price, where the table goes by how names begin; its provider does not know it, and charges nothing."""
    before = listed(run)
    listed_at(3, "openai/gpt-4o-junk")
    assert listed(run) == before
    assert rows_of(()) == {}
    listed_at(3, "openai/gpt-4o-junk", used=timezone.now())
    assert ("openrouter/openai/gpt-4o-junk", "3", "list") in listed(run)
    assert [row.model for row in rows_of(()).values()] == ["openai/gpt-4o-junk"]


def test_the_list_takes_as_many_queries_however_long_it_is(run: Run) -> None:
    counts = []
    for number in range(2):
        for more in range(20):
            listed_at(3, f"openai/m{number}-{more}", used=timezone.now())
        with CaptureQueriesContext(connection) as queries:
            assert len(listed(run)) == 6 + 20 * (number + 1)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_a_price_is_said_shown_and_no_longer_said(run: Run) -> None:
    assert run("set", "openai/gpt-9", "--input", "2.50", "--output", 10, "--cache-read", "0.25")[0] == 0
    assert ("openai/gpt-9", "2.5", "operator") in listed(run)
    price = now_at("openai", "gpt-9").price
    assert price is not None
    assert [str(one) for one in (price.input, price.output, price.cache_read)] == ["2.500000", "10.000000", "0.250000"]
    shown = run("show", "new")[1]
    assert re.search(r"registered as: +new\n", shown)
    assert "cache read:" in shown
    assert "input 2.5, output 10, cache read 0.25, by command" in shown
    assert run("unset", "new")[0] == 0
    assert ("openai/gpt-9", None, "unknown") in listed(run)
    assert len(StatedPrice.objects.all()) == 2
    assert "no longer said" in run("show", "openai/gpt-9")[1]


def test_a_price_of_next_year_holds_from_next_year(run: Run) -> None:
    year = timezone.now().year + 1
    run("set", "openai/gpt-4o", "--input", 1, "--output", 1)
    run("set", "openai/gpt-4o", "--input", 2, "--output", 2, "--from", f"{year}-01-01")
    begins = datetime(year, 1, 1, tzinfo=UTC)
    for at, asked in ((begins - timedelta(seconds=1), 1), (begins, 2)):
        price = now_at("openai", "gpt-4o", at).price
        assert price
        assert price.input == asked
    assert json.loads(run("show", "smart", "--json")[1])[0]["until"] == f"{year}-01-01T00:00:00+00:00"


def test_to_say_it_is_a_version_of_the_registry_and_an_event(run: Run) -> None:
    before = RegistryVersion.objects.get()
    run("set", "own/llama", "--input", 0, "--output", "0.5", "--reason", "power")
    version = RegistryVersion.objects.first()
    assert version
    assert (version.number, version.reason, version.document) == (before.number + 1, "power", before.document)
    assert version.summary.startswith("price of own/llama from 20")
    assert version.summary.endswith(" UTC: input 0, output 0.5")
    event = AuditEvent.objects.of(EVERYBODY).order_by("-id")[0]
    assert (event.action, event.subject, event.details["output"]) == ("price.stated", "own/llama", "0.5")
    assert changes.restore(before.number, By("ops")).lines == ()
    assert now_at("own", "llama").price


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("set", "nobody/gpt", "--input", 1, "--output", 1), "no model 'nobody/gpt'"),
        (("set", "gpt", "--input", 1, "--output", 1), "PROVIDER/MODEL"),
        (("set", "twice", "--input", 1, "--output", 1), "openai/gpt-4o, openrouter/openai/gpt-4o"),
        (("set", "here", "--input", 1, "--output", 1), "runs at no provider"),
        (("set", "smart", "--input", -1, "--output", 1), "--input: a price is of 0 to"),
        (("set", "smart", "--input", 1, "--output", "NaN"), "--output: a price is of 0 to"),
        (("set", "smart", "--input", 1, "--output", "0.0000001"), "six digits"),
        (("set", "smart", "--input", 1, "--output", 1, "--from", "2020-01-01"), "holds from now on"),
        (("set", "smart", "--input", 1), "--output"),
        (("set", "smart", "--input", "cheap", "--output", 1), "as in 2.50"),
        (("show", "no-such"), "no model 'no-such'"),
    ],
)
def test_what_cannot_be_said_is_told_and_changes_nothing(run: Run, arguments: tuple[object, ...], words: str) -> None:
    code, _, told = run(*arguments)
    assert code != 0
    assert words in told
    assert not StatedPrice.objects.exists()


def test_a_model_of_unknown_price_is_told_with_how_often_it_was_asked() -> None:
    tenant = Tenant.objects.create(name="t")
    common = {"tenant_id": tenant.pk, "provider": "openai"}
    for days, model, calls in ((0, "openai/gpt-9", 2), (29, "openai/gpt-9", 3), (31, "openai/gpt-9", 100)):
        day = (timezone.now() - timedelta(days=days)).date()
        SpendDay.rows.create(day=day, model=model, calls=calls, unpriced=calls, **common)
    assert {line.name: line.calls for line in price_list(timezone.now()) if line.is_unknown} == {
        "openai/gpt-9": 5,
        "their/llama": 0,
    }


def test_the_doctor_names_what_has_no_price_and_whoever_may_charge(run: Run) -> None:
    (unknown,) = prices_are_known()
    assert "openai/gpt-9, their/llama:" in unknown.msg
    assert "prices set" in str(unknown.hint)
    (guessed,) = who_charges_was_said()
    assert "their charges" in guessed.msg
    run("set", "new", "--input", 1, "--output", 1)
    run("set", "theirs", "--input", 1, "--output", 1)
    assert list(prices_are_known()) == []


def test_who_is_said_to_be_free_is_free(run: Run) -> None:
    document = read_document(REGISTRY)
    their = document.providers["their"].model_copy(update={"is_paid": False})
    changes.put_provider("their", their, By("ops"))
    assert list(who_charges_was_said()) == []
    assert ("their/llama", None, "free") in listed(run)


@pytest.mark.parametrize(
    ("kind", "address", "said", "charges"),
    [
        ("compatible", "http://gpu:8000/v1", None, False),
        ("compatible", "http://10.1.2.3/v1", None, False),
        ("compatible", "http://100.64.0.7:8000", None, False),  # a tailnet
        ("compatible", "http://vllm.internal/v1", None, False),
        ("compatible", "https://llm.example.com/v1", None, True),
        ("compatible", "https://llm.example.com/v1", False, False),
        ("compatible", "http://gpu:8000/v1", True, True),
        ("ollama", "https://203.0.113.7", None, False),  # for documents only
        ("ollama", "https://9.9.9.9", None, True),
        ("openai", "http://vllm:8000/v1", None, True),
    ],
)
def test_whoever_is_on_the_internet_charges_unless_somebody_says_no(
    kind: str, address: str, said: bool | None, charges: bool
) -> None:
    part = read_document({"providers": {"x": {"kind": kind, "address": address, "is_paid": said}}}).providers["x"]
    changes.put_provider("x", part, By("ops"))
    (found,) = (one for one in read().providers if one.name == "x")
    assert found.is_paid is charges
    assert found.is_paid_by_default is (charges and said is None and kind != "openai")


def test_free_by_default_is_forgotten_and_what_somebody_said_is_kept() -> None:
    """What a ledger of before says of who charges."""
    Deployment.objects.all().delete()
    Provider.objects.all().delete()
    said = {"a": ("compatible", False), "b": ("ollama", False), "c": ("compatible", True), "d": ("openai", False)}
    for name, (kind, is_paid) in said.items():
        Provider.objects.create(name=name, kind=kind, is_paid=is_paid)
    migration = import_module("orchestrator.registry.migrations.0004_prices")
    migration.forget_what_nobody_said(apps, SimpleNamespace(connection=connection))
    assert dict(Provider.objects.values_list("name", "is_paid")) == {"a": None, "b": None, "c": True, "d": False}
    migration.say_it_again(apps, SimpleNamespace(connection=connection))
    assert dict(Provider.objects.values_list("name", "is_paid")) == {name: one for name, (_, one) in said.items()}
