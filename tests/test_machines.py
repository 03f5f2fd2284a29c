"""Two machines with one Redis; and what one process of a machine changes, the others know."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import httpx
import pytest

from tests.product import PROJECT, Product, until
from tests.provider import Provider
from tests.servers import RedisServer

QUESTION = {"model": "openai/good", "prompt": "What is the capital of France?", "stream": False}
REVOKE = """
import django
django.setup()
from django.utils import timezone
from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import ApiKey
key = ApiKey.objects.of(EVERYBODY).get(name="web")
key.revoked_at = timezone.now()
key.save()
"""


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer().start()
    yield server
    server.stop()


@pytest.fixture
def machines(redis: RedisServer, provider: Provider) -> Iterator[tuple[Product, Product]]:
    """Two data directories with one secret, as an operator sets up two machines."""
    environment = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": provider.address, "REDIS_URL": redis.url}
    environment["ORCHESTRATOR_REDIS_TIMEOUT_S"] = "20"  # a busy machine is not what this is about
    with ExitStack() as stack:
        one = stack.enter_context(Product(**environment, ORCHESTRATOR_WEB_WORKERS=2))
        other = Product(**environment)
        (other.data / "keys").mkdir(mode=0o700)
        (other.data / "keys" / "master").write_text((one.data / "keys" / "master").read_text())
        yield one, stack.enter_context(other)


def manage(product: Product, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env={**product.environment(), "DJANGO_SETTINGS_MODULE": "orchestrator.settings"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def ask(product: Product, **headers: str) -> str:
    response = httpx.post(f"{product.base_url}/api/generate", json=QUESTION, headers=headers, timeout=30)
    assert response.status_code == 200, response.text
    return response.headers["Cache-Status"]


def purge(product: Product, key: str) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {key}"}
    response = httpx.delete(
        f"{product.base_url}/api/admin/v1/cache", params={"all": "true"}, headers=headers, timeout=30
    )
    assert response.status_code == 200, response.text
    found: dict[str, object] = response.json()["unreached"]
    return found


def is_over(product: Product) -> bool:
    """Whether nothing is left to do for any purge."""
    with closing(sqlite3.connect(product.data / "cache.sqlite3", timeout=10)) as connection:
        return connection.execute("SELECT count(again_at) FROM cache_purge").fetchone() == (0,)


def test_a_purge_over_the_api_of_one_machine_holds_on_the_other(
    machines: tuple[Product, Product], redis: RedisServer
) -> None:
    one, other = machines
    key = manage(one, "manage.py", "issue_key", "ops", "--admin")
    assert "fwd=miss" in ask(one)
    assert "hit" in ask(other)
    until(lambda: "detail=memory" in ask(other), "the answer to be in the other's memory")
    until(lambda: purge(one, key) == {}, "a purge that each machine says in time it has heard")
    assert "fwd=miss" in ask(other)  # at once: the purge says that the other has heard
    until(lambda: is_over(one) and is_over(other), "the second sweep, a moment later")
    for product in (other, one):
        ask(product)
    redis.kill()
    assert "other machines" in purge(one, key)
    assert "hit" in ask(other)
    redis.start()
    until(lambda: "fwd=miss" in ask(other), "the purge to arrive")


def test_a_key_that_is_revoked_in_another_process_is_refused_at_once(provider: Provider) -> None:
    with Product(OPENAI_API_KEY="sk-test", OPENAI_BASE_URL=provider.address) as product:
        key = manage(product, "manage.py", "issue_key", "web")
        give_up = time.monotonic() + 60
        revoking = None
        with httpx.Client(base_url=product.base_url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
            while revoking is None or revoking.poll() is None:  # so that it is remembered all the time
                assert time.monotonic() < give_up
                if client.get("/api/tags").status_code != 200:
                    break
                if revoking is None:
                    revoking = subprocess.Popen(
                        [sys.executable, "-c", REVOKE],
                        cwd=PROJECT,
                        env={**product.environment(), "DJANGO_SETTINGS_MODULE": "orchestrator.settings"},
                    )
            assert client.get("/api/tags").status_code == 401
            assert revoking is not None
            assert revoking.wait(60) == 0
