"""What a key is kept to, besides models: where it may be shown, in which dialects, for which endpoints."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.core.errors import Forbidden
from orchestrator.core.limits import Network, read_ip
from orchestrator.core.types import Caller


def plain_address(text: str) -> str:
    """The address in its one form: `10.0.0.1`, also for `::ffff:10.0.0.1`; empty when it is none, or unknown."""
    address = read_ip(text)
    return "" if address is None else str(address)


def is_within(text: str, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of `networks`; what is none is in no network."""
    address = read_ip(text)
    return address is not None and any(address in network for network in networks)


def check_address(caller: Caller, address: str) -> None:
    """Raises Forbidden when the key may not be shown from there."""
    if caller.networks and not is_within(address, caller.networks):
        raise Forbidden(f"This API key may not be used from {plain_address(address) or 'an address that is unknown'}.")


def check_family(caller: Caller, family: str, dialect: str | None) -> None:
    """Raises Forbidden when the key is not for such endpoints, or not for the dialect, where there is one."""
    if caller.families and family not in caller.families:
        raise Forbidden(f"This API key is not for {family}: it is for {', '.join(sorted(caller.families))}.")
    if dialect and caller.dialects and dialect not in caller.dialects:
        raise Forbidden(
            f"This API key is not for the dialect of {dialect}: it is for {', '.join(sorted(caller.dialects))}."
        )


def out_of_scope(name: str) -> Forbidden:
    """That a model may not be asked, or not by this key: the same words whether it exists or not."""
    return Forbidden(f"This API key may not ask for the model '{name[:255]}'.")
