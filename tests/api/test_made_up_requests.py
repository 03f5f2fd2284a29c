"""Whatever is asked is answered as docs/openapi.json says, in time, and never with a fault of ours."""

from __future__ import annotations

import pytest

from tests.asking import OPERATIONS, ask_all, complaints
from tests.product import Product, registry_kept

CHATTING = ["openai/good", "openai/tools", "openai/thinks", "openai/logprobs"]  # how `Provider` answers to them
ERROR = b'{"error": "no"}'
TOLD = {"content-type": "application/json; charset=utf-8", "x-request-id": "x"}


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=[" ".join(one) for one in OPERATIONS])
def test_whatever_is_asked_is_answered_as_the_file_says(
    product: Product, admin_key: str, method: str, path: str
) -> None:
    headers = {"Authorization": f"Bearer {admin_key}"} if path.startswith("/api/admin/") else {}
    has_choice = method in {"POST", "PUT"} and not path.startswith(("/api/me", "/api/signout", "/api/experimental"))
    wrong: list[str] = []
    with registry_kept(product, admin_key):
        ask_all(
            method,
            path,
            base_url=product.base_url,
            chatting=CHATTING,
            headers=headers,
            tell=wrong.append,
            examples=80 if has_choice else 15,
        )
    assert not wrong, "\n".join(wrong[:5])


@pytest.mark.parametrize(
    ("status", "headers", "body", "found"),
    [
        (400, TOLD, ERROR, []),
        (501, TOLD, ERROR, []),
        (500, TOLD, ERROR, ["status 500"]),
        (503, TOLD, b'{"error": ""}', ["error: "]),
        (400, TOLD, b'{"error": "Traceback (most recent call last)"}', ["a stack trace"]),
        (400, {"content-type": "application/json"}, ERROR, ["no X-Request-Id"]),
        (400, TOLD | {"content-type": "text/html"}, ERROR, ["400 as 'text/html', which is not described"]),
        (400, TOLD, b'{"error": "%b"}' % (b"x" * 5000), ["an error of 5013 bytes"]),
        (400, TOLD | {"x-orchestrator-model": "x" * 3000}, ERROR, ["a header of 3000 bytes"]),
        (404, {"content-type": "text/plain"}, b"404 page not found", ["404 of the router"]),
        (200, TOLD, b"{}", [": "] * 4),
    ],
)
def test_what_is_wrong_is_seen(status: int, headers: dict[str, str], body: bytes, found: list[str]) -> None:
    said = complaints("POST", "/api/chat", status, headers, body)
    assert len(said) == len(found)
    assert all(one.startswith(start) for one, start in zip(said, found, strict=True)), said
