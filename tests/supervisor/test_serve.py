"""The whole product in real processes: it starts, heals, refuses and stops."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from orchestrator.core.secrets import master_secret
from orchestrator.processes import use
from tests.product import PROJECT, READY_WITHIN_S, Product, is_running, sign_in, until
from tests.provider import Provider

ROLES = ["web", "pages", "models", "worker", "redis"]


@pytest.fixture(scope="module")
def running() -> Iterator[Product]:
    """A product for the tests that leave it running."""
    with Product(ORCHESTRATOR_WEB_WORKERS=2) as product:
        yield product


def test_an_empty_directory_becomes_a_served_product(running: Product) -> None:
    assert running.get("/") == (200, b"Ollama is running")
    assert running.get("/readyz")[0] == 200
    assert sorted(one["role"] for one in running.status()["processes"]) == sorted([*ROLES, "web"])
    print(f"ready after {running.ready_after_s:.1f} s")  # noqa: T201  # measured, not judged


def test_the_queue_of_the_worker_is_no_news(running: Product) -> None:
    until(lambda: all(one["is_ready"] for one in running.status()["processes"]), "all to be ready", READY_WITHIN_S)
    assert not re.search("kombu|celery", running.logs())


def test_it_prints_a_link_that_signs_in_once(running: Product) -> None:
    link = re.search(r"http://\S+/dashboard/sign-in/\S+/", running.logs())
    assert link is not None
    with httpx.Client(follow_redirects=True, timeout=60) as client:
        assert sign_in(client, link[0]).url.path == "/dashboard/"
    assert httpx.get(link[0], timeout=60).status_code == 410


def test_its_files_are_private(running: Product) -> None:
    assert running.data.stat().st_mode & 0o077 == 0
    until(lambda: all(one["is_ready"] for one in running.status()["processes"]), "all to be ready")
    for name in ("redis", "models", "pages"):
        assert (running.data / "run" / f"{name}.sock").stat().st_mode & 0o077 == 0, name


def test_it_runs_on_while_what_runs_cannot_be_written_down(running: Product) -> None:
    until(lambda: all(one["is_ready"] for one in running.status()["processes"]), "all to be ready")
    obstacle = running.data / "run" / "processes.draft"
    obstacle.mkdir()
    web, worker = running.pids("web")[0], running.pids("worker")[0]
    os.kill(worker, signal.SIGKILL)
    until(lambda: "processes.json cannot be written (Is a directory)" in running.logs(), "the log to say so")
    assert running.get("/readyz")[0] == 200
    obstacle.rmdir()
    os.kill(web, signal.SIGKILL)
    until(lambda: "processes.json can be written again" in running.logs(), "the log to say so")
    until(lambda: len(running.pids()) == 6 and not {web, worker} & set(running.pids()), "all processes")


@pytest.mark.parametrize("role", ROLES)
def test_a_killed_process_comes_back(running: Product, role: str) -> None:
    until(lambda: len(running.pids()) == 6, "all processes")
    before = running.pids(role)
    began = time.monotonic()
    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(running.pids(role)) == len(before) and before[0] not in running.pids(role), f"a new {role}")
    until(lambda: all(one["is_ready"] for one in running.status()["processes"]), f"{role} to be ready")
    until(running.is_whole, f"{role} to be used again")
    print(f"{role} is back after {time.monotonic() - began:.2f} s")  # noqa: T201  # measured, not judged


def test_pages_are_made_by_a_process_of_their_own_and_without_it_all_the_same(running: Product) -> None:
    def spent_s() -> dict[str, float]:
        now = {pid: use(pid) for pid in running.pids("pages") + running.pids("web")}
        return {str(pid): taken.cpu_s for pid, taken in now.items() if taken}

    until(lambda: all(one["is_ready"] for one in running.status()["processes"]), "all to be ready")
    (pages,) = running.pids("pages")
    before = spent_s()
    for _ in range(100):
        assert running.get("/dashboard/sign-in/")[0] == 200
    assert spent_s()[str(pages)] > before[str(pages)]
    os.kill(pages, signal.SIGKILL)
    for _ in range(20):
        assert running.get("/dashboard/sign-in/", timeout=20)[0] == 200
    until(lambda: running.pids("pages") not in ([], [pages]), "new pages")


def test_the_page_of_the_cache_tells_of_the_memory_that_answers_come_from(provider: Provider) -> None:
    with Product(OPENAI_API_KEY="sk-test", OPENAI_BASE_URL=provider.address) as product:
        until(lambda: all(one["is_ready"] for one in product.status()["processes"]), "all to be ready")
        link = re.search(r"http://\S+/dashboard/sign-in/\S+/", product.logs())
        assert link
        with httpx.Client(base_url=product.base_url, follow_redirects=True, timeout=30) as client:
            for number in range(3):
                body = {"model": "openai/good", "messages": [{"role": "user", "content": str(number)}], "stream": False}
                assert client.post("/api/chat", json=body).status_code == 200
            assert sign_in(client, link[0]).status_code == 200
            preview = client.get("/dashboard/cache/purge/", params={"part": "preview", "what": "everything"})
            words = re.sub(r"<[^>]*>|\s+", " ", preview.text)
            assert re.search(r"Memory +of this process +3 ", words), words


def test_a_connection_made_while_the_only_worker_is_dead_is_answered() -> None:
    with Product() as product:
        (worker,) = product.pids("web")
        os.kill(worker, signal.SIGKILL)
        assert product.get("/", timeout=20) == (200, b"Ollama is running")


def test_a_second_product_on_the_same_data_is_refused(running: Product) -> None:
    refused = run_serve(running.data)
    assert refused.returncode == 78
    assert f"is already run by process {running.pid}" in refused.stderr
    assert "ORCHESTRATOR_DATA_DIR" in refused.stderr
    assert running.get("/")[0] == 200


def test_an_address_in_use_is_refused_and_another_named(running: Product, short_path: Path) -> None:
    address = running.status()["address"]
    refused = run_serve(short_path, OLLAMA_HOST=address)
    assert refused.returncode == 78
    assert f"Cannot listen on OLLAMA_HOST={address}" in refused.stderr
    assert "choose another address, such as OLLAMA_HOST=127.0.0.1:" in refused.stderr


def test_beyond_this_machine_without_keys_is_refused(short_path: Path) -> None:
    refused = run_serve(short_path, OLLAMA_HOST="0.0.0.0:0")
    assert refused.returncode == 78
    assert "ORCHESTRATOR_REQUIRE_KEYS=1" in refused.stderr
    assert "ORCHESTRATOR_ALLOW_OPEN=1" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("ORCHESTRATOR_WEB_WORKERS", "many"), ("ORCHESTRATOR_DRAIN_S", "-1"), ("ORCHESTRATOR_ENV", "x")]
)
def test_a_bad_setting_is_named(short_path: Path, name: str, value: str) -> None:
    refused = run_serve(short_path, **{name: value})
    assert refused.returncode == 78
    assert refused.stderr.startswith(f"orchestrator: {name}={value} cannot be used: ")


def test_a_data_directory_whose_sockets_would_have_too_long_a_path_is_refused(tmp_path: Path) -> None:
    refused = run_serve(tmp_path / ("long" * 25))
    assert refused.returncode == 78
    assert "is too long" in refused.stderr


def test_a_damaged_ledger_stops_the_start_with_the_remedy(short_path: Path) -> None:
    (short_path / "keys").mkdir()
    master_secret(short_path / "keys" / "master")
    (short_path / "ledger.sqlite3").write_bytes(b"not a database" * 1000)
    refused = run_serve(short_path)
    assert refused.returncode == 1
    assert "put a backup in its place" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_damaged_cache_is_set_aside(short_path: Path) -> None:
    (short_path / "cache.sqlite3").write_bytes(b"not a database" * 1000)
    with Product(only="worker", data=short_path):
        assert len(list(short_path.glob("cache.sqlite3.corrupt-*"))) == 1
        assert (short_path / "cache.sqlite3").read_bytes().startswith(b"SQLite format 3")


def test_sigterm_stops_everything_and_leaves_nothing() -> None:
    with Product() as product:
        pids = product.pids()
        assert product.stop() == 0
        assert not any(map(is_running, pids))
        left = {path.name for path in (product.data / "run").iterdir()}
        assert not {name for name in left if name.endswith((".sock", ".lock", ".json"))}


def test_ctrl_c_in_a_terminal_lets_running_answers_finish() -> None:
    with Product(ORCHESTRATOR_BODY_TIMEOUT_S=30) as product:
        host, port = product.status()["address"].split(":")
        with socket.create_connection((host, int(port)), timeout=20) as client:
            body = b'{"model": "no-such-model"}'
            head = b"POST /api/show HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body)
            client.sendall(head + body[:5])
            until(lambda: in_flight(product, client), "the request to be under way")
            os.killpg(product.pid, signal.SIGINT)  # as a terminal does: to the whole group
            until(lambda: refuses(host, int(port)), "it to accept no more")
            client.sendall(body[5:])
            assert client.recv(4096).startswith(b"HTTP/1.1 404 ")
        assert product.wait() == 0


def in_flight(product: Product, client: socket.socket) -> bool:
    """Whether the kernel has handed on all that the client sent: a worker has read it."""
    local, remote = client.getsockname()[1], client.getpeername()[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, here, there, _, queues, *_ = line.split()
        if here.endswith(f":{remote:04X}") and there.endswith(f":{local:04X}"):
            return queues.endswith(":00000000")
    return False


def refuses(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_second_signal_ends_it_at_once() -> None:
    with Product(ORCHESTRATOR_DRAIN_S=3600, ORCHESTRATOR_BODY_TIMEOUT_S=3600) as product:
        host, port = product.status()["address"].split(":")
        with socket.create_connection((host, int(port)), timeout=20) as client:
            client.sendall(b"POST /api/show HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{")
            until(lambda: in_flight(product, client), "the request to be under way")
            product.signal(signal.SIGTERM)
            until(lambda: "a second signal ends them at once" in product.logs(), "it to drain")
            product.signal(signal.SIGTERM)
            assert product.wait() == 0


def test_when_the_supervisor_is_killed_its_children_go_and_a_new_one_starts() -> None:
    with Product() as product:
        pids = product.pids()
        product.kill()
        until(lambda: not any(map(is_running, pids)), "the children to end")
        product.start()
        assert product.get("/") == (200, b"Ollama is running")
        print(f"ready again after {product.ready_after_s:.1f} s")  # noqa: T201  # measured, not judged


def test_a_redis_role_runs_alone_and_others_find_it(short_path: Path) -> None:
    with Product(only="redis", data=short_path) as redis, Product(only="worker", data=short_path) as worker:
        assert [one["is_ready"] for one in worker.status()["processes"]] == [True]
        assert b"ORCHESTRATOR_PRIVATE_REDIS=unix://" in environment_of(worker.pids()[0])
        assert redis.stop() == 0


def test_a_redis_role_without_need_says_so(short_path: Path) -> None:
    refused = run_serve(short_path, only="redis", REDIS_URL="redis://127.0.0.1:1/0")
    assert refused.returncode == 78
    assert "REDIS_URL names a Redis" in refused.stderr


def test_warnings_come_with_a_hint(short_path: Path) -> None:
    short_path.chmod(0o755)
    with Product(only="redis", data=short_path) as product:
        assert f"{short_path} can be read by other users" in product.logs()
        assert f"chmod go-rwx {short_path}" in product.logs()


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def run_serve(data: Path, only: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `manage.py serve` where it is expected to refuse."""
    product = Product(only=only, data=data, **env)
    try:
        return subprocess.run(
            product.command(),
            cwd=PROJECT,
            env=product.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        product.clean_up()
