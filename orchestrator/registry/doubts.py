"""What a registry can be like, and is hardly meant to be: told as a warning, since nobody can be sure of it offline."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.conf import settings

from orchestrator.core.documents import Fault
from orchestrator.core.presets import BY_NAME
from orchestrator.modelhost.minilm import open_store
from orchestrator.modelhost.names import as_compared
from orchestrator.registry.stored import Stored


def doubts_in(stored: Stored) -> list[Fault]:
    """Models that nobody would answer for, and fallbacks that are none.

    What a provider has is not known here, so whatever is called as its models are passes.
    """
    means = {
        as_compared(one): name for name, model in stored["models"].items() for one in (name, *_names(model["aliases"]))
    }
    providers = {*stored["providers"], *BY_NAME}

    @cache
    def may_be_there(name: str) -> bool:
        return name.partition("/")[0] in providers if "/" in name else _is_installed(name)

    found = []
    for name, model in stored["models"].items():
        if not model["deployments"] and not may_be_there(name):
            words = "it runs nowhere: it has no deployments, and no model is called so here"
            found.append(Fault(("models", name), words))
        for index, fallback in enumerate(_names(model["fallbacks"])):
            place = ("models", name, "fallbacks", index)
            other = means.get(as_compared(fallback))
            if other is None and not may_be_there(fallback):
                found.append(Fault(place, f"there is no model {fallback!r}, neither registered nor installed here"))
            elif other is not None and not stored["models"][other]["is_enabled"]:
                found.append(Fault(place, f"{fallback!r} is switched off"))
    return found


def _names(value: Any) -> list[str]:
    """Those that a row holds, which somebody may have edited by hand."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _is_installed(name: str) -> bool:
    try:
        return open_store(settings.MODELS_DIR).find(name) is not None
    except (ValueError, OSError):
        return False
