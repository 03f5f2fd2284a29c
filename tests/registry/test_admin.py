"""Providers and models on the pages of the admin: checked as everywhere, and each save is a version."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client

from orchestrator.core.errors import Conflict
from orchestrator.core.permissions import Role
from orchestrator.models import Membership
from orchestrator.registry import changes
from orchestrator.registry.admin import ProviderAdmin
from orchestrator.registry.document import ModelPart, read_document
from orchestrator.registry.models import Provider, RegisteredModel, RegistryVersion
from orchestrator.registry.reading import read
from tests.registry.conftest import CANARY, EVERYTHING, OPS

pytestmark = pytest.mark.django_db
PROVIDERS, MODELS, VERSIONS = (f"/admin/registry/{one}/" for one in ("provider", "registeredmodel", "registryversion"))


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("olga"))
    return client


def form_of(client: Client, path: str) -> dict[str, Any]:
    """What a form would send back as it is."""
    context = client.get(path).context
    forms = [
        context["adminform"].form,
        *(one for part in context["inline_admin_formsets"] for one in part.formset.forms),
    ]
    forms += [part.formset.management_form for part in context["inline_admin_formsets"]]
    values: dict[str, Any] = {}
    for form in forms:
        for field in form:
            value = field.value()
            if value is not None and value is not False:
                values[field.html_name] = "on" if value is True else value
    return values


def change(name: str, model: type[Provider] | type[RegisteredModel] = Provider) -> str:
    row = model.objects.get(name=name)
    return f"{PROVIDERS if model is Provider else MODELS}{row.pk}/change/"


def errors(page: Any) -> str:
    assert page.status_code == 200
    context = page.context
    found = [context["adminform"].form.errors.as_text()]
    for part in context["inline_admin_formsets"]:
        found += [error.as_text() for error in part.formset.errors] + [str(part.formset.non_form_errors())]
    return unescape("\n".join(found))


NEW = {"name": "vllm", "kind": "compatible", "address": "http://vllm:8000/v1", "is_enabled": "on", "extra_body": "{}"}
NO_DEPLOYMENTS = {"deployments-TOTAL_FORMS": "0", "deployments-INITIAL_FORMS": "0"}


def test_a_provider_is_added_changed_and_taken_out(staff: Client) -> None:
    assert staff.post(f"{PROVIDERS}add/", NEW | {"key": CANARY}).status_code == 302
    (one,) = read().providers
    assert (one.name, one.key, one.is_paid) == ("vllm", CANARY, False)
    version = RegistryVersion.objects.get()
    assert (version.by, version.summary.splitlines()[0]) == ("olga", "provider vllm: added")
    values = form_of(staff, change("vllm"))
    assert staff.post(change("vllm"), values).status_code == 302
    assert RegistryVersion.objects.count() == 1, "nothing changed, so there is no version"
    assert staff.post(change("vllm"), values | {"most_calls": "4"}).status_code == 302
    assert (read().providers[0].most_calls, read().providers[0].key) == (4, CANARY)
    values = form_of(staff, change("vllm"))
    staff.post(change("vllm"), values | {"without_key": "on"})
    assert read().providers[0].key == ""
    staff.post(change("vllm").replace("change", "delete"), {"post": "yes"})
    assert read().providers == ()
    assert RegistryVersion.objects.first().summary == "provider vllm: removed"  # type: ignore[union-attr]


def said(response: Any) -> list[str]:
    """The warnings above the page."""
    assert response.status_code == 200
    return [str(one) for one in response.context["messages"] if one.level_tag == "warning"]


def test_what_was_saved_and_does_nothing_is_warned_of(staff: Client) -> None:
    nowhere = staff.post(f"{PROVIDERS}add/", NEW | {"address": ""}, follow=True)
    assert said(nowhere) == ["The provider vllm is off: it has no address; give it one."]
    off = {name: value for name, value in NEW.items() if name != "is_enabled"} | {"name": "other", "address": ""}
    assert said(staff.post(f"{PROVIDERS}add/", off, follow=True)) == [], "as was asked"
    assert said(staff.post(f"{PROVIDERS}add/", NEW | {"name": "third"}, follow=True)) == []
    empty = {"name": "empty", "balance": "latency", "is_enabled": "on", "fallbacks": "nothere"} | NO_DEPLOYMENTS
    listed = staff.post(f"{MODELS}add/", empty, follow=True)
    nowhere, nothing = said(listed)
    assert nowhere.startswith("Hardly meant: models.empty: it runs nowhere")
    assert nothing.startswith("Hardly meant: models.empty.fallbacks[0]: there is no model 'nothere'")
    row = unescape(listed.content.decode()).split('class="field-state">')[1]
    assert row.startswith(
        "on; it runs nowhere: it has no deployments, and no model is called so here; there is no model"
    )


def test_who_comes_to_price_a_model_finds_its_place(staff: Client) -> None:
    staff.post(f"{PROVIDERS}add/", NEW)
    values = form_of(staff, f"{MODELS}add/?name=vllm/org/model")
    row = Provider.objects.get(name="vllm")
    place = (values["deployments-0-provider"], values["deployments-0-remote_name"])
    assert (values["name"], place) == ("vllm/org/model", (row.pk, "org/model"))
    priced = values | {"deployments-0-input_price": "1.50", "deployments-0-output_price": "2"}
    assert staff.post(f"{MODELS}add/?name=vllm/org/model", priced).status_code == 302
    (one,) = read().models[0].deployments
    assert (one.provider, one.remote_name, one.input_price) == ("vllm", "org/model", Decimal("1.5"))
    for query in ("", "?name=vllm", "?name=nobody/x"):
        assert "deployments-0-provider" not in form_of(staff, f"{MODELS}add/{query}"), query


def test_a_reason_can_be_given(staff: Client) -> None:
    staff.post(f"{PROVIDERS}add/", NEW | {"reason": "more room"})
    assert RegistryVersion.objects.get().reason == "more room"
    staff.post(f"{MODELS}add/", {"name": "m", "balance": "cost", "reason": "for Ada"} | NO_DEPLOYMENTS)
    assert RegistryVersion.objects.get(reason="for Ada").summary.startswith("model m: added")
    assert "* reason" in errors(staff.post(f"{PROVIDERS}add/", NEW | {"name": "x", "reason": "y" * 201}))


def test_a_page_keeps_its_address_and_history_when_it_comes_back(staff: Client) -> None:
    staff.post(f"{PROVIDERS}add/", NEW)
    address = change("vllm")
    first = RegistryVersion.objects.get().number
    changes.apply(read_document({}), OPS)
    changes.restore(first, OPS)
    assert change("vllm") == address
    assert f"Version {first} of the registry." in staff.get(address.replace("change", "history")).content.decode()


def test_words_are_those_of_the_forms(staff: Client) -> None:
    changes.apply(read_document(EVERYTHING), OPS)
    assert "Is enabled" not in staff.get(change("smart", RegisteredModel)).content.decode()
    first = RegistryVersion.objects.get().number
    assert (
        '<div class="breadcrumbs"><a href="/admin/">Home</a>'
        in staff.get(f"{VERSIONS}{first}/restore/").content.decode()
    )


def test_a_key_is_on_no_page(staff: Client) -> None:
    changes.apply(read_document(EVERYTHING), OPS)
    pages = [PROVIDERS, change("openai"), MODELS, change("smart", RegisteredModel), VERSIONS]
    pages += [f"{VERSIONS}{RegistryVersion.objects.get().pk}/change/"]
    text = "".join(staff.get(page).content.decode() for page in pages)
    assert CANARY not in text
    assert Provider.objects.get(name="openai").sealed_key.split()[-1][:30] not in text
    assert "set here, ends in …WXYZ" in text
    wrong = NEW | {"key": f"{CANARY} with a space"}
    page = staff.post(f"{PROVIDERS}add/", wrong)
    assert "without spaces" in errors(page)
    assert CANARY not in page.content.decode()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "Bad"}, "lower-case letters"),
        ({"name": "local"}, "means something else here"),
        ({"name": "openai"}, "* kind\n  * a provider called openai is of the kind openai"),
        ({"kind": "nothing"}, "Select a valid choice"),
        ({"address": "vllm"}, "* address\n  * an address begins with http://"),
        ({"address": "http://me:pw@host"}, "* address\n  * an address begins with http://"),
        ({"extra_body": '{"model": "x"}'}, "* extra_body\n  * what questions are made of cannot be set here: model"),
        ({"extra_body": "[]"}, "* extra_body"),
        ({"extra_body": "{"}, "Enter a valid JSON"),
        ({"token_timeout_s": "20", "answer_timeout_s": "10"}, "* token_timeout_s\n  * 20 s are more than"),
        ({"token_timeout_s": "0.001"}, "greater than or equal to 0.05"),
        ({"most_calls": "0"}, "* most_calls"),
    ],
)
def test_what_is_wrong_with_a_provider_stands_beside_its_field(
    staff: Client, given: dict[str, str], words: str
) -> None:
    assert words in errors(staff.post(f"{PROVIDERS}add/", NEW | given))
    assert not Provider.objects.exists()


def test_an_address_elsewhere_needs_the_key_again(staff: Client) -> None:
    changes.apply(read_document(EVERYTHING), OPS)
    values = form_of(staff, change("openai")) | {"address": "https://evil.example.com/v1"}
    assert "* key\n  * it was given for https://api.openai.com:443" in errors(staff.post(change("openai"), values))
    assert staff.post(change("openai"), values | {"key": "another"}).status_code == 302


def test_a_provider_that_is_needed_or_of_the_environment_is_not_taken_out(
    staff: Client, environment: Callable[..., None]
) -> None:
    changes.apply(read_document(EVERYTHING), OPS)
    page = staff.get(change("openai").replace("change", "delete"))
    said = unescape(page.content.decode())
    assert "openai cannot be deleted while it is used; change that first" in said
    assert "used by the model smart" in said
    assert "Deployment" not in said
    assert (
        "used by the model smart"
        in staff.get(change("small", RegisteredModel).replace("change", "delete")).content.decode()
    )
    assert staff.post(change("small", RegisteredModel).replace("change", "delete"), {"post": "yes"}).status_code == 200
    assert RegisteredModel.objects.filter(name="small").exists()
    environment(keys={"groq": "gsk"})
    changes.ensure_environment()
    assert staff.post(change("groq").replace("change", "delete"), {"post": "yes"}).status_code == 403
    assert b"from GROQ_API_KEY" in staff.get(change("groq")).content


def test_a_model_is_added_and_changed_with_its_deployments(staff: Client) -> None:
    changes.apply(read_document(EVERYTHING), OPS)
    values = form_of(staff, change("smart", RegisteredModel))
    assert (values["aliases"], values["fallbacks"]) == ("best\ngpt-4o", "small\nanthropic/claude-sonnet-4-5")
    values |= {"aliases": "best\n\n gpt-4o ", "fallbacks": "small\nanthropic/claude-sonnet-4-5", "tags": "chat"}
    count = RegistryVersion.objects.count()
    assert staff.post(change("smart", RegisteredModel), values).status_code == 302
    assert RegistryVersion.objects.count() == count, "one a line, it is the same"
    values |= {"aliases": "best\nbetter", "deployments-1-weight": "7", "capabilities": ["tools"]}
    assert staff.post(change("smart", RegisteredModel), values).status_code == 302
    version = RegistryVersion.objects.first()
    assert version is not None
    assert (version.by, version.summary.splitlines()) == (
        "olga",
        [
            'model smart: aliases: ["best", "gpt-4o"] → ["best", "better"]',
            'model smart: capabilities: ["completion", "tools", "vision"] → ["tools"]',
            "model smart: deployment azure-eu/gpt4o-prod: weight: 3 → 7",
        ],
    )
    values = form_of(staff, change("smart", RegisteredModel))
    values |= {"aliases": "best", "tags": "chat", "fallbacks": "", "hedge_after_s": "", "deployments-0-DELETE": "on"}
    assert staff.post(change("smart", RegisteredModel), values).status_code == 302
    smart = next(one for one in read().models if one.name == "smart")
    assert [one.provider for one in smart.deployments] == ["azure-eu"]


def test_a_model_that_is_new(staff: Client) -> None:
    values = {"name": "tiny", "balance": "latency", "is_enabled": "on", "deployments-INITIAL_FORMS": "0"}
    values |= {"deployments-TOTAL_FORMS": "2", "deployments-0-remote_name": "smollm2:135m", "deployments-0-rank": "1"}
    values |= {"deployments-0-weight": "1", "deployments-0-is_enabled": "on", "deployments-0-input_price": "0.15"}
    values |= {"deployments-0-output_price": "0"}
    values |= {"deployments-1-remote_name": "other", "deployments-1-rank": "0", "deployments-1-weight": "1"}
    assert staff.post(f"{MODELS}add/", values).status_code == 302
    (tiny,) = read().models
    assert [(one.provider, one.remote_name) for one in tiny.deployments] == [("local", "smollm2:135m")]
    assert staff.post(change("tiny", RegisteredModel).replace("change", "delete"), {"post": "yes"}).status_code == 302
    assert read().models == ()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "auto"}, "* name\n  * 'auto' leaves the choice to us"),
        ({"name": "two words"}, "* name\n  * a name is of letters"),
        ({"aliases": "fine\nopenai/x"}, "* aliases\n  * openai/x: that is a model of the provider openai"),
        ({"fallbacks": "tiny"}, "* fallbacks\n  * tiny: a model cannot take its own place"),
        ({"hedge_after_s": "1"}, "* hedge_after_s\n  * there is no second deployment"),
        ({"context_length": "0"}, "* context_length"),
        ({"deployments-0-remote_name": "../etc"}, "* remote_name\n  * no local model can be called so"),
        ({"deployments-0-remote_name": "", "deployments-0-rank": "3"}, "This field is required"),
        ({"deployments-0-input_price": "-1"}, "* input_price\n  * Ensure this value"),
        ({"deployments-0-weight": "0"}, "* weight"),
    ],
)
def test_what_is_wrong_with_a_model_is_beside_its_field(staff: Client, given: dict[str, str], words: str) -> None:
    values = {"name": "tiny", "balance": "latency", "is_enabled": "on", "deployments-INITIAL_FORMS": "0"}
    values |= {"deployments-TOTAL_FORMS": "1", "deployments-0-remote_name": "x", "deployments-0-rank": "0"}
    values |= {"deployments-0-weight": "1", "deployments-0-is_enabled": "on"}
    assert words in errors(staff.post(f"{MODELS}add/", values | given))
    assert not RegisteredModel.objects.exists()


def test_what_somebody_else_changed_meanwhile_is_not_written_over(staff: Client) -> None:
    staff.post(f"{PROVIDERS}add/", NEW)
    staff.post(f"{MODELS}add/", {"name": "m", "balance": "cost"} | NO_DEPLOYMENTS)
    for path, kind in ((change("vllm"), "providers"), (change("m", RegisteredModel), "models")):
        values = form_of(staff, path)
        changes.apply(
            read_document(
                {
                    "providers": {"vllm": {"kind": "compatible", "address": f"http://{kind}"}},
                    "models": {"m": {"tags": [kind]}},
                }
            ),
            OPS,
        )
        assert "changed by somebody else" in errors(staff.post(path, values | {"is_enabled": "on"}))


def test_a_version_is_shown_and_comes_back(staff: Client) -> None:
    first = changes.apply(read_document(EVERYTHING), OPS).version
    second = changes.apply(read_document({}), OPS).version
    assert "model openai/gpt-4o-mini: removed, and" not in staff.get(VERSIONS).content.decode()
    page = staff.get(f"{VERSIONS}{first}/change/").content.decode()
    assert "provider openai: key given" in page
    assert "Restore this version" in page
    asked = staff.get(f"{VERSIONS}{first}/restore/").content.decode()
    assert "provider openai: added" in asked
    assert RegistryVersion.objects.count() == 2
    said = staff.post(f"{VERSIONS}{first}/restore/", follow=True).content.decode()
    assert f"as it was in version {first} again. This is version {second + 1}" in said
    assert read().providers[1].key == CANARY
    assert "there is nothing to change" in staff.get(f"{VERSIONS}{first}/restore/").content.decode()
    for wrong in ("1000000", "x", "1/2"):
        assert staff.get(f"{VERSIONS}{wrong}/restore/").status_code in {302, 404}
    assert staff.post(f"{VERSIONS}{first}/delete/", {"post": "yes"}).status_code == 403
    assert staff.get(f"{VERSIONS}add/").status_code == 403


def test_who_may_only_look_does_not_restore() -> None:
    first = changes.apply(read_document({"models": {"m": {}}}), OPS).version
    changes.apply(read_document({}), OPS)
    user = User.objects.create_user("reader")
    Membership.objects.create(user=user, role=Role.VIEWER)
    client = Client()
    client.force_login(user)
    assert "Restore this version" not in client.get(f"{VERSIONS}{first}/change/").content.decode()
    assert client.post(f"{VERSIONS}{first}/restore/").status_code == 403
    assert read().models == ()


def test_health_is_not_edited_here(staff: Client) -> None:
    page = staff.get("/admin/").content.decode()
    assert "providercheck" not in page
    assert "openbreaker" not in page
    assert "Models and providers" in page


@pytest.mark.django_db(transaction=True)
def test_a_page_is_checked_and_saved_while_others_write(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among thousands of models that takes seconds. What another changes meanwhile stays as they changed it."""
    changes.apply(read_document(EVERYTHING), OPS)
    real, held = changes.put_model, []

    def put(*args: Any, **kwargs: Any) -> changes.Change:
        held.append(connection.in_atomic_block)
        real("smart", ModelPart.model_validate({"tags": ["theirs"]}), OPS)
        return real(*args, **kwargs)

    values = form_of(staff, change("smart", RegisteredModel))
    values |= {"aliases": "best\ngpt-4o", "fallbacks": "small\nanthropic/claude-sonnet-4-5", "tags": "mine"}
    monkeypatch.setattr(changes, "put_model", put)
    response = staff.post(change("smart", RegisteredModel), values, follow=True)
    assert "read it again, and change that" in response.content.decode()
    assert (held, RegisteredModel.objects.get(name="smart").tags) == ([False], ["theirs"])


def test_a_form_that_cannot_be_shown_is_not_sent_back_to_itself(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise Conflict("it changed meanwhile")

    monkeypatch.setattr(ProviderAdmin, "_changeform_view", refused)
    with pytest.raises(Conflict):
        staff.get(f"{PROVIDERS}add/")
    (said,) = get_messages(staff.post(f"{PROVIDERS}add/").wsgi_request)
    assert str(said) == "it changed meanwhile"
