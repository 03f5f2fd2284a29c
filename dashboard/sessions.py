"""A live page ends with the session it was opened in: signed out, removed, or with another role than then.

Whatever may end a session counts up a number in a file that every process of this machine has in its memory
(`orchestrator.policy`), so looking costs nothing, and the database is asked only when there is something to hear.
"""

from __future__ import annotations

import asyncio
from functools import cache

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError

from cache.generation import Generation
from dashboard.access import reach_of_session
from orchestrator.core.permissions import Reach

LOOK_EVERY_S = 0.5
ASK_EVERY_S = 30.0  # in any case: a session also ends by its age


@cache
def _counter() -> Generation:
    return Generation(settings.PEOPLE_FILE)


async def ended(socket: str, session_key: str, reach: Reach) -> None:
    """Return when the session does not open the live connection of that name any more as it did, for `reach`."""
    loop = asyncio.get_running_loop()
    heard, asked = -1, 0.0  # something may have happened since the page was let in
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        count = _counter().current()
        if count == heard and loop.time() - asked < ASK_EVERY_S:
            continue
        try:
            if await sync_to_async(reach_of_session)(socket, session_key) != reach:
                return
        except DatabaseError:
            continue  # asked again at the next look
        heard, asked = count, loop.time()
