"""The way to a process of our own that listens on a unix socket."""

from __future__ import annotations

from pathlib import Path

import httpx


def over_socket(socket: Path, *, connect_s: float) -> httpx.AsyncClient:
    """A client of what listens on `socket`, with as many connections as it likes; the caller closes it.

    It waits for as long as the other process lives, which has to be watched: a request may say how long it has.
    """
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(uds=str(socket), limits=httpx.Limits(max_connections=None)),
        base_url="http://models",
        timeout=httpx.Timeout(None, connect=connect_s, pool=connect_s),
        trust_env=False,  # no proxy stands between the parts of one machine
    )
