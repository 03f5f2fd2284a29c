"""What is read is what is on; the rest says why it is off."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from orchestrator.core.addresses import origin_of
from orchestrator.core.secrets import derive
from orchestrator.registry import changes
from orchestrator.registry.document import ModelPart, ProviderPart, read_document
from orchestrator.registry.models import Provider, ProviderCheck
from orchestrator.registry.reading import down_providers, look, newest_version, read
from orchestrator.registry.settled import sealer
from tests.registry.conftest import CANARY, EVERYTHING, OPS

pytestmark = pytest.mark.django_db


def put(name: str, **part: Any) -> None:
    changes.put_provider(name, ProviderPart.model_validate(part), OPS)


def why(name: str) -> str:
    return {one.name: one.why for one in look().off}.get(name, "")


def test_nothing_at_all() -> None:
    assert (read().providers, read().models, newest_version(), look().off) == ((), (), 0, ())


def test_reading_asks_little(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    changes.apply(read_document(EVERYTHING), OPS)
    with django_assert_num_queries(6):
        read()
    with django_assert_num_queries(1):
        newest_version()
    with django_assert_num_queries(1):
        down_providers()


def test_a_value_of_the_registry_wins_then_the_environment_then_the_usual(environment: Callable[..., None]) -> None:
    put("openai", kind="openai", address="http://vllm:8000/v1")
    (one,) = read().providers
    assert (one.address, one.address_from, one.key, one.key_from) == (
        "http://vllm:8000/v1",
        "its address",
        "",
        "OPENAI_API_KEY",
    )
    put("openai", kind="openai")
    environment(keys={"openai": "sk-env"}, addresses={"openai": "http://env:1/v1"})
    (one,) = read().providers
    assert (one.address, one.address_from, one.key, one.key_from) == (
        "http://env:1/v1",
        "OPENAI_BASE_URL",
        "sk-env",
        "OPENAI_API_KEY",
    )
    put("openai", kind="openai", key="sk-own")
    (one,) = read().providers
    assert (one.key, one.key_from) == ("sk-own", "its key")
    environment(keys={"gemini": "g"})
    assert [(one.name, one.address, one.is_paid) for one in read().providers] == [
        ("gemini", "https://generativelanguage.googleapis.com", True)
    ]
    assert "its key was given for http://env:1" in why("openai")


def test_a_key_of_the_environment_goes_nowhere_else(environment: Callable[..., None]) -> None:
    """Who may change the registry could read it there otherwise."""
    environment(keys={"openai": "sk-env"})
    put("openai", kind="openai", address="https://evil.example.com/v1")
    put("openai-eu", kind="openai")
    (one,) = read().providers
    assert (one.name, one.key) == ("openai", "")
    assert why("openai-eu") == "it has no key; give it one"
    put("openai", kind="openai", address="https://api.openai.com/v2")
    assert read().providers[0].key == "sk-env"


@pytest.mark.parametrize(
    ("name", "part", "words"),
    [
        ("openai", {"kind": "openai", "is_enabled": False}, "it is switched off"),
        ("openai", {"kind": "openai"}, "it has no key; give it one, or set OPENAI_API_KEY"),
        ("ollama", {"kind": "ollama"}, "it has no address; give it one, or set OLLAMA_REMOTE_URL"),
        ("vllm", {"kind": "compatible"}, "it has no address; give it one"),
        ("other", {"kind": "ollama"}, "it has no address; give it one"),
    ],
)
def test_what_is_off_says_why(name: str, part: dict[str, Any], words: str) -> None:
    put(name, **part)
    assert read().providers == ()
    assert why(name) == words


def test_a_kind_that_is_gone_and_our_own_address_are_off() -> None:
    sealed = sealer().seal(CANARY, "torn", origin_of("http://torn:99"))
    Provider.objects.create(name="old", kind="gone", address="http://old.example.com")
    Provider.objects.create(name="self", kind="ollama", address=f"http://127.0.0.1:{settings.ADDRESS.port}")
    Provider.objects.create(name="torn", kind="compatible", address="http://torn:99999", sealed_key=sealed)
    assert "its address is none" in why("torn")
    assert "its kind 'gone' is not known" in why("old")
    assert "its address is this server's own" in why("self")
    assert read().providers == ()


def test_a_key_that_cannot_be_opened_is_loud_once_and_stops_nobody_else(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("openai", kind="openai", key=CANARY)
    put("vllm", kind="compatible", address="http://vllm:8000/v1")
    put("groq", kind="groq", key="gsk-of-groq")
    groq = Provider.objects.get(name="groq")
    Provider.objects.filter(name="groq").update(
        sealed_key=sealer().seal("gsk", "openai", origin_of("https://api.groq.com"))
    )
    assert [one.name for one in read().providers] == ["openai", "vllm"]
    assert "another provider's" in why("groq")
    with caplog.at_level(logging.ERROR):
        monkeypatch.setattr(settings, "PROVIDER_KEYS_KEY", derive(b"n" * 32, "provider keys"))
        Provider.objects.filter(name="groq").update(sealed_key=groq.sealed_key)
        for _ in range(3):
            assert [one.name for one in read().providers] == ["vllm"]
    said = [record.getMessage() for record in caplog.records]
    assert len([one for one in said if one.startswith("provider openai is off: its key was sealed with another")]) == 1
    assert CANARY not in str(said)


def test_a_key_is_in_no_repr() -> None:
    put("openai", kind="openai", key=CANARY)
    assert read().providers[0].key == CANARY
    assert CANARY not in repr(look())
    assert CANARY not in repr(read_document(EVERYTHING))


def check(provider: str, *looks: bool, minutes_ago: float = 0) -> None:
    for is_ok in looks:
        at = timezone.now() - timedelta(minutes=minutes_ago)
        ProviderCheck.objects.create(provider=provider, at=at, since=at, is_ok=is_ok, took_us=1, words="x")


def test_who_failed_twice_in_a_row_is_down() -> None:
    check("down", True, False, False)
    check("shaky", False, False, True)
    check("once", True, False)
    check("new", False)
    check("long-ago", False, False, minutes_ago=60)
    assert down_providers() == {"down"}


def test_who_was_said_to_be_well_is_not_down() -> None:
    put("down", kind="compatible", address="http://down:1")
    check("down", False, False)
    Provider.objects.filter(name="down").update(reset_at=timezone.now())
    assert down_providers() == frozenset()
    check("down", False, False)
    assert down_providers() == {"down"}


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("registeredmodel", "aliases", "null"),
        ("registeredmodel", "fallbacks", '{"a": 1}'),
        ("registeredmodel", "tags", "[1]"),
        ("registeredmodel", "balance", "none"),
        ("registeredmodel", "hedge_after_s", "soon"),
        ("deployment", "weight", "0"),
        ("deployment", "rank", "first"),
        ("deployment", "input_price", "much"),
        ("provider", "extra_body", "[]"),
        ("provider", "most_calls", "many"),
        ("provider", "reset_at", "2026-99-99 00:00:00"),
    ],
)
def test_a_row_that_was_edited_by_hand_harms_no_other(
    table: str, column: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Loud once in the log, and mended as anything is."""
    provider = {"kind": "compatible", "address": "http://127.0.0.1:9"}
    model: dict[str, Any] = {"deployments": [{"provider": "broken", "remote_name": "a"}]}
    value_of = {"providers": {"broken": provider, "well": provider}, "models": {"broken": model, "well": model}}
    changes.apply(read_document(value_of), OPS)
    which = {"deployment": "model_id = (select id from registry_registeredmodel where name = 'broken')"}
    with connection.cursor() as cursor:
        where = which.get(table, "name = 'broken'")
        cursor.execute(f"update registry_{table} set {column} = %s where {where}", [value])  # noqa: S608
    with caplog.at_level(logging.ERROR):
        found = [read() for _ in range(3)][-1]
    kind = "provider" if table == "provider" else "model"
    assert [one.name for one in getattr(found, f"{kind}s")] == ["well"]
    assert len(found.providers) + len(found.models) == 3
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1, said
    assert (kind == "provider") == why("broken").startswith("its ")
    assert said[0].startswith(f"{kind} broken is left out: its ")
    if kind == "provider":
        put("broken", **provider)
    else:
        changes.put_model("broken", ModelPart.model_validate(model), OPS)
    assert (len(read().providers), len(read().models), look().off) == (2, 2, ())
