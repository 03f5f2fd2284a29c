"""What our server offers beyond ASGI: a request that is all there, a reply all at once, and no task for either."""

from collections.abc import MutableMapping
from typing import Any, Protocol, runtime_checkable

EXCHANGE = "orchestrator.exchange"  # its name among a scope's extensions


class Exchange(Protocol):
    """One request and its reply."""

    def body(self) -> bytes | None:
        """The request's body; None while some of it is missing."""
        ...

    def is_gone(self) -> bool:
        """Whether the caller has hung up."""
        ...

    def reply(self, head: bytes, body: bytes, *, is_streamed: bool, status: int = 200) -> bool:
        """Send `status`, `head` (lines of headers) and `body`, and end. False when it must go the usual way.

        is_streamed  in the chunked form, rather than with its length.
        """
        ...


@runtime_checkable
class AtOnce(Protocol):
    """An application that can answer some requests without waiting for anything.

    A task, and what goes with it, costs a third of what such an answer does; and where more is asked than can be
    answered, what is refused has to cost least.
    """

    def at_once(self, scope: MutableMapping[str, Any], exchange: Exchange) -> bool:
        """Whether the request, which is all there, was answered. Otherwise the application is called, with this scope.

        Called from the server's own loop, outside of any task.
        """
        ...
