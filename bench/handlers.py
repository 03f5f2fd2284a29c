"""The lean handler beside Django's own: one endpoint, one server, one machine, in turn.

Each answers `POST /api/chat` from memory, with the key check and the records on, in one uvicorn
process: the product as it is, Django's handler with the middleware of a new project (`default`),
and Django's handler with none (`bare`). Prints one JSON line; the ratios are what to quote. Needs
wrk (`apt-get install wrk`). Run by `make bench`.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

PROJECT = Path(__file__).resolve().parent.parent
ROUNDS, SECONDS, CONNECTIONS = 5, 3, 32
READY_S = 60
QUESTION = {
    "model": "smollm2:135m",
    "messages": [{"role": "user", "content": "Say hi."}],
    "stream": False,
    "options": {"num_predict": 8, "temperature": 0},
}


def main() -> int:
    """Measure and print."""
    wrk = shutil.which("wrk")
    if wrk is None:
        print("The benchmark needs wrk. Type: apt-get install wrk", file=sys.stderr)
        return 1
    rates: dict[str, list[float]] = {"lean": [], "default": [], "bare": []}
    with tempfile.TemporaryDirectory(prefix="orch-") as folder:
        ports = {name: free_port() for name in rates}
        addresses = {name: f"http://127.0.0.1:{port}/api/chat" for name, port in ports.items()}
        environment = {
            **os.environ,
            "ORCHESTRATOR_DATA_DIR": folder,
            "ORCHESTRATOR_WEB_WORKERS": "1",
            "ORCHESTRATOR_LOG_LEVEL": "warning",
            "OLLAMA_HOST": f"127.0.0.1:{ports['lean']}",
        }
        script = Path(folder) / "question.lua"
        script.write_text(f"wrk.method='POST'\nwrk.body={json.dumps(json.dumps(QUESTION))}\n")
        with ExitStack() as running_all:
            running_all.enter_context(running([sys.executable, "manage.py", "serve"], environment))
            warm(addresses["lean"])
            for name, middleware in (("default", "default"), ("bare", "none")):
                command = [sys.executable, "-m", "uvicorn", "bench.django_handler:application"]
                options = ["--port", str(ports[name]), "--no-access-log", "--log-level", "warning"]
                running_all.enter_context(running([*command, *options], environment | {"BENCH_MIDDLEWARE": middleware}))
                warm(addresses[name])
            for _ in range(ROUNDS):
                for name, address in addresses.items():
                    rates[name].append(measure(wrk, address, script))
    ratios = {
        name: [lean / other for lean, other in zip(rates["lean"], rates[name], strict=True)]
        for name in ("default", "bare")
    }
    print(
        json.dumps(
            {
                "bench": "handlers",
                "on": ["key check", "records", "memory tier", "cache headers"],
                "server": "uvicorn, one process",
                "connections": CONNECTIONS,
                "rounds": ROUNDS,
                "seconds_a_round": SECONDS,
                "cores": os.cpu_count(),
                "python": platform.python_version(),
                "requests_per_s": {name: round(median(found)) for name, found in rates.items()},
                "lean_over": {
                    name: {"median": round(median(found), 2), "least": round(min(found), 2)}
                    for name, found in ratios.items()
                },
            }
        )
    )
    return 0


@contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    """Run a command until the block ends."""
    process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=sys.stderr)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def warm(address: str) -> None:
    """Ask until it answers, and then from memory."""
    give_up = time.monotonic() + READY_S
    request = urllib.request.Request(address, json.dumps(QUESTION).encode())
    while True:
        try:
            with urllib.request.urlopen(request, timeout=READY_S) as response:
                if "detail=memory" in response.headers["Cache-Status"]:
                    return
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)


def measure(wrk: str, address: str, script: Path) -> float:
    """Requests a second, over one round. Raises RuntimeError when any was refused."""
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(script), address]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS + 30).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(said)
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if found is None:
        raise RuntimeError(said)
    return float(found[1])


if __name__ == "__main__":
    sys.exit(main())
