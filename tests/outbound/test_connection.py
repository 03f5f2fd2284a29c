"""What a caller may see of a provider's words, and of ours."""

from __future__ import annotations

import httpx
import pytest

from orchestrator.outbound.connection import LONGEST_MESSAGE, Connection


def shown(key: str, words: str) -> str:
    transport = httpx.MockTransport(lambda request: httpx.Response(200))
    return Connection("http://127.0.0.1", {}, httpx.Timeout(1), transport, key).shown(words)


@pytest.mark.parametrize("around", ["{}", "key={}&x", "Bearer {}.", "x{}y"])
def test_a_key_is_taken_out_wherever_it_stands(around: str) -> None:
    assert "sk-secret" not in shown("sk-secret", around.format("sk-secret"))


@pytest.mark.parametrize(("key", "words"), [("ollama", "ollama-2 answered HTTP 500"), ("k", "answer broke off")])
def test_a_stand_in_for_a_key_does_not_garble_our_words(key: str, words: str) -> None:
    assert shown(key, words) == words
    assert shown(key, f"the key {key} is wrong") == "the key … is wrong"


def test_a_key_at_the_edge_of_what_is_shown_is_not_cut_in_half() -> None:
    told = shown("sk-secret", "x" * (LONGEST_MESSAGE - 4) + "sk-secret")
    assert "sk-" not in told
    assert len(told) <= LONGEST_MESSAGE


def test_no_words_of_a_provider_move_a_terminal_or_turn_a_line_around() -> None:
    assert shown("sk-secret", "\x1b[2J\u202eno\n") == r"\x1b[2J\u202eno\n"


def test_no_key_takes_nothing_out() -> None:
    assert shown("", "as it is") == "as it is"


@pytest.mark.parametrize(
    "path", ["chat", "@evil.example/chat", "//evil.example/chat", "../../chat", "https://evil.example/"]
)
async def test_no_path_takes_the_key_to_another_server(path: str) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(302, headers={"Location": "https://evil.example/"})

    transport = httpx.MockTransport(answer)
    connection = Connection("https://api.example/v1", {"X": "sk-secret"}, httpx.Timeout(1), transport, "sk-secret")
    response = await connection.send("GET", path)
    assert response.status_code == 302  # an answer like any other
    assert [request.url.host for request in asked] == ["api.example"]
