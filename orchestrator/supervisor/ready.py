"""When the product as a whole is ready: `GET /readyz` says so."""

from __future__ import annotations

import asyncio
import json
import logging
import time

from orchestrator.env import Address
from orchestrator.outbound.probe import look

log = logging.getLogger(__name__)

EVERY_S = 0.05
ANSWER_WITHIN_S = 5.0
PATIENCE_S = 10.0  # after this it is said what is missing, and done without what is not vital
OK = 200


async def until_ready(address: Address) -> None:
    """Return when the server at `address` says it is ready, and so is each part of it.

    Parts that it can do without are waited for ten seconds; those it cannot, as long as it takes.
    """
    began, has_said = time.monotonic(), False
    while True:
        status, missing = await _ask(address)
        if status == OK and not missing:
            return
        if time.monotonic() - began > PATIENCE_S and not has_said:
            log.warning("%s, missing: %s", "ready" if status == OK else "not ready", ", ".join(missing))
            has_said = True
        if has_said and status == OK:
            return
        await asyncio.sleep(EVERY_S)


async def _ask(address: Address) -> tuple[int, list[str]]:
    """The status of /readyz and the parts that are down; status 0 when there is no answer."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            status, body = await look(address.host, address.port, "/readyz")
        parts = json.loads(body)["parts"]
        return status, [name for name, state in parts.items() if state == "down"]
    except (OSError, TimeoutError, ValueError, KeyError) as error:
        return 0, [f"an answer from /readyz ({error!r})"]
