"""How the provider behaves when it is asked what models it has, or what is known of a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.provider.line import Line, Request
from tests.provider.openai import LISTING

if TYPE_CHECKING:
    from tests.provider.server import Provider


async def tell(provider: Provider, line: Line, request: Request) -> None:
    """Answer as `provider.listing` says: a status, or one of the words below."""
    how = provider.listing
    if request.path.endswith("/key"):
        if how == "open":  # the list is for anybody, so it says nothing of a key
            await line.json({"error": {"message": "No cookie auth credentials found", "code": 401}}, status=401)
        else:
            await line.json({"data": {"label": "sk-or-v1-…"}})
    elif how.isdigit():
        said = f"no, {how}: {request.headers.get('authorization')}"
        await line.json({"error": {"message": said}}, status=int(how))
    elif how == "html":
        await line.whole(b"<html>All is well</html>", headers={"Content-Type": "text/html"})
    else:
        if how == "silent":
            await provider.wait()
        await line.json(LISTING if provider.speech.name == "openai" else provider.speech.listing())
