"""Keys go over from one master secret to another: in the tables, and in every version that may come back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from orchestrator.registry.models import Provider, RegistryVersion
from orchestrator.registry.seal import CannotOpen, Sealed, Sealer


@dataclass(slots=True)
class Resealed:
    """What became of the keys."""

    keys: int = 0  # sealed anew, those of older versions too
    unopened: dict[str, str] = field(default_factory=dict)  # by provider: why its key stays as it is


def reseal(old: Sealer, new: Sealer) -> Resealed:
    """Seal every key anew that `old` opens; all of them or none. What `new` opens already is left alone."""
    done = Resealed()
    with transaction.atomic():
        for row in Provider.objects.exclude(sealed_key=""):
            row.sealed_key = _again(row.sealed_key, row.name, old, new, done)
            row.save(update_fields=["sealed_key"])
        for version in RegistryVersion.objects.all():
            for name, provider in _with_keys(version.document):
                provider["sealed_key"] = _again(provider["sealed_key"], name, old, new, done)
            version.save(update_fields=["document"])
    return done


def _with_keys(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, provider in document.get("providers", {}).items():
        if provider.get("sealed_key"):
            yield name, provider


def _again(text: str, name: str, old: Sealer, new: Sealer, done: Resealed) -> str:
    try:
        sealed = Sealed.parse(text)
        origin = sealed.origin
        if sealed.secret == new.id and new.opens(text, name, origin) is not None:
            return text
        key = old.open(text, name, origin)
    except CannotOpen as error:
        done.unopened[name] = str(error)
        return text
    done.keys += 1
    return new.seal(key, name, origin)
