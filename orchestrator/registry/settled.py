"""A provider with what its row leaves open filled in: from the environment, then from what is known of its kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from django.conf import settings

from orchestrator.core.addresses import check_address, is_public, origin_of
from orchestrator.core.presets import BY_NAME, KINDS, is_at
from orchestrator.registry.seal import CannotOpen, Sealer

PAGE = ""  # an operator changes it where the provider stands: it needs no name
ITS_ADDRESS, ITS_KEY = "its address", "its key"  # what advice calls them then, as it calls others by their variables


@dataclass(frozen=True, slots=True)
class Place:
    """An address, and where it is from."""

    address: str  # empty where there is none
    source: str = PAGE  # where an operator changes it
    is_explicit: bool = False  # somebody said so: it is not just the usual one


@dataclass(frozen=True, slots=True)
class Key:
    """A key, and where it is from."""

    value: str = field(default="", repr=False)
    source: str = PAGE
    why: str = ""  # it is of no use: in words for an operator


def sealer() -> Sealer:
    """The one of this installation."""
    return Sealer(settings.PROVIDER_KEYS_KEY, *settings.OLD_PROVIDER_KEYS_KEYS)


def place_of(name: str, kind: str, address: str = "") -> Place:
    """Where a provider is, `address` being what its row says. The environment speaks of those it has names for."""
    if address:
        return Place(address, is_explicit=True)
    preset = KINDS.get(kind)
    if preset is None:
        return Place("")
    if name in BY_NAME and name == kind and (given := settings.PROVIDER_ADDRESSES.get(name)):
        return Place(given, preset.address_variable, is_explicit=True)
    return Place(preset.address)


def key_of(name: str, kind: str, sealed: str, place: Place) -> Key:
    """The key to send to `place`. One of the environment goes only where that says, or to the usual place."""
    if sealed:
        try:
            return Key(sealer().open(sealed, name, origin_of(place.address)))
        except CannotOpen as error:
            return Key(why=str(error))
    preset = BY_NAME.get(name) if name == kind else None
    if preset is None:
        return Key()
    given = settings.PROVIDER_KEYS.get(name, "")
    variable = preset.key_variables[0]
    if not given:
        return Key(source=variable)
    origin = origin_of(place_of(name, kind).address)
    if origin_of(place.address) != origin:
        return Key(why=f"{variable} is only sent to {origin}; give this provider a key of its own if it needs one")
    return Key(given, variable)


def why_off(name: str, kind: str, place: Place, key: Key, *, has_sealed_key: bool) -> str:
    """Why a provider is off that is switched on; empty when it is not."""
    if kind not in KINDS:
        return f"its kind {kind!r} is not known; there are {', '.join(KINDS)}"
    if not place.address:
        variable = KINDS[kind].address_variable if name == kind else ""
        return f"it has no address; give it one{f', or set {variable}' if variable else ''}"
    try:
        check_address(place.address)  # the database may hold what no form would have taken
    except ValueError:
        return "its address is none; write it anew"
    if is_at(place.address, settings.ADDRESS.host, settings.ADDRESS.port):
        where = f" ({place.source})" if place.source else ""
        return f"its address is this server's own; change it{where}"
    if has_sealed_key and not key.value:
        return key.why
    if not key.value and not place.is_explicit:
        variable = KINDS[kind].key_variables[0] if name == kind and KINDS[kind].key_variables else ""
        return f"it has no key; give it one{f', or set {variable}' if variable else ''}"
    return ""


def charges(kind: str, address: str) -> bool:
    """Whether a provider charges of which nobody said: as its kind does, and anybody on the internet."""
    try:
        host = urlsplit(address).hostname or ""
    except ValueError:  # somebody wrote it by hand: it is nowhere
        host = ""
    return KINDS[kind].is_paid or is_public(host)


def in_environment() -> list[str]:
    """The providers that are set up by environment variables."""
    return [name for name in BY_NAME if settings.PROVIDER_KEYS.get(name) or settings.PROVIDER_ADDRESSES.get(name)]
