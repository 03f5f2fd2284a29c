"""The registry between the document and the tables: plain JSON with every field, keys sealed. Versions keep it so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import chain, repeat
from typing import Any, TypeVar

from pydantic import SecretStr

from orchestrator.core.addresses import origin_of
from orchestrator.core.documents import Fault
from orchestrator.registry.document import DeploymentPart, Document, ModelPart, ProviderPart
from orchestrator.registry.entries import LOCAL
from orchestrator.registry.models import Deployment, Provider, RegisteredModel
from orchestrator.registry.rows import rows_of
from orchestrator.registry.seal import hint, origin_of_sealed
from orchestrator.registry.settled import key_of, place_of, sealer

T = TypeVar("T")
Stored = dict[str, dict[str, dict[str, Any]]]  # providers and models, by name
PROVIDER = [name for name in ProviderPart.model_fields if name != "key"]
MODEL = [name for name in ModelPart.model_fields if name != "deployments"]
DEPLOYMENT = [name for name in DeploymentPart.model_fields if name != "provider"]
EMPTY: Stored = {"providers": {}, "models": {}}
MOST_NAMED = 500  # rows in one query


def read_tables() -> Stored:
    """What the tables hold, but for rows that cannot be read."""
    providers = {
        row.name: _json(ProviderPart, PROVIDER, row) | {"sealed_key": row.sealed_key}
        for row in rows_of(Provider.objects.all())[0]
    }
    names = dict(Provider.objects.values_list("pk", "name"))
    models = {}
    for row in rows_of(RegisteredModel.objects.prefetch_related("deployments"))[0]:
        deployments = [
            {"provider": LOCAL if one.provider_id is None else names[one.provider_id]}
            | _json(DeploymentPart, DEPLOYMENT, one)
            for one in row.deployments.all()
        ]
        models[row.name] = _json(ModelPart, MODEL, row) | {"deployments": deployments}
    return {"providers": providers, "models": models}


def write_tables(before: Stored, after: Stored) -> None:
    """Make the tables hold `after`, where they held `before`; what is the same is not touched.

    Others wait meanwhile, so what there may be thousands of is written many rows at once.
    """
    providers = _write_providers(before["providers"], after["providers"])
    changed = {name: value for name, value in after["models"].items() if value != before["models"].get(name)}
    if changed:
        numbers = _write_models(changed)
        _write_deployments([(numbers[name], value["deployments"]) for name, value in changed.items()], providers)
    _delete(RegisteredModel, before["models"].keys() - after["models"].keys())
    _delete(Provider, before["providers"].keys() - after["providers"].keys())


def _write_providers(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, int]:
    """Write them, and return the number of each. Of a row that is there only the fields that changed."""
    numbers = dict(Provider.objects.values_list("name", "pk"))
    new = [Provider(pk=_number(name), name=name, **value) for name, value in after.items() if name not in numbers]
    Provider.objects.bulk_create(new)
    for name in after.keys() & numbers.keys():
        old = before.get(name)
        if old is None:  # its row could not be read
            fields = after[name] | {"reset_at": None}
        else:
            fields = {field: value for field, value in after[name].items() if value != old[field]}
        if fields:
            Provider.objects.filter(pk=numbers[name]).update(**fields)
    return numbers | {row.name: row.pk for row in new}


def _write_models(changed: Mapping[str, Any]) -> dict[str, int]:
    """Write models, and return the number of each."""
    numbers = dict(RegisteredModel.objects.values_list("name", "pk"))
    rows = [
        RegisteredModel(pk=numbers.get(name) or _number(name), name=name, **{field: value[field] for field in MODEL})
        for name, value in changed.items()
    ]
    RegisteredModel.objects.bulk_create(rows, update_conflicts=True, unique_fields=["id"], update_fields=MODEL)
    return {row.name: row.pk for row in rows}


def _write_deployments(wanted: Sequence[tuple[int, list[dict[str, Any]]]], providers: Mapping[str, int]) -> None:
    """Write the deployments of models, by the models' numbers. A number of theirs is their order among equal ranks."""
    models = {model for model, _ in wanted}
    there: defaultdict[int, list[int]] = defaultdict(list)
    for model, number in Deployment.objects.order_by("id").values_list("model_id", "id"):
        if model in models:
            there[model].append(number)
    rows = [
        Deployment(
            pk=number,
            model_id=model,
            provider_id=None if one["provider"] == LOCAL else providers[one["provider"]],
            **{field: one[field] for field in DEPLOYMENT},
        )
        for model, deployments in wanted
        for one, number in zip(deployments, chain(there[model], repeat(None)), strict=False)
    ]
    fields = ["provider", *DEPLOYMENT]
    Deployment.objects.bulk_create(rows, update_conflicts=True, unique_fields=["id"], update_fields=fields)
    left = [number for model, deployments in wanted for number in there[model][len(deployments) :]]
    for some in _batched(left):
        Deployment.objects.filter(pk__in=some).delete()


def _delete(kind: type[Provider | RegisteredModel], names: Collection[str]) -> None:
    for some in _batched(sorted(names)):
        kind.objects.filter(name__in=some).delete()


def _batched(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many at once as one query may name."""
    return (values[at : at + MOST_NAMED] for at in range(0, len(values), MOST_NAMED))


def _number(name: str) -> int:
    """The primary key of a new row, made of its name: what comes back has its old address and history in the admin."""
    return int.from_bytes(blake2b(name.encode(), digest_size=6).digest())  # 48 bits: no two of 5,000 are alike


def _json(part: Any, fields: list[str], row: Any) -> dict[str, Any]:
    """The fields of a row as the document would have them; the rows are believed, so nothing is checked."""
    value = part.model_construct(**{field: getattr(row, field) for field in fields})
    return dict(value.model_dump(mode="json", include=set(fields), warnings=False))


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
    for model in models.values():
        model["deployments"].sort(key=lambda one: one["rank"])  # as they are asked; faults count them as written
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
