"""Every change is whole, kept as a version, and can be taken back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from pytest_django import DjangoAssertNumQueries

from cache.generation import Generation
from orchestrator.core.changing import By
from orchestrator.core.errors import Conflict, NotThere
from orchestrator.registry import changes
from orchestrator.registry.changes import MOST_VERSIONS
from orchestrator.registry.document import ModelPart, ProviderPart, WrongDocument, read_document
from orchestrator.registry.models import Deployment, Provider, RegisteredModel, RegistryVersion
from orchestrator.registry.reading import look, newest_version, read
from orchestrator.registry.stored import Stored, document_of, read_tables, shown
from tests.registry.conftest import CANARY, EVERYTHING, OPS

pytestmark = pytest.mark.django_db


def applied(value: dict[str, Any] = EVERYTHING) -> changes.Change:
    return changes.apply(read_document(value), OPS)


def test_a_document_becomes_the_registry() -> None:
    assert applied().version == newest_version() == RegistryVersion.objects.get().number
    registry = read()
    assert [one.name for one in registry.providers] == ["azure-eu", "openai"]
    azure, openai = registry.providers
    assert (openai.key, openai.address, openai.most_calls) == (CANARY, "https://api.openai.com/v1", 40)
    assert (azure.slow_after_s, azure.lists_models, azure.extra_body["user"]) == (4.0, False, "gateway")
    small, smart = sorted((one for one in registry.models if not one.is_off), key=lambda one: one.name)
    assert (smart.name, smart.aliases, smart.fallbacks[0], smart.balance) == (
        "smart",
        ("best", "gpt-4o"),
        "small",
        "cost",
    )
    assert [(one.provider, one.rank, str(one.input_price)) for one in smart.deployments] == [
        ("openai", 0, "2.500000"),
        ("azure-eu", 1, "2.750000"),
    ]
    assert (small.deployments[0].provider, small.deployments[0].remote_name) == ("local", "smollm2:135m")


def test_the_same_again_is_no_change_and_no_version() -> None:
    version = applied().version
    again = applied()
    assert (again.version, again.lines) == (version, ())
    assert RegistryVersion.objects.count() == 1


def test_what_it_says_can_be_applied_as_it_is() -> None:
    version = applied().version
    written = json.loads(json.dumps({"version": version, **shown(read_tables())}))
    assert changes.apply(read_document(written), OPS).lines == ()
    assert read().providers[1].key == CANARY


def test_a_version_says_what_changed_and_nothing_of_keys() -> None:
    applied()
    changed = json.loads(json.dumps(EVERYTHING))
    changed["providers"]["openai"] |= {"key": "sk-quite-another-key-entirely", "most_calls": None}
    changed["providers"]["gpu"]["is_enabled"] = True
    changed["models"]["smart"]["deployments"][1]["weight"] = 5
    del changed["models"]["small"]
    changed["models"]["smart"]["fallbacks"] = []
    change = applied(changed)
    assert list(change.lines) == [
        "provider gpu: is_enabled: false → true",
        "provider openai: most_calls: 40 → –",
        "provider openai: key changed",
        "model small: removed",
        'model smart: fallbacks: ["small", "anthropic/claude-sonnet-4-5"] → –',
        "model smart: deployment azure-eu/gpt4o-prod: weight: 3 → 5",
    ]
    version = RegistryVersion.objects.get(number=change.version)
    assert (version.by, version.summary.splitlines()) == ("ops", list(change.lines))
    assert CANARY not in json.dumps([one.document for one in RegistryVersion.objects.all()])


def test_a_key_stays_until_it_is_given_anew_or_taken_away() -> None:
    applied()
    changes.put_provider("openai", ProviderPart.model_validate({"kind": "openai", "most_calls": 3}), OPS)
    assert read().providers[1].key == CANARY
    changes.put_provider("openai", ProviderPart.model_validate({"kind": "openai", "key": None}), OPS)
    assert [(one.name, one.why) for one in look().off if one.name == "openai"] == [
        ("openai", "it has no key; give it one, or set OPENAI_API_KEY")
    ]


def test_an_address_elsewhere_needs_the_key_again() -> None:
    applied()
    moved = {"kind": "openai", "address": "https://evil.example.com/v1"}
    with pytest.raises(WrongDocument, match=r"providers.openai.key: it was given for https://api.openai.com:443") as no:
        changes.put_provider("openai", ProviderPart.model_validate(moved), OPS)
    assert "is now https://evil.example.com:443" in str(no.value)
    nearby = {"kind": "openai", "address": "https://api.openai.com/v2"}
    changes.put_provider("openai", ProviderPart.model_validate(nearby), OPS)
    assert read().providers[1].key == CANARY
    changes.put_provider("openai", ProviderPart.model_validate(moved | {"key": "sk-for-evil"}), OPS)
    assert read().providers[1].key == "sk-for-evil"


def test_what_the_environment_moves_does_not_get_the_key(environment: Callable[..., None]) -> None:
    applied()
    environment(addresses={"openai": "http://elsewhere.example.com/v1"})
    (off,) = [one for one in look().off if one.name == "openai"]
    assert "its key was given for https://api.openai.com:443" in off.why


def test_a_wrong_document_changes_nothing() -> None:
    version = applied().version
    before = read_tables()
    with pytest.raises(WrongDocument):
        applied(EVERYTHING | {"models": {"smart": {"deployments": [{"provider": "nobody", "remote_name": "x"}]}}})
    assert (read_tables(), newest_version()) == (before, version)


def test_a_version_that_comes_back_is_as_it_was(environment: Callable[..., None]) -> None:
    first = applied().version
    as_it_was, entries = read_tables(), read()
    applied({"providers": {}, "models": {}})
    assert read().providers == ()
    change = changes.restore(first, OPS)
    assert read_tables() == as_it_was
    assert (read().providers, read().models) == (entries.providers, entries.models)
    newest = RegistryVersion.objects.get(number=change.version)
    assert (newest.reason, newest.document) == (
        f"version {first} again",
        RegistryVersion.objects.get(number=first).document,
    )


def test_a_key_does_not_come_back_for_another_address(environment: Callable[..., None]) -> None:
    first = applied().version
    applied({"providers": {}, "models": {}})
    environment(addresses={"openai": "http://elsewhere.example.com/v1"})
    changes.restore(first, OPS)
    assert Provider.objects.get(name="openai").sealed_key == ""
    assert Provider.objects.get(name="azure-eu").sealed_key


def test_who_changes_an_older_version_is_refused() -> None:
    first = applied().version
    changes.put_model("new", ModelPart.model_validate({}), OPS, expected=first)
    with pytest.raises(Conflict, match=f"at version {first + 1} by now, not {first}"):
        changes.put_model("newer", ModelPart.model_validate({}), OPS, expected=first)
    with pytest.raises(Conflict):
        changes.apply(read_document(EVERYTHING | {"version": first}), OPS)
    assert not RegisteredModel.objects.filter(name="newer").exists()


def test_one_at_a_time() -> None:
    applied()
    changes.put_model("a/b:c", ModelPart.model_validate({"aliases": ["d"]}), OPS)
    with pytest.raises(WrongDocument, match=r'models\["Bad Name"\]: a name is of letters.*and 1 more'):
        changes.put_model(
            "Bad Name", ModelPart.model_validate({"deployments": [{"provider": "x", "remote_name": "y"}]}), OPS
        )
    changes.delete_model("a/b:c", OPS)
    with pytest.raises(NotThere, match="no model 'a/b:c'"):
        changes.delete_model("a/b:c", OPS)
    with pytest.raises(Conflict, match=r"^openai is used by smart; change that first\.$"):
        changes.delete_provider("openai", OPS)
    with pytest.raises(Conflict, match="small is used by smart"):
        changes.delete_model("small", OPS)
    changes.delete_provider("gpu", OPS)
    with pytest.raises(NotThere):
        changes.restore(10**6, OPS)


def test_what_the_environment_sets_up_has_a_row_and_stays(environment: Callable[..., None]) -> None:
    assert changes.ensure_environment().lines == ()
    environment(keys={"groq": "gsk-1", "openai": "sk-1"}, addresses={"ollama": "http://gpu:11434"})
    assert [one.name for one in read().providers] == ["groq", "ollama", "openai"], "row or not"
    changes.put_provider("openai", ProviderPart.model_validate({"kind": "openai", "is_enabled": False}), OPS)
    change = changes.ensure_environment()
    assert RegistryVersion.objects.get(number=change.version).by == "environment"
    assert changes.ensure_environment().version == change.version
    assert [one.name for one in read().providers] == ["groq", "ollama"], "what is switched off stays off"
    assert applied().lines
    assert set(read_tables()["providers"]) == {*EVERYTHING["providers"], "groq", "ollama"}
    with pytest.raises(Conflict, match="environment"):
        changes.delete_provider("groq", OPS)


def test_what_the_products_environment_sets_up_stays_in_any_other(environment: Callable[..., None]) -> None:
    environment(keys={"groq": "gsk-1"})
    changes.put_provider("mine", ProviderPart.model_validate({"kind": "openai"}), OPS)
    changes.put_provider("groq", ProviderPart.model_validate({"kind": "groq", "most_calls": 3}), OPS)
    changes.ensure_environment()  # as the product does when it starts
    environment()  # a shell of another
    uses_it = {"models": {"m": {"deployments": [{"provider": "groq", "remote_name": "x"}]}}}
    assert changes.trial(read_document(uses_it)).removed == ("provider mine",)
    assert "provider mine: removed" in applied(uses_it).lines
    assert read_tables()["providers"]["groq"]["most_calls"] == 3
    changes.ensure_environment()  # the product starts without it
    assert "provider groq: removed" in applied({}).lines


def test_what_comes_back_is_the_same_row(environment: Callable[..., None]) -> None:
    def rows() -> dict[str, int]:
        some = [*Provider.objects.all(), *RegisteredModel.objects.all()]
        return {f"{one._meta.model_name} {one.name}": one.pk for one in some}

    first = applied().version
    as_it_was = rows()
    applied({})
    assert rows() == {}
    changes.restore(first, OPS)
    assert rows() == as_it_was


def test_deployments_stay_in_the_order_they_were_written_in() -> None:
    places = [{"remote_name": "a"}, {"remote_name": "b"}, {"remote_name": "c"}]
    applied({"models": {"m": {"deployments": places}}})
    numbers = sorted(Deployment.objects.values_list("pk", flat=True))
    for written in ([places[2], places[0], places[1]], [places[1], places[2]], places):
        applied({"models": {"m": {"deployments": written}}})
        assert [one["remote_name"] for one in read_tables()["models"]["m"]["deployments"]] == [
            one["remote_name"] for one in written
        ]
        assert Deployment.objects.order_by("pk").values_list("pk", flat=True)[0] == numbers[0]


def test_deployments_are_kept_as_they_are_asked_and_faulted_as_they_are_written() -> None:
    written: list[dict[str, Any]] = [{"remote_name": "b", "rank": 1}, {"remote_name": "a"}]
    applied({"models": {"m": {"deployments": written}}})
    assert [one["remote_name"] for one in read_tables()["models"]["m"]["deployments"]] == ["a", "b"]
    written[0]["provider"] = "nobody"
    with pytest.raises(WrongDocument, match=r"^models.m.deployments\[0\].provider: there is no provider"):
        applied({"models": {"m": {"deployments": written}}})


def test_a_fallback_that_is_nothing_is_warned_of() -> None:
    change = applied(
        {
            "models": {
                "a": {"fallbacks": ["nothere", "openai/any", "b:latest", "c", "mine/x", "other/x", "all-minilm"]},
                "b": {"aliases": ["d"], "deployments": [{"remote_name": "x"}]},
                "c": {"is_enabled": False, "deployments": [{"remote_name": "x"}]},
                "openai/gpt-4o": {},
            },
            "providers": {"mine": {"kind": "openai"}},
        }
    )
    assert [str(one) for one in change.warnings] == [
        "models.a: it runs nowhere: it has no deployments, and no model is called so here",
        "models.a.fallbacks[0]: there is no model 'nothere', neither registered nor installed here",
        "models.a.fallbacks[3]: 'c' is switched off",
        "models.a.fallbacks[5]: there is no model 'other/x', neither registered nor installed here",
    ]
    here = {"deployments": [{"remote_name": "x"}]}
    assert changes.put_model("e", ModelPart.model_validate(here), OPS).warnings == (), "of others it said so before"
    (warning,) = changes.put_model("f", ModelPart.model_validate(here | {"fallbacks": ["g"]}), OPS).warnings
    assert warning.path == "models.f.fallbacks[0]"
    off = ModelPart.model_validate(here | {"is_enabled": False})
    (warning,) = changes.put_model("b", off, OPS).warnings
    assert str(warning) == "models.a.fallbacks[2]: 'b:latest' is switched off"


def test_the_newest_versions_are_kept() -> None:
    for number in range(1, MOST_VERSIONS + 4):
        RegistryVersion.objects.create(by="x", summary="x", document={}, number=number)
    applied()
    kept = set(RegistryVersion.objects.values_list("number", flat=True))
    assert kept == set(range(5, MOST_VERSIONS + 5))


def test_reasons_and_names_are_bounded() -> None:
    changes.apply(read_document(EVERYTHING), By("x" * 1000, "y" * 1000))
    version = RegistryVersion.objects.get()
    assert (len(version.by), len(version.reason)) == (150, 200)


def test_a_document_of_the_tables_is_the_document() -> None:
    applied()
    document = read_document(document_of(read_tables()))
    given = read_document(EVERYTHING)
    assert document.models == dict(sorted(given.models.items()))


@pytest.mark.django_db(transaction=True)
def test_thousands_are_written_in_few_queries(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    """Who writes keeps all others from writing, and each who is told of a change reads everything anew."""
    generation = Generation(settings.GENERATION_FILE)
    first, second = ({"remote_name": name} for name in ("a:1b", "b:1b"))
    for number, deployments in enumerate(([first, second], [second]), start=1):
        models = {f"m{one}": {"deployments": deployments} for one in range(1000)}
        with django_assert_max_num_queries(200):
            applied(EVERYTHING | {"models": models})
        kept = Deployment.objects.order_by("model__name", "id").values_list("model__name", "remote_name")
        assert list(kept) == [(name, one["remote_name"]) for name in sorted(models) for one in deployments]
        assert generation.policy() == number
    applied({})
    assert (generation.policy(), Deployment.objects.count(), Provider.objects.count()) == (3, 0, 0)
    generation.close()


@pytest.mark.django_db(transaction=True)
def test_nobody_is_held_off_while_a_change_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another change that comes between is not lost, and one that always comes between is waited for at last."""
    applied()
    real, held, others = changes.differences, [], iter(range(changes.MOST_TRIES))

    def differences(before: Stored, after: Stored) -> list[str]:
        held.append(connection.in_atomic_block)
        if not held[-1] and (number := next(others, None)) is not None:
            with monkeypatch.context() as meanwhile:
                meanwhile.setattr(changes, "differences", real)
                changes.put_model(f"other-{number}", ModelPart.model_validate({}), OPS)
        return real(before, after)

    monkeypatch.setattr(changes, "differences", differences)
    changes.put_model("mine", ModelPart.model_validate({}), OPS)
    assert held == [False, False, False, True]
    assert {"mine", "other-0", "other-1", "other-2"} <= read_tables()["models"].keys()


@pytest.mark.django_db(transaction=True)
def test_what_is_not_changed_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys may be sealed anew between the reading and the writing, and operators may say that a provider is well."""
    applied()
    real = changes.write_tables

    def write(before: Stored, after: Stored) -> None:
        Provider.objects.filter(name="openai").update(sealed_key="anew", reset_at="2026-01-01T00:00:00Z")
        real(before, after)

    monkeypatch.setattr(changes, "write_tables", write)
    changes.put_provider("openai", ProviderPart.model_validate({"kind": "openai", "most_calls": 3}), OPS)
    row = Provider.objects.get(name="openai")
    assert (row.most_calls, row.sealed_key, row.reset_at is None) == (3, "anew", False)


@pytest.mark.django_db(transaction=True)
def test_a_switch_changes_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody raises a limit between the reading and the writing of it, and a model is wrong by somebody's hand."""
    put = {"kind": "compatible", "address": "http://gpu.example.com"}
    changes.apply(read_document({"providers": {"gpu": put}, "models": {"broken": {}}}), OPS)
    RegisteredModel.objects.update(aliases={})
    real, raised = changes.differences, {"providers": {"gpu": put | {"most_calls": 99}}}

    def differences(before: Stored, after: Stored) -> list[str]:
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(changes, "differences", real)
            if Provider.objects.get().most_calls is None:
                changes.apply(read_document(raised | {"models": {"broken": {"tags": ["whole"]}}}), OPS)
                RegisteredModel.objects.update(aliases={})
        return real(before, after)

    monkeypatch.setattr(changes, "differences", differences)
    assert changes.switch_provider("gpu", OPS, is_on=False).lines == ("provider gpu: is_enabled: true → false",)
    row = Provider.objects.get()
    assert (row.most_calls, row.is_enabled) == (99, False)
    with pytest.raises(NotThere, match="no provider 'cpu'"):
        changes.switch_provider("cpu", OPS, is_on=False)
