"""Which addresses are this machine's own."""

from __future__ import annotations

import socket
from ipaddress import IPv6Address, ip_address


def is_own(address: str) -> bool:
    """Whether an interface of this machine has the address: only such a one can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def leads_to(host: str, bound: str) -> bool:
    """Whether who calls `host` is heard by a server of this machine that listens on `bound`, the port aside.

    A name is not looked up. What stands for all addresses calls this machine, and listens on each it has.
    """
    name = host.lower()
    if name in {"localhost", bound.lower()}:
        return True
    if name == socket.gethostname().lower():
        return _is_unspecified(bound)
    try:
        address = ip_address(name)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_loopback or address.is_unspecified:
        return True
    return _is_unspecified(bound) and is_own(str(address))


def _is_unspecified(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
