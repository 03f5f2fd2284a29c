"""ollama.com's account, web search and recommendations: there is no ollama.com behind this server, and it says so.

The words are those of an Ollama whose cloud is switched off, so its clients know what to make of them.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase
from ninja import Router

from orchestrator.api.replies import json_response
from orchestrator.core.errors import CloudDisabled, Unauthorized

router = Router(tags=["ollama.com"])
SIGNED_OUT = "you are not currently signed in"


@router.get("/status", summary="Whether ollama.com is used")
async def status(request: HttpRequest) -> HttpResponseBase:
    """Say that it is not. No setting made it so, and none changes it: `source` is `none`."""
    return json_response({"cloud": {"disabled": True, "source": "none"}})


@router.post("/me", summary="Who is signed in to ollama.com")
async def me(request: HttpRequest) -> HttpResponseBase:
    """Refuse: nobody can sign in. With 401 clients would send their user to a page that cannot help."""
    raise CloudDisabled.because("account details are unavailable")


@router.post("/signout", summary="Sign out of ollama.com")
async def sign_out(request: HttpRequest) -> HttpResponseBase:
    """Refuse: nobody is signed in."""
    raise Unauthorized(SIGNED_OUT)


@router.delete("/user/keys/{key}", summary="Take a machine's key off the account at ollama.com")
async def delete_key(request: HttpRequest, key: str) -> HttpResponseBase:
    """Refuse: nobody is signed in. Keys of this server are revoked in `/admin/`."""
    raise Unauthorized(SIGNED_OUT)


@router.post("/experimental/web_search", summary="Search the web by ollama.com")
async def web_search(request: HttpRequest) -> HttpResponseBase:
    """Refuse: the search is ollama.com's. Its own client libraries ask there directly, with a key of theirs."""
    raise CloudDisabled.because("web search is unavailable")


@router.post("/experimental/web_fetch", summary="Read a page of the web by ollama.com")
async def web_fetch(request: HttpRequest) -> HttpResponseBase:
    """Refuse: the reader is ollama.com's."""
    raise CloudDisabled.because("web fetch is unavailable")


@router.get("/experimental/model-recommendations", summary="Models that ollama.com recommends")
async def model_recommendations(request: HttpRequest) -> HttpResponseBase:
    """List none."""
    return json_response({"recommendations": []})
