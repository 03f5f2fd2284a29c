"""An extension of ASGI that our server offers: a request that is all there, a reply all at once."""

from typing import Protocol

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
