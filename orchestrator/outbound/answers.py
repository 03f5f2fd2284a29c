"""What comes of a call that left: a response, or the way it went wrong. The names the rest of the product uses."""

from httpx import (
    AsyncClient,
    ConnectError,
    ConnectTimeout,
    HTTPError,
    RemoteProtocolError,
    Request,
    Response,
    TimeoutException,
)

__all__ = [
    "AsyncClient",
    "ConnectError",
    "ConnectTimeout",
    "HTTPError",
    "RemoteProtocolError",
    "Request",
    "Response",
    "TimeoutException",
]
