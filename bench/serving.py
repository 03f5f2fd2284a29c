"""What the benchmarks start. Everything ends with the block that started it, or with this process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import psutil
import redis

from bench.load import Question, fetch, source
from orchestrator.supervisor import leash
from tests.product import PROJECT, STOPS_WITHIN_S, Product, until

READY_S = 60.0
ANSWERS_S = 10.0
BACKLOG = 4096
LIMITS = """
from orchestrator.models import Limit
many = 10**9
Limit.objects.create(name="per-key", kind="requests", each="key", amount=many, per_s=60)
Limit.objects.create(name="per-tenant", kind="requests", each="tenant", amount=many, per_s=3600)
Limit.objects.create(name="monthly", kind="tokens", each="tenant", amount=many, per_s=31 * 86400)
Limit.objects.create(name="at-a-time", kind="concurrent", each="key", amount=many)
"""
OPEN: dict[str, Any] = {"ORCHESTRATOR_REQUIRE_KEYS": 0}  # as it is on one's own machine
NO_REPLAY: dict[str, Any] = {"ORCHESTRATOR_REPLAY_MEMORY": 0}  # a repeated question goes the whole way


def leashed(command: list[str]) -> list[str]:
    """`command`, so that it dies with this process whatever happens."""
    return [sys.executable, "-I", "-S", str(leash.__file__), str(os.getpid()), "0", *command]


def end_in_order() -> None:
    """Let SIGTERM end this process as Ctrl-C does, so that what was started is stopped."""

    def leave(signum: int, frame: FrameType | None) -> None:
        sys.exit(128 + signum)

    signal.signal(signal.SIGTERM, leave)


@contextmanager
def started(
    command: list[str],
    environment: Mapping[str, str] | None = None,
    *,
    inherits: Sequence[int] = (),
    cwd: Path | str = PROJECT,
    output: TextIO | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the block ends; what it says goes to `output`, or to standard error."""
    said = output or sys.stderr
    process = subprocess.Popen(leashed(command), cwd=cwd, env=environment, pass_fds=inherits, stdout=said, stderr=said)
    try:
        yield process
    finally:
        stop(process)


@contextmanager
def running(command: list[str], environment: Mapping[str, str] | None = None) -> Iterator[tuple[psutil.Process, str]]:
    """Run a server whose last argument is the file descriptor it listens on; give its process and address."""
    with ExitStack() as stack:
        with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
            fd = listener.fileno()
            address = "http://{}:{}".format(*listener.getsockname())
            process = stack.enter_context(started([*command, str(fd)], environment, inherits=[fd]))
        yield psutil.Process(process.pid), address


def stop(process: subprocess.Popen[Any], within_s: float = STOPS_WITHIN_S) -> None:
    """Ask it to end, and insist when it does not."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(within_s)


@dataclass
class Upstream:
    """The scripted provider."""

    process: psutil.Process
    address: str

    def calls(self) -> int:
        """How many questions it was asked so far."""
        with urllib.request.urlopen(f"{self.address}/calls", timeout=ANSWERS_S) as response:
            return int(json.load(response)["calls"])

    def question(self, model: str = "at-once", *, is_streamed: bool = False) -> Question:
        """A question put to it directly."""
        return Question(f"{self.address}/v1/chat/completions", model, is_streamed=is_streamed)


@contextmanager
def upstream() -> Iterator[Upstream]:
    """Run the scripted provider."""
    with running([sys.executable, "-m", "bench.upstream"]) as (process, address):
        yield Upstream(process, address)


class Served(Product):
    """The product as people run it, keys required, in front of a provider."""

    def __init__(self, provider: str, *, workers: int, **settings: Any) -> None:
        usual = {
            "ORCHESTRATOR_ENV": "production",
            "ORCHESTRATOR_WEB_WORKERS": workers,
            "ORCHESTRATOR_REQUIRE_KEYS": 1,
            "ORCHESTRATOR_LOG_LEVEL": "warning",
            "OPENAI_BASE_URL": f"{provider}/v1",
            "OPENAI_API_KEY": "sk-bench",
        }
        super().__init__(**usual | settings)
        self.workers = workers
        self.key = ""

    def command(self) -> list[str]:
        """How it is started; it dies with this process."""
        return leashed(super().command())

    def __enter__(self) -> Served:
        super().__enter__()
        try:
            self.key = self.manage("issue_key", "bench")
        except BaseException:
            self.clean_up()
            raise
        return self

    def __exit__(self, *reason: object) -> None:
        if complaints := [line for line in self.logs().splitlines() if re.search("WARN|ERROR|Traceback", line)]:
            say("the product's log has:\n  " + "\n  ".join(complaints[-20:]))
        super().__exit__(*reason)

    def manage(self, *words: str) -> str:
        """What a management command prints."""
        command = [sys.executable, "manage.py", *words]
        done = subprocess.run(
            command, cwd=PROJECT, env=self.environment(), capture_output=True, text=True, timeout=READY_S, check=True
        )
        return done.stdout.strip()

    def processes(self, role: str) -> list[psutil.Process]:
        """Those of a role: web, models, worker, redis."""
        return [psutil.Process(pid) for pid in self.pids(role)]

    def limit(self) -> None:
        """Limit its key as an operator may, so widely that nothing is refused."""
        self.manage("shell", "-v", "0", "-c", LIMITS)

    def question(self, path: str, model: str = "at-once", *, is_streamed: bool = False) -> Question:
        """A question put to it, for a model of the provider."""
        return Question(self.base_url + path, f"openai/{model}", is_streamed=is_streamed, key=self.key)

    def restart_web(self) -> None:
        """End its web workers in order, so that all is written, and wait for the new ones."""
        old = self.pids("web")
        for pid in old:
            os.kill(pid, signal.SIGTERM)

        def are_new() -> bool:
            status = self.status()
            pids = [one["pid"] for one in status["processes"] if one["role"] == "web"]
            return bool(status["is_ready"]) and all(pids) and not set(pids) & set(old)

        until(are_new, "new web workers", READY_S)

    def load_pages(self) -> None:
        """Have the pages loaded, which a web worker does by itself in a while: they take memory."""
        self.get("/dashboard/")

    def flush_redis(self) -> None:
        """Empty its Redis."""
        with redis.Redis(unix_socket_path=str(next(self.data.rglob("redis.sock"))), socket_timeout=ANSWERS_S) as client:
            client.flushdb()

    def on(self) -> list[str]:
        """What it does beside answering, as far as it can be seen from here."""
        status = json.loads(self.get("/readyz")[1])["parts"]
        parts = [name for name, state in status.items() if name != "web" and state not in {"down", "off"}]
        metrics = ["metrics"] if self._has_metrics() else []
        return ["API key", "a record of each request", "coalescing", *metrics, *parts]

    def _has_metrics(self) -> bool:
        try:
            self.get("/metrics", ANSWERS_S)
        except urllib.error.HTTPError as error:
            return error.code != 404  # refused without a key, and so there
        return True


def warm(
    question: Question, number: int, wanted: str = "memory", server: subprocess.Popen[bytes] | None = None
) -> tuple[bytes, list[bytes]]:
    """Ask until the answer comes from where it is wanted; return that answer.

    Raises TimeoutError when it never does, RuntimeError when it is refused or the server has ended.
    """
    give_up = time.monotonic() + READY_S
    while True:
        try:
            head, parts = fetch(question.ask(number), question.host, question.port)
            if not wanted or source(head) == wanted:
                return head, parts
            complaint = f"it comes from {source(head) or 'nowhere known'}"
        except OSError as error:
            complaint = str(error)
        if server is not None and server.poll() is not None:
            raise RuntimeError(f"it ended with exit code {server.returncode}")
        if time.monotonic() > give_up:
            raise TimeoutError(f"no answer from {wanted} within {READY_S:g} s: {complaint}")
        time.sleep(0.05)


@dataclass
class Floor:
    """The bare function under the product's server."""

    process: psutil.Process
    address: str

    def question(self, name: str, like: Question) -> Question:
        """A question like another one; the answer is what was learned under `name`."""
        return Question(f"{self.address}/{name}", like.model, is_streamed=like.is_streamed)


@dataclass
class Answers:
    """What the floor is to say, by name: the product's own answers."""

    known: dict[str, dict[str, Any]] = field(default_factory=dict)

    def learn(self, name: str, head: bytes, frames: list[bytes], pause_s: float = 0.0) -> None:
        """Keep an answer under a name, with its headers but those the server writes."""
        lines = head.decode("latin-1").split("\r\n")[1:]
        pairs = [line.split(": ", 1) for line in lines if line]
        headers = [pair for pair in pairs if pair[0].lower() not in {"date", "transfer-encoding"}]
        texts = [frame.decode("latin-1") for frame in frames]
        self.known[name] = {"headers": headers, "frames": texts, "pause_s": pause_s}


@contextmanager
def floor(answers: Answers) -> Iterator[Floor]:
    """Run the floor with what it is to say."""
    with tempfile.TemporaryDirectory(prefix="orch-") as folder:
        file = Path(folder) / "answers.json"
        file.write_text(json.dumps({f"/{name}": answer for name, answer in answers.known.items()}))
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "orchestrator.settings",
            "ORCHESTRATOR_DATA_DIR": folder,
            "BENCH_ANSWERS": str(file),
        }
        with running([sys.executable, "-m", "bench.floor"], environment) as (process, address):
            like = Question(address, "any", is_streamed=False)
            bare = Floor(process, address)
            for name in answers.known:
                warm(bare.question(name, like), 0, wanted="")
            yield bare


def cpu_s(processes: list[psutil.Process]) -> float:
    """Processor time they have used so far."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def say(text: str) -> None:
    """Tell whoever watches how far it is."""
    print(text, file=sys.stderr, flush=True)
