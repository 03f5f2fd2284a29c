"""The whole product in processes of its own, as `manage.py serve` starts it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

PROJECT = Path(__file__).resolve().parent.parent
# Far beyond what it takes, on a machine that is busy too: timings are measured, not judged here.
UNTIL_S = 60.0
READY_WITHIN_S = 180.0
STOPS_WITHIN_S = 40.0
POLL_S = 0.02

T = TypeVar("T")


def until(found: Callable[[], T | None], what: str, within_s: float = UNTIL_S) -> T:
    """Poll until `found` returns something true, and return that."""
    deadline = time.monotonic() + within_s
    while True:
        value = found()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within_s:g} s for {what}")
        time.sleep(POLL_S)


def sign_in(client: httpx.Client, link: str) -> httpx.Response:
    """Open a link that signs in once, and press the button of its page."""
    assert client.get(link).status_code == httpx.codes.OK
    return client.post(link, data={"csrfmiddlewaretoken": client.cookies["orchestrator_csrf"]})


def is_running(pid: int) -> bool:
    """Whether the process is there and not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


class Product:
    """One running product on a free port, with a data directory of its own.

        with Product(ORCHESTRATOR_WEB_WORKERS=2) as product:
            httpx.get(f"{product.base_url}/api/tags")

    env    more environment variables; None takes one away.
    only   the role to run alone, as `--only` does.
    data   an existing data directory; it is left in place. Without it a fresh one is made and removed.
    """

    def __init__(self, *, only: str | None = None, data: Path | None = None, **env: object) -> None:
        self.only = only
        self._is_temporary = data is None
        # Short, because the path of a unix socket may have 107 characters at most.
        self.data = data or Path(tempfile.mkdtemp(prefix="orch-"))
        self._log = Path(tempfile.mkstemp(prefix="orch-log-")[1])
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self.ready_after_s = 0.0

    def __enter__(self) -> Product:
        try:
            return self.start()
        except BaseException:
            self.clean_up()
            raise

    def __exit__(self, *_: object) -> None:
        self.clean_up()

    def environment(self) -> dict[str, str]:
        """What it is started with: nothing of this machine's settings, but what was asked for."""
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OLLAMA_", "ORCHESTRATOR_", "REDIS_", "DATABASE_", "COV_", "PYTEST_"))
            and not name.endswith(("_API_KEY", "_BASE_URL"))
        }
        asked = {
            "ORCHESTRATOR_DATA_DIR": self.data,
            "OLLAMA_HOST": "127.0.0.1:0",
            "ORCHESTRATOR_WEB_WORKERS": 1,
            "ORCHESTRATOR_ENV": "test",
            **self._env,
        }
        return clean | {name: str(value) for name, value in asked.items() if value is not None}

    def command(self) -> list[str]:
        """How it is started."""
        return [sys.executable, "manage.py", "serve", *(["--only", self.only] if self.only else [])]

    def start(self, *, wait: bool = True) -> Product:
        """Start it; return when it says it is ready."""
        began = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), cwd=PROJECT, env=self.environment(), stdout=log, stderr=log, start_new_session=True
            )
        if wait:
            try:
                until(self._is_ready, "the product to be ready", READY_WITHIN_S)
            except TimeoutError as error:
                raise TimeoutError(f"{error}; it said:\n{self.logs()}") from None
            self.ready_after_s = time.monotonic() - began
        return self

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"it ended with exit code {self._process.returncode}:\n{self.logs()}")
        status = self.status()
        if not status.get("is_ready") or status["supervisor"] != self._process.pid:
            return False
        return self.only is not None or self.is_whole()

    def is_whole(self) -> bool:
        """Whether no part is down. It says that it is ready without those it can do without, after ten seconds."""
        try:
            return "down" not in json.loads(self.get("/readyz")[1])["parts"].values()
        except urllib.error.HTTPError as refused:
            refused.close()
            return False
        except OSError:
            return False

    def status(self) -> dict[str, Any]:
        """What it says of itself; empty when it does not run."""
        name = f"{self.only}.processes.json" if self.only else "processes.json"
        try:
            found: dict[str, Any] = json.loads((self.data / "run" / name).read_text())
        except FileNotFoundError:
            return {}
        return found

    @property
    def base_url(self) -> str:
        """Where it serves."""
        return f"http://{self.status()['address']}"

    @property
    def pid(self) -> int:
        """The supervisor's process."""
        assert self._process is not None
        return self._process.pid

    def pids(self, role: str | None = None) -> list[int]:
        """The processes of a role (web, models, worker, redis), or of all."""
        processes = self.status().get("processes", [])
        return [one["pid"] for one in processes if one["pid"] and role in {None, one["role"]}]

    def logs(self) -> str:
        """All it has said."""
        return self._log.read_text(errors="replace")

    def get(self, path: str, timeout: float = UNTIL_S) -> tuple[int, bytes]:
        """Ask it for a page; status and body."""
        with urllib.request.urlopen(self.base_url + path, timeout=timeout) as response:  # noqa: S310  # our own
            return response.status, response.read()

    def issue_key(self, *arguments: str) -> str:
        """A fresh key, made as an operator does."""
        command = [sys.executable, "manage.py", "issue_key", *arguments]
        done = subprocess.run(
            command, cwd=PROJECT, env=self.environment(), capture_output=True, text=True, timeout=180, check=True
        )
        return done.stdout.split()[-1]

    def signal(self, signum: int) -> None:
        """Send the supervisor a signal."""
        os.kill(self.pid, signum)

    def wait(self, within_s: float = STOPS_WITHIN_S) -> int:
        """Return its exit code."""
        assert self._process is not None
        return self._process.wait(within_s)

    def stop(self) -> int:
        """Stop it as an operator does; return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it as a crash does."""
        self.signal(signal.SIGKILL)
        self.wait()

    def clean_up(self) -> None:
        """Stop what still runs and remove what it left."""
        if self._process is not None and self._process.poll() is None:
            pids = self.pids()
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
            until(lambda: not any(map(is_running, pids)), "its processes to end")
        self._log.unlink(missing_ok=True)
        if self._is_temporary:
            shutil.rmtree(self.data)


@contextmanager
def registry_kept(product: Product, admin_key: str) -> Iterator[None]:
    """Put registry and rules back as they were, whatever is done to them within, and take away budgets."""
    address = f"{product.base_url}/api/admin/v1/registry"
    headers = {"Authorization": f"Bearer {admin_key}"}
    with httpx.Client(headers=headers, timeout=30) as client:
        before = client.get(address).raise_for_status().json()
        budgets = f"{product.base_url}/api/admin/v1/budgets"
        known = _names(client, budgets)
        routing = f"{product.base_url}/api/admin/v1/routing"
        rules = client.get(f"{routing}/rules").raise_for_status().json()
        yield
        after = client.get(f"{routing}/rules").raise_for_status().json()
        if after["live"] != rules["live"]:
            client.put(f"{routing}/draft", json=rules["live"] | {"version": None}).raise_for_status()
            client.post(f"{routing}/publish").raise_for_status()
        if after["draft"] != rules["draft"]:
            client.put(f"{routing}/draft", json=rules["draft"] | {"version": None}).raise_for_status()
        for name in _names(client, budgets) - known:
            client.delete(f"{budgets}/{name}").raise_for_status()
        if client.get(address).raise_for_status().json()["version"] != before["version"]:
            client.post(f"{address}/versions/{before['version']}/restore").raise_for_status()
            after = client.get(address).raise_for_status().json()
            assert after | {"version": 0} == before | {"version": 0}


def _names(client: httpx.Client, address: str) -> set[str]:
    return {one["name"] for one in client.get(address, params={"limit": 100}).raise_for_status().json()["budgets"]}
