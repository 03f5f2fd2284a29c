"""A provider and a model as forms: checked as the document is, with each fault beside its field."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django import forms
from django.forms.models import BaseInlineFormSet, inlineformset_factory
from pydantic import ValidationError

from orchestrator.core.documents import Fault, WrongDocument
from orchestrator.core.lines import Lines
from orchestrator.core.presets import KINDS
from orchestrator.core.prices import plain
from orchestrator.registry import changes
from orchestrator.registry.document import CAPABILITIES, LONGEST_KEY, ModelPart, ProviderPart, faults_of
from orchestrator.registry.entries import LOCAL
from orchestrator.registry.models import Deployment, Provider, RegisteredModel
from orchestrator.registry.reading import newest_version
from orchestrator.registry.stored import DEPLOYMENT, MODEL, PROVIDER, read_tables

if TYPE_CHECKING:
    AnyForm = forms.ModelForm[Any]
    FormSetBase = BaseInlineFormSet[Deployment, RegisteredModel, forms.ModelForm[Deployment]]
else:
    AnyForm = forms.ModelForm
    FormSetBase = BaseInlineFormSet

PROVIDER_LABELS = {
    "connect_timeout_s": "Connecting, s",
    "first_token_timeout_s": "First token, s",
    "token_timeout_s": "Between tokens, s",
    "answer_timeout_s": "Whole answer, s",
    "slow_after_s": "Slow after, s",
    "most_calls": "Calls at once",
    "is_paid": "Charges",
    "lists_models": "Lists its models",
    "extra_body": "Sent along",
    "is_enabled": "Switched on",
}
MODEL_LABELS = {"hedge_after_s": "Hedge after, s", "is_enabled": "Switched on"}
CHANGED = "It was changed by somebody else meanwhile; load this page again, and change that."
PREFIX = "deployments"


class PriceField(forms.DecimalField):
    """A price without noughts at its end."""

    def prepare_value(self, value: Any) -> Any:
        """As it is written in documents."""
        return plain(value) if isinstance(value, Decimal) else value


def _seen(kind: changes.Kind, name: str) -> str:
    """Another word for each state of a part of the registry."""
    state = json.dumps(read_tables()[kind].get(name), sort_keys=True)
    return hashlib.sha256(state.encode()).hexdigest()[:32]


class PartForm(AnyForm):
    """A part of the registry, which is saved if it is still as it was when its page was loaded."""

    within: changes.Kind  # which parts it is one of
    seen = forms.CharField(required=False, widget=forms.HiddenInput)
    reason = forms.CharField(
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"class": "vLargeTextField"}),
        help_text="For the history, if you like.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.version = newest_version()  # that it is checked with: nothing may come between that and its saving
        if self.instance.pk:
            self.initial["seen"] = _seen(self.within, self.instance.name)

    def must_be_as_seen(self, values: dict[str, Any]) -> None:
        """Raises ValidationError when it was changed meanwhile."""
        if self.instance.pk and values.get("seen") != self.initial["seen"]:
            raise forms.ValidationError(CHANGED)


class ProviderForm(PartForm):
    """A provider. Its key is typed in and never shown."""

    within = "providers"

    kind = forms.ChoiceField(
        choices=[(kind, preset.title) for kind, preset in KINDS.items()],
        help_text="What it speaks, and its usual address.",
    )
    key = forms.CharField(
        required=False,
        strip=True,
        max_length=LONGEST_KEY,
        label="New key",
        help_text="Empty: it stays as it is. It is sealed, and not shown again.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"}),
    )
    without_key = forms.BooleanField(required=False, label="Take the key away")

    part: ProviderPart | None = None  # what the form says, once it is right

    class Meta:
        model = Provider
        fields = ("name", *PROVIDER)
        labels = PROVIDER_LABELS  # read only
        widgets = {"address": forms.TextInput(attrs={"class": "vLargeTextField"})}  # noqa: RUF012

    def clean(self) -> dict[str, Any]:
        """Check it with all there is."""
        values = super().clean() or {}
        if values.get("extra_body") is None:
            values["extra_body"] = {}
        given = {field: values.get(field) for field in PROVIDER}
        given["address"] = given["address"] or ""
        if values.get("without_key"):
            given["key"] = None
        elif values.get("key"):
            given["key"] = values["key"]
        if self.errors:
            return values
        name = self.instance.name or values["name"]
        self.must_be_as_seen(values)
        try:
            self.part = ProviderPart.model_validate(given)
            changes.try_part("providers", name, self.part)
        except ValidationError as error:
            _tell(self, faults_of(error.errors(include_url=False), ("providers", name)), ("providers", name))
        except WrongDocument as error:
            _tell(self, error.faults, ("providers", name))
        return values


class ModelForm(PartForm):
    """A model, with its deployments in a formset beside it."""

    within = "models"

    aliases = Lines(required=False, help_text="Other names for it, one a line.")
    tags = Lines(required=False, help_text="One a line.")
    fallbacks = Lines(
        required=False, help_text="Other models, one a line, asked in this order when no deployment answers."
    )
    capabilities = forms.MultipleChoiceField(
        required=False,
        choices=[(one, one) for one in CAPABILITIES],
        widget=forms.CheckboxSelectMultiple,
        help_text="None: as its provider tells.",
    )

    part: ModelPart | None = None  # what the form says, once it is right

    class Meta:
        model = RegisteredModel
        fields = ("name", *MODEL)
        labels = MODEL_LABELS  # read only

    def clean(self) -> dict[str, Any]:
        """Check it with its deployments and all there is; what is wrong with those stands beside them."""
        values = super().clean() or {}
        if self.errors:
            return values
        self.must_be_as_seen(values)
        deployments: Any = DeploymentForms(self.data, instance=self.instance, prefix=PREFIX, model=self)
        if deployments.are_whole():
            name = self.instance.name or values["name"]
            faults = deployments.faults(name, {field: values[field] for field in MODEL})
            _tell(self, [one for one in faults if one.place[2:3] != (PREFIX,) or len(one.place) < 4], ("models", name))
            self.part = deployments.part
        return values


class DeploymentFormSet(FormSetBase):
    """Where a model runs."""

    part: ModelPart | None = None

    def __init__(self, *args: Any, model: ModelForm | None = None, **kwargs: Any) -> None:
        """`model` is the form that checks these; without it they look for their own faults."""
        self._model = model
        super().__init__(*args, **kwargs)

    def are_whole(self) -> bool:
        """Whether each of them is right by itself."""
        return bool(self.management_form.is_valid()) and all(form.is_valid() for form in self._kept())

    def faults(self, name: str, values: dict[str, Any]) -> list[Fault]:
        """What is wrong with a model of these values that runs here; `part` is the model when nothing is."""
        given = [_deployment(form.cleaned_data) for form in self._asked_in_order()]
        try:
            self.part = ModelPart.model_validate({**values, PREFIX: given})
            changes.try_part("models", name, self.part)
        except ValidationError as error:
            return faults_of(error.errors(include_url=False), ("models", name))
        except WrongDocument as error:
            return list(error.faults)
        return []

    def clean(self) -> None:
        """Tell each what is wrong with it, once the model is right by itself."""
        super().clean()
        if self._model is not None or any(self.errors):
            return
        faults = self.faults(self.instance.name, {field: getattr(self.instance, field) for field in MODEL})
        forms_ = self._asked_in_order()
        for fault in faults:
            if fault.place[2:3] == (PREFIX,) and len(fault.place) > 3:
                form = forms_[int(fault.place[3])]
                form.add_error(_field(form, str(fault.place[4]) if len(fault.place) > 4 else None), fault.words)

    def _kept(self) -> list[Any]:
        # A line that is to go says so in its raw data: it may be wrong otherwise.
        going = {form.prefix for form in self.forms if f"{form.prefix}-DELETE" in form.data}
        return [form for form in self.forms if form.prefix not in going and _says(form)]

    def _asked_in_order(self) -> list[Any]:
        return sorted(self._kept(), key=lambda form: form.cleaned_data["rank"])


def _says(form: Any) -> bool:
    """Whether it is more than an empty line at the end."""
    return bool(form.instance.pk) or form.has_changed()


def _deployment(values: dict[str, Any]) -> dict[str, Any]:
    provider = values["provider"]
    return {"provider": provider.name if provider else LOCAL} | {field: values[field] for field in DEPLOYMENT}


def _tell(form: Any, faults: Sequence[Fault], within: tuple[str, ...]) -> None:
    """Put each fault beside its field; what is elsewhere in the registry stands above all of them."""
    for fault in faults:
        is_here = fault.place[: len(within)] == within
        field = _field(form, str(fault.place[2]) if is_here and len(fault.place) > 2 else "name" if is_here else None)
        words = fault.words
        if is_here and len(fault.place) > 3 and isinstance(fault.place[3], int) and field in form.cleaned_data:
            words = f"{form.cleaned_data[field][fault.place[3]]}: {words}"
        form.add_error(field, words if is_here and field else str(fault))


def _field(form: Any, name: str | None) -> str | None:
    return name if name in form.fields else None


DeploymentForms = inlineformset_factory(
    RegisteredModel,
    Deployment,
    fields=("provider", *DEPLOYMENT),
    formset=DeploymentFormSet,
    extra=0,
)
