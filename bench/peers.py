"""Other gateways on the same work: `python -m bench.product --peers`.

Each is installed from its package into a virtual environment of its own, kept in `.bench_cache/`. It runs
with one worker, a key and its cache in memory on, and what it says is kept to warnings. One that
cannot be installed or started gets a line that says why, and the others are measured.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import TextIO

import psutil
import uvloop

from bench.lines import emit, ratios, spread, spreads
from bench.load import Question, closed_loop
from bench.plan import Plan
from bench.serving import Answers, Served, Upstream, cpu_s, floor, say, started, upstream, warm
from bench.wrk import CONNECTIONS, wrk
from tests.product import PROJECT

CACHE = PROJECT / ".bench_cache" / "peers"
PATH = "/v1/chat/completions"
MODEL = "gpt-4o-mini"  # one that all of them know; the provider answers it at once
KEY = "sk-bench-only"
CALLERS = (1, 16, 64)
QUESTIONS = 100  # asked in turn; so few that all caches hold them
INSTALL_S = 900.0
NO_END_S = 60.0
SAID = 1500  # characters of what a peer said that are worth a line

LITELLM = """\
model_list:
  - model_name: {model}
    litellm_params: {{model: openai/{model}, api_base: "{provider}/v1", api_key: sk-bench}}
litellm_settings:
  cache: true
  cache_params: {{type: local, ttl: 3600}}
general_settings:
  master_key: {key}
"""

FERROGW = """\
strategy: {{mode: single}}
targets:
  - virtual_key: openai
plugins:
  - &cache
    name: response-cache
    type: transform
    stage: before_request
    enabled: true
    config: {{max_age: 3600, max_entries: 100000}}
  - {{<<: *cache, stage: after_request}}
"""


@dataclass(frozen=True)
class Peer:
    """A gateway that can be installed as a Python package."""

    package: str
    requirement: str
    config: str
    run: Callable[[Path, int], list[str]]  # of its configuration file and port
    environment: Callable[[Path, int, str], dict[str, str]]  # of these and the provider's address

    @property
    def folder(self) -> Path:
        """Its virtual environment."""
        return CACHE / self.package

    @property
    def program(self) -> Path:
        """What starts it."""
        return self.folder / "bin" / self.package


PEERS = (
    Peer(
        package="litellm",
        requirement="litellm[proxy]",
        config=LITELLM,
        run=lambda config, port: [
            "--config",
            str(config),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--num_workers",
            "1",
        ],
        environment=lambda config, port, provider: {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    ),
    Peer(
        package="ferrogw",
        requirement="ferrogw",
        config=FERROGW,
        run=lambda config, port: ["serve"],
        environment=lambda config, port, provider: {
            "GATEWAY_CONFIG": str(config),
            "PORT": str(port),
            "MASTER_KEY": KEY,
            "OPENAI_API_KEY": "sk-bench",
            "OPENAI_BASE_URL": f"{provider}/v1",
            "LOG_LEVEL": "warn",
            # It lets 20 requests a second through unless told otherwise.
            "RATE_LIMIT_RPS": "1000000",
            "RATE_LIMIT_BURST": "1000000",
        },
    ),
)


@dataclass(frozen=True)
class Contender:
    """A gateway that runs."""

    question: Question
    processes: Callable[[], list[psutil.Process]]  # that answer
    version: str


def run(plan: Plan) -> None:
    """The product and whatever peers can be had, in turn."""
    with ExitStack() as stack:
        provider = stack.enter_context(upstream())
        product = stack.enter_context(Served(provider.address, workers=1))
        ours = product.question(PATH, MODEL)
        contenders = {"product": Contender(ours, lambda: product.processes("web"), "this one")}
        answers = Answers()
        answers.learn("hit", *warm(ours, 0))
        bare = stack.enter_context(floor(answers))
        for peer in PEERS:
            try:
                contenders[peer.package] = stack.enter_context(_peer(peer, provider))
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                emit("peers", peer.package, error=str(error)[-SAID:])
        floors = [wrk(bare.question("hit", like=ours), plan.seconds).rate for _ in range(plan.rounds)]
        for questions in (1, QUESTIONS):
            _hits(contenders, questions, provider, floors, plan)
        numbers = count(10_000_000)
        for callers in CALLERS:
            _misses(contenders, callers, numbers, plan)


@contextmanager
def _peer(peer: Peer, provider: Upstream) -> Iterator[Contender]:
    """Install it where it is not, start it, and see it answer from its cache."""
    _install(peer)
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, (Path(folder) / "log").open("w+") as log:
        config = Path(folder) / "config.yaml"
        config.write_text(peer.config.format(model=MODEL, provider=provider.address, key=KEY))
        environment = os.environ | peer.environment(config, port, provider.address)
        with started([str(peer.program), *peer.run(config, port)], environment, cwd=folder, output=log) as process:
            question = Question(f"http://127.0.0.1:{port}{PATH}", MODEL, is_streamed=False, key=KEY)
            try:
                _see_it_answer(question, process, provider)
            except (OSError, RuntimeError) as error:
                raise RuntimeError(f"{error}; it said: {_end_of(log)}") from error
            main = psutil.Process(process.pid)
            yield Contender(question, lambda: [main, *main.children(recursive=True)], _version(peer))


def _install(peer: Peer) -> None:
    """Raises RuntimeError, SubprocessError."""
    if peer.program.exists():
        return
    say(f"peers: installing {peer.requirement} into {peer.folder}; this takes a while")
    subprocess.run([sys.executable, "-m", "venv", str(peer.folder)], check=True, timeout=INSTALL_S, stdout=sys.stderr)
    pip = [str(peer.folder / "bin" / "python"), "-m", "pip", "install", "--quiet", peer.requirement]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    if done.returncode:
        raise RuntimeError(f"it could not be installed: {done.stderr[-SAID:]}")


def _version(peer: Peer) -> str:
    code = f"from importlib.metadata import version; print(version({peer.package!r}))"
    python = str(peer.folder / "bin" / "python")
    return subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def _see_it_answer(question: Question, process: subprocess.Popen[bytes], provider: Upstream) -> None:
    """Raises RuntimeError when it ends, or asks the provider for what it was asked before."""
    warm(question, 0, wanted="", server=process)
    calls = provider.calls()
    warm(question, 0, wanted="")
    if provider.calls() != calls:
        raise RuntimeError("it does not answer from its cache")


def _hits(
    contenders: dict[str, Contender], questions: int, provider: Upstream, floors: list[float], plan: Plan
) -> None:
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for contender in contenders.values():
        uvloop.run(
            closed_loop(
                contender.question,
                iter([*range(questions)] * (plan.warm_up // questions + 1)),
                callers=CONNECTIONS,
                seconds=NO_END_S,
            )
        )
    for _ in range(plan.rounds):
        for name, one in contenders.items():
            before, calls = cpu_s(one.processes()), provider.calls()
            found = wrk(one.question, plan.seconds, questions=questions)
            rounds[name].append(
                {
                    "answers_per_s": found.rate,
                    "p50_ms": found.p50_ms,
                    "p99_ms": found.p99_ms,
                    "cpu_us_per_answer": 1e6 * (cpu_s(one.processes()) - before) / found.answers,
                    "share_not_from_cache": (provider.calls() - calls) / found.answers,
                }
            )
    asked = "one question" if questions == 1 else f"{questions} questions in turn"
    _tell(
        f"hits, {PATH}, whole, {asked}", contenders, rounds, plan, connections=CONNECTIONS, floor_per_s=spread(floors)
    )


def _misses(contenders: dict[str, Contender], callers: int, numbers: Iterator[int], plan: Plan) -> None:
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for contender in contenders.values():
        uvloop.run(closed_loop(contender.question, islice(numbers, plan.warm_up), callers=callers, seconds=NO_END_S))
    for _ in range(plan.rounds):
        for name, one in contenders.items():
            before = cpu_s(one.processes())
            load = uvloop.run(closed_loop(one.question, numbers, callers=callers, seconds=plan.seconds))
            rounds[name].append(
                {
                    "answers_per_s": load.rate,
                    "p50_ms": load.percentile_ms(50),
                    "p99_ms": load.percentile_ms(99),
                    "cpu_us_per_answer": 1e6 * (cpu_s(one.processes()) - before) / len(load.latencies),
                    "failed": load.failed,
                }
            )
    _tell(f"misses, {PATH}, whole", contenders, rounds, plan, callers=callers)


def _tell(
    case: str, contenders: dict[str, Contender], rounds: dict[str, list[dict[str, float]]], plan: Plan, **more: object
) -> None:
    rates = {name: [one["answers_per_s"] for one in found] for name, found in rounds.items()}
    emit(
        "peers",
        case,
        rounds=plan.rounds,
        seconds=plan.seconds,
        **more,
        peers={name: one.version for name, one in contenders.items()},
        **{name: spreads(found) for name, found in rounds.items()},
        product_over={name: ratios(rates["product"], found) for name, found in rates.items() if name != "product"},
    )


def _free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end_of(log: TextIO) -> str:
    log.flush()
    return Path(log.name).read_text(errors="replace")[-SAID:]
