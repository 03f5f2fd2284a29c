"""The listening socket: bound once, handed to every web worker.

Connections that arrive while a worker is replaced wait in its queue, so none is lost.
"""

from __future__ import annotations

import errno
import ipaddress
import socket

from orchestrator.env import Address, BadSetting
from orchestrator.outbound.probe import greeting

BACKLOG = 2048
PROBE_TIMEOUT_S = 1.0
SEND_BUFFER = 256 * 1024  # bytes; left to itself the kernel holds megabytes for a caller who does not read


def listen(address: Address, *, may_be_reached: bool) -> socket.socket:
    """Return a listening socket.

    may_be_reached  whether an address that other machines can reach is allowed.
    Raises BadSetting, with the remedy, when the address is refused or cannot be had.
    """
    family, resolved = _resolve(address)
    # The name may say 127.… and mean another machine, so what counts is the address it stands for.
    if not may_be_reached and not ipaddress.ip_address(resolved.partition("%")[0]).is_loopback:
        raise BadSetting(
            f"OLLAMA_HOST={address} can be reached from other machines, and nobody is asked for a key. "
            "Set ORCHESTRATOR_REQUIRE_KEYS=1 and hand out keys (`manage.py issue_key`), "
            "or set ORCHESTRATOR_ALLOW_OPEN=1 to serve anyone who reaches it."
        )
    try:
        listener = socket.create_server(
            (resolved, address.port), family=family, backlog=BACKLOG, dualstack_ipv6=resolved == "::"
        )
    except OSError as error:
        raise BadSetting(f"Cannot listen on OLLAMA_HOST={address}: {_remedy(error, address)}") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # each connection inherits it
    return listener


def local_address(listener: socket.socket) -> Address:
    """Where this machine reaches what `listener` serves."""
    host, port = listener.getsockname()[:2]
    return Address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104  # not bound, read


def _resolve(address: Address) -> tuple[socket.AddressFamily, str]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise BadSetting(f"OLLAMA_HOST={address}: the name {address.host!r} is unknown ({error.strerror}).") from None
    family, _, _, _, place = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, str(place[0])


def _remedy(error: OSError, address: Address) -> str:
    elsewhere = f"choose another address, such as OLLAMA_HOST={Address(address.host, (address.port or 11434) + 1)}."
    if error.errno == errno.EADDRINUSE:
        who = _who_listens(address)
        return f"{who} is listening there. Stop it, or {elsewhere}"
    if error.errno == errno.EACCES:
        return f"ports below 1024 need rights this user lacks; {elsewhere}"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address; choose one of its own, such as OLLAMA_HOST=127.0.0.1:11434."
    return f"{error.strerror}; {elsewhere}"


def _who_listens(address: Address) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104  # not bound, asked
    headers, words = greeting(host, address.port, PROBE_TIMEOUT_S)
    if words.strip() == b"Ollama is running":
        return "another orchestrator" if headers.get("x-request-id") else "an Ollama server"
    return "another program"  # whatever it is, it does not speak our language
