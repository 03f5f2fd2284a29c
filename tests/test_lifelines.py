"""Streams of the running product end, in words, when another process takes their key away."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack

import httpx
import pytest

from tests.faults.dialects import PATHS, body, heard
from tests.product import PROJECT, Product, until
from tests.provider import Provider

CAUSES = {
    "revoked": ("ApiKey", "revoked_at=timezone.now()", "key_ended", "revoked"),
    "expired": ("ApiKey", "expires_at=timezone.now()", "key_ended", "revoked"),
    "suspended": ("Tenant", "suspended_at=timezone.now()", "key_ended", "suspended"),
    "narrowed": ("ApiKey", "model_patterns=['other']", "key_ended", "may not ask"),
}
ISSUE = """
import json, sys
from tests.keys import issue_key
print(json.dumps({name: issue_key(name, name.split()[0]) for name in json.loads(sys.argv[1])}))
"""
END = """
import sys
from django.utils import timezone
from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import ApiKey, Tenant
"""


@pytest.fixture(scope="module")
def patient(provider: Provider) -> Iterator[Product]:
    """A product of two workers that waits for a provider longer than any test here takes."""
    environment = {
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": provider.address,
        "ORCHESTRATOR_TOKEN_TIMEOUT_S": "300",
        "ORCHESTRATOR_WEB_WORKERS": "2",
        "ORCHESTRATOR_REQUIRE_KEYS": "1",
    }
    with Product(**environment) as product:
        yield product


def run(product: Product, code: str, *arguments: str) -> str:
    """What another process says that runs `code` on the product's data."""
    environment = product.environment() | {"DJANGO_SETTINGS_MODULE": "orchestrator.settings"}
    command = [sys.executable, "-c", f"import django\ndjango.setup()\n{code}", *arguments]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


async def test_streams_end_in_words_in_every_dialect_whatever_ended_the_key(
    patient: Product, provider: Provider
) -> None:
    ways = [(cause, path) for cause in CAUSES for path in PATHS]
    names = [f"{cause} {path}" for cause, path in ways]
    provider.hold()  # other tests may have let it go
    made = await asyncio.to_thread(run, patient, ISSUE, json.dumps([*names, "kept"]))
    keys = json.loads(made.splitlines()[-1])
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=patient.base_url, timeout=120))
        streams = []
        for (_, path), name in zip([*ways, ("kept", "/api/chat")], [*names, "kept"], strict=True):
            asked = body(path, f"openai/slow~{len(streams)}", name, stream=True)
            opened = client.stream("POST", path, json=asked, headers={"x-api-key": keys[name]})
            response = await stack.enter_async_context(opened)
            assert response.status_code == 200
            rest = response.aiter_raw()
            streams.append((response, rest, [await anext(rest)]))
        change = "\n".join(
            f"{model}.objects{'' if model == 'Tenant' else '.of(EVERYBODY)'}"
            f".filter({'name' if model == 'Tenant' else 'name__startswith'}={cause!r}).update({change})"
            for cause, (model, change, _, _) in CAUSES.items()
        )
        await asyncio.to_thread(run, patient, END + change)
        for (cause, path), (response, rest, said) in zip(ways, streams, strict=False):
            async with asyncio.timeout(60):
                said += [piece async for piece in rest]
            whole = httpx.Response(response.status_code, headers=response.headers, content=b"".join(said))
            told = heard(path, whole)
            assert not told.is_complete, (cause, path)
            assert CAUSES[cause][3] in told.error or (cause == "expired" and "expired" in told.error), told
            assert told.complaints == ()
        calls = {call.model: call for call in provider.calls if call.model.startswith("slow~")}
        until(lambda: all(calls[f"slow~{n}"].closed_at for n in range(len(ways))), "the provider to be let go", 60)
        kept = calls[f"slow~{len(ways)}"]
        assert kept.is_open, "who keeps a key keeps the answer"
