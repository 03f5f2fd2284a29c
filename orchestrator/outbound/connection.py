"""A provider's address, and the way to it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import httpx

from orchestrator import __version__
from orchestrator.core.text import escaped

USER_AGENT = f"ai-orchestrator/{__version__}"
MOST_URLS = 256
LONGEST_MESSAGE = 600  # characters
SHORTEST_SECRET = 8  # characters; a shorter key is a stand-in, such as `none` or `EMPTY`, and may be any word


class Connection:
    """Sends requests to one provider, with the key it is bound to.

    httpx's transports are spoken to without its client on top. That one joins addresses, merges
    headers, keeps cookies and looks for redirects: a third of what a call takes here, for things that
    must not happen, since a key belongs to one address and nothing may pass from one caller to another.
    """

    def __init__(
        self,
        address: str,
        headers: Mapping[str, str],
        timeout: httpx.Timeout,
        transport: httpx.AsyncBaseTransport,
        key: str = "",
    ) -> None:
        """`address` is what paths are appended to; it closes `transport` at its end. `key` stands in `headers`, too."""
        self.address = f"{address.rstrip('/')}/"
        self._headers = httpx.Headers({"Accept": "*/*", "Accept-Encoding": "identity", **headers})
        self._extensions = {"timeout": timeout.as_dict()}
        self._transport = transport
        self._key = key
        self._urls: dict[str, httpx.URL] = {}  # by path; there are two or three, or as many as models

    async def send(self, method: str, path: str, content: bytes | None = None) -> httpx.Response:
        """Return the response when its head is there; its body is read, and it is closed, by the caller.

        content  JSON.    Raises httpx.HTTPError.
        """
        if path not in self._urls:
            if len(self._urls) >= MOST_URLS:  # callers make up names of models
                self._urls.clear()
            # The address ends in a slash, so no path can lead to another server than the one the key is for.
            self._urls[path] = httpx.URL(f"{self.address}{path}")
        request = httpx.Request(
            method, self._urls[path], headers=self._headers, content=content, extensions=self._extensions
        )
        return await self._transport.handle_async_request(request)

    def shown(self, words: str) -> str:
        """What a caller may see of a message: without our key, should the provider have repeated it, nor controls.

        It is not endless, and cut last: half a key is none that could be found.
        """
        if len(self._key) >= SHORTEST_SECRET:
            words = words.replace(self._key, "…")
        elif self._key:  # by itself only
            words = re.sub(rf"(?<![\w-]){re.escape(self._key)}(?![\w-])", "…", words)
        return escaped(words)[:LONGEST_MESSAGE]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()
