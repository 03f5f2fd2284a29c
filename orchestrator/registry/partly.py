"""A document of which some is wrong: what is right in it is read all the same, so that all faults are told at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import PrivateAttr, ValidationError, model_validator

from orchestrator.core.documents import Fault
from orchestrator.registry.document import Document, ModelPart, ProviderPart, faults_of

PartT = TypeVar("PartT", ProviderPart, ModelPart)
Place = tuple[str | int, ...]
WHOLE: set[Place] = {(), ("providers",), ("models",)}  # with a fault here nothing beneath can be told


class Draft(Document):
    """A document that may be wrong, to be checked."""

    _faults: list[Fault] = PrivateAttr(default_factory=list)

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, value: Any, _: Any) -> Draft:
        return read_partly(value)

    @property
    def faults(self) -> list[Fault]:
        """What is wrong with its fields."""
        return self._faults


def read_partly(value: Any) -> Draft:
    """A JSON value as a document, without what is wrong in it."""
    try:
        read: Document = Document.model_validate(value)
        faults: list[Fault] = []
    except ValidationError as error:
        faults = faults_of(error.errors(include_url=False, include_input=False))
        read = _what_is_right(value, faults)
    draft = Draft.model_construct(version=read.version, providers=read.providers, models=read.models)
    draft._faults = faults
    return draft


def beside(faults: list[Fault], others: list[Fault]) -> list[Fault]:
    """All of `faults`, and those of `others` that are not about what is wrong already."""
    places = {fault.place for fault in faults}
    return faults + [
        other for other in others if not any(other.place[:size] in places for size in range(len(other.place) + 1))
    ]


def _what_is_right(value: Any, faults: list[Fault]) -> Document:
    if any(fault.place in WHOLE for fault in faults):
        return Document.model_validate({})
    wrong: defaultdict[Place, list[Place]] = defaultdict(list)
    for fault in faults:
        wrong[fault.place[:2]].append(fault.place[2:])
    providers = {
        name: _part(ProviderPart, one, {"kind": "compatible"}, wrong["providers", name])
        for name, one in value.get("providers", {}).items()
    }
    models = {name: _part(ModelPart, one, {}, wrong["models", name]) for name, one in value.get("models", {}).items()}
    return Document.model_construct(providers=providers, models=models)


def _part(kind: type[PartT], given: Any, least: Mapping[str, Any], wrong: list[Place]) -> PartT:
    """A part without its fields that are wrong; of a deployment only its own field goes, since others are counted."""
    kept = dict(given) if isinstance(given, dict) else {}
    deployments = kept.get("deployments")
    for field, *deeper in (place for place in wrong if place):
        if field == "deployments" and deeper and isinstance(deployments, list):
            kept[field] = deployments = list(deployments)
            index = int(deeper[0])
            one = deployments[index] if len(deeper) > 1 else {}
            rest = {name: value for name, value in one.items() if name != deeper[1]} if one else {}
            deployments[index] = {"remote_name": f"unreadable-{index}", **rest}
        else:
            kept.pop(str(field), None)
    try:
        return kind.model_validate({**least, **kept})
    except ValidationError:
        return kind.model_validate(least)
