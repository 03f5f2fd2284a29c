"""What a caller is told whose budget does not reach, or whose model has no price: in every dialect, by its clients."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import anthropic
import httpx2
import ollama
import openai
import pytest
from anthropic.types.shared import EnforcedSpendLimitReachedError

from orchestrator.api.table import told
from orchestrator.core.budgets import EVER, Budget, spent
from orchestrator.core.errors import BudgetSpent, OrchestratorError, PriceUnknown
from orchestrator.core.ids import hex_id
from tests.shapes import faults

DIALECTS = ("/api/chat", "/v1/chat/completions", "/v1/responses", "/v1/messages")


def short(period: Any = "month", *, reserved: int = 0, first: date = date(2026, 11, 1)) -> BudgetSpent:
    """In the middle of November, with nothing left."""
    budget = Budget(id=1, name="team", period=period, each="key", amount=50_000_000)
    used = budget.amount - reserved
    return spent(budget, used=used, reserved=reserved, asked=20_000, first=first, now=1_794_700_800.0)


class Server:
    """Answers everything with one error, and counts."""

    def __init__(self, error: OrchestratorError) -> None:
        self.error, self.asked = error, 0

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked += 1
        body, headers = told(request.url.path, self.error, hex_id(16))
        return httpx2.Response(self.error.status, headers=headers, content=body)

    @property
    def client(self) -> httpx2.Client:
        return httpx2.Client(transport=httpx2.MockTransport(self.answer))


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (short(), {"Retry-After": "86400", "X-Should-Retry": "false"}),
        (short("total", first=EVER), {"X-Should-Retry": "false"}),
        (short(reserved=1_000_000), {"Retry-After": "2"}),
        (PriceUnknown("Nobody knows what m charges."), {}),
    ],
)
def test_it_has_the_shape_of_its_dialect(path: str, error: OrchestratorError, headers: dict[str, str]) -> None:
    body, found = told(path, error, hex_id(16))
    assert {name: found[name] for name in ("Retry-After", "X-Should-Retry") if name in found} == headers
    assert faults("POST", path, error.status, found["Content-Type"], body) == []
    assert str(error) in json.dumps(json.loads(body), ensure_ascii=False).replace('\\"', '"')


def test_openais_client_reads_that_there_is_no_quota_and_does_not_ask_again() -> None:
    server = Server(short())
    client = openai.OpenAI(api_key="k", base_url="http://here/v1", http_client=server.client, max_retries=3)
    with pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}])
    assert (raised.value.code, raised.value.type, server.asked) == ("insufficient_quota", "insufficient_quota", 1)
    assert 'Budget "team" allows 50.00 USD a month for each key' in raised.value.message
    assert "it is renewed on 1 December (UTC)" in raised.value.message


def test_anthropics_client_reads_that_a_bound_on_spending_was_reached_and_does_not_ask_again() -> None:
    server = Server(short("total", first=EVER))
    client = anthropic.Anthropic(api_key="k", base_url="http://here", http_client=server.client, max_retries=3)
    with pytest.raises(anthropic.RateLimitError) as raised:
        client.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": "?"}])
    assert isinstance(raised.value, EnforcedSpendLimitReachedError)
    assert raised.value.details.error_code == raised.value.error_code == "enforced_spend_limit_reached"
    assert server.asked == 1
    assert "it is not renewed" in str(raised.value)


def test_a_client_comes_again_by_itself_for_what_is_only_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    server, waited = Server(short(reserved=1_000_000)), []
    monkeypatch.setattr("time.sleep", waited.append)
    client = openai.OpenAI(api_key="k", base_url="http://here/v1", http_client=server.client, max_retries=1)
    with pytest.raises(openai.RateLimitError, match=r"1\.00 are reserved for calls under way"):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}])
    assert (server.asked, waited) == (2, [2.0])


def test_a_price_that_nobody_knows_is_no_matter_of_waiting() -> None:
    server = Server(PriceUnknown())
    client = openai.OpenAI(api_key="k", base_url="http://here/v1", http_client=server.client, max_retries=3)
    with pytest.raises(openai.PermissionDeniedError) as raised:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}])
    assert (raised.value.code, server.asked) == ("price_unknown", 1)
    theirs = anthropic.Anthropic(api_key="k", base_url="http://here", http_client=server.client)
    with pytest.raises(anthropic.PermissionDeniedError):
        theirs.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": "?"}])


def test_ollamas_client_reads_the_words() -> None:
    body, _ = told("/api/chat", short(), hex_id(16))
    assert ollama.ResponseError(body.decode(), 429).error == str(short())
