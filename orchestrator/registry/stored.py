"""The registry between the document and the tables: plain JSON with every field, keys sealed. Versions keep it so."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from pydantic import SecretStr

from orchestrator.core.addresses import origin_of
from orchestrator.registry.document import DeploymentPart, Document, Fault, ModelPart, ProviderPart
from orchestrator.registry.entries import LOCAL
from orchestrator.registry.models import Deployment, Provider, RegisteredModel
from orchestrator.registry.seal import hint, origin_of_sealed
from orchestrator.registry.settled import key_of, place_of, sealer

Stored = dict[str, dict[str, dict[str, Any]]]  # providers and models, by name
PROVIDER = [name for name in ProviderPart.model_fields if name != "key"]
MODEL = [name for name in ModelPart.model_fields if name != "deployments"]
DEPLOYMENT = [name for name in DeploymentPart.model_fields if name != "provider"]
EMPTY: Stored = {"providers": {}, "models": {}}


def read_tables() -> Stored:
    """What the tables hold."""
    providers = {
        row.name: _json(ProviderPart, PROVIDER, row) | {"sealed_key": row.sealed_key} for row in Provider.objects.all()
    }
    models = {}
    for row in RegisteredModel.objects.prefetch_related("deployments__provider"):
        deployments = [
            {"provider": one.provider.name if one.provider else LOCAL} | _json(DeploymentPart, DEPLOYMENT, one)
            for one in row.deployments.all()
        ]
        models[row.name] = _json(ModelPart, MODEL, row) | {"deployments": deployments}
    return {"providers": providers, "models": models}


def write_tables(before: Stored, after: Stored) -> None:
    """Make the tables hold `after`, where they held `before`; what is the same is not touched."""
    rows = {row.name: row for row in Provider.objects.all()}
    for name, value in after["providers"].items():
        if value != before["providers"].get(name):
            _set(rows.setdefault(name, Provider(pk=_number(name), name=name)), value)
    for name, value in after["models"].items():
        if value != before["models"].get(name):
            _write_model(name, value, rows)
    for model in RegisteredModel.objects.exclude(name__in=after["models"]):
        model.delete()
    for name, row in rows.items():
        if name not in after["providers"]:
            row.delete()


def _number(name: str) -> int:
    """The primary key of a new row, made of its name: what comes back has its old address and history in the admin."""
    return int.from_bytes(blake2b(name.encode(), digest_size=6).digest())  # 48 bits: no two of 5,000 are alike


def _write_model(name: str, value: Mapping[str, Any], providers: Mapping[str, Provider]) -> None:
    row = RegisteredModel.objects.filter(name=name).first() or RegisteredModel(pk=_number(name), name=name)
    _set(row, {field: value[field] for field in MODEL})
    rows = list(row.deployments.order_by("id"))  # which is their order among equal ranks
    for one in value["deployments"]:
        deployment = rows.pop(0) if rows else Deployment(model=row)
        deployment.provider = None if one["provider"] == LOCAL else providers[one["provider"]]
        _set(deployment, {field: one[field] for field in DEPLOYMENT})
    for left in rows:
        left.delete()


def _set(row: Any, values: Mapping[str, Any]) -> None:
    for field, value in values.items():
        setattr(row, field, value)
    row.save()


def _json(part: Any, fields: list[str], row: Any) -> dict[str, Any]:
    """The fields of a row as the document would have them; the rows are believed, so nothing is checked."""
    value = part.model_construct(**{field: getattr(row, field) for field in fields})
    return dict(value.model_dump(mode="json", include=set(fields)))


def settled(document: Document, before: Stored) -> tuple[Stored, list[Fault]]:
    """What is stored when `document` takes the place of `before`, and why it cannot be.

    A key that is not given stays, but not for another address: it would be sent where it was not given for.
    """
    providers = {}
    faults = []
    for name, part in document.providers.items():
        old = before["providers"].get(name, {}).get("sealed_key", "")
        origin = origin_of(place_of(name, part.kind, part.address).address)
        sealed = old
        if isinstance(part.key, SecretStr):
            if not origin:
                faults.append(Fault(("providers", name, "key"), "give an address too: a key is for one place only"))
            sealed = _sealed(part.key.get_secret_value(), old, name, origin)
        elif part.key is None and "key" in part.model_fields_set:
            sealed = ""
        elif old and (was := origin_of_sealed(old)) != origin:
            words = f"it was given for {was or 'another address'}, and the address is now {origin}"
            words += "; give it again, or take it away"
            faults.append(Fault(("providers", name, "key"), words))
        providers[name] = part.model_dump(mode="json", include=set(PROVIDER)) | {"sealed_key": sealed}
    models = {name: part.model_dump(mode="json") for name, part in document.models.items()}
    return {"providers": dict(sorted(providers.items())), "models": dict(sorted(models.items()))}, faults


def _sealed(key: str, old: str, name: str, origin: str) -> str:
    """The key sealed; as it was when it is the same key, so that writing the same again is no change."""
    if old and sealer().opens(old, name, origin) == key:
        return old
    return sealer().seal(key, name, origin)


def document_of(stored: Stored) -> dict[str, Any]:
    """As a document that says nothing of keys, which therefore stay."""
    providers = {
        name: {field: value[field] for field in PROVIDER if field in value}
        for name, value in stored["providers"].items()
    }
    return {"providers": providers, "models": stored["models"]}


def shown(stored: Stored, *, is_now: bool = True) -> dict[str, Any]:
    """As people see it: of a key whether there is one, where it is from and how it ends.

    is_now  False: it is an older state, of which nothing is known but what is stored.
    """
    document = document_of(stored)
    for name, value in document["providers"].items():
        value["key"] = _key_shown(name, value, stored["providers"][name]["sealed_key"], is_now=is_now)
    return document


def _key_shown(name: str, value: Mapping[str, Any], sealed: str, *, is_now: bool) -> dict[str, Any]:
    if not is_now:
        return {"set": bool(sealed), "from": "registry" if sealed else None, "hint": None}
    key = key_of(name, value["kind"], sealed, place_of(name, value["kind"], value["address"]))
    source = "registry" if sealed else f"environment:{key.source}" if key.value else None
    return {"set": bool(sealed or key.value), "from": source, "hint": hint(key.value) or None}
