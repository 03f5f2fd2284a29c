"""What a websocket's handshake says to browsers, refused or not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from orchestrator.core.headers import DATA, as_bytes, missing

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Send], Awaitable[None]]

GUARDS = as_bytes(DATA)
_CAN_REFUSE = "websocket.http.response"  # the server's word for: a refusal may have headers


def guarded_socket(app: App) -> App:
    """Wrap an application of websockets."""

    async def guarded(scope: Any, receive: Any, send: Send) -> None:
        has_begun = False
        can_refuse = _CAN_REFUSE in (scope.get("extensions") or {})

        async def send_guarded(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "websocket.accept":
                headers = list(message.get("headers") or ())
                message = {**message, "headers": [*headers, *missing(GUARDS, headers)]}
            elif message["type"] == "websocket.close" and not has_begun and can_refuse:
                headers = [*GUARDS, (b"content-length", b"0")]
                await send({"type": f"{_CAN_REFUSE}.start", "status": 403, "headers": headers})
                message = {"type": f"{_CAN_REFUSE}.body", "body": b""}
            has_begun = True
            await send(message)

        await app(scope, receive, send_guarded)

    return guarded
