"""The model host as a process of its own, as the supervisor starts it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent.parent


def until(is_so: Callable[[], bool], *, within_s: float = 60) -> None:
    """Wait until something is so. Raises TimeoutError when it is not in time."""
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {within_s} s")
        time.sleep(0.01)


class ModelHost:
    """Starts, stops and kills a model host with a data directory of its own."""

    def __init__(self, **settings: str) -> None:
        self.data_dir = Path(tempfile.mkdtemp(prefix="mh-"))  # short: the path of a socket must be
        self.socket = self.data_dir / "run" / "models.sock"
        self.models_dir = self.data_dir / "models"
        self.settings = settings
        self.log = self.data_dir / "log"

    def start(self) -> "ModelHost":
        """Start it and wait until it answers."""
        environment = {
            "PATH": os.environ["PATH"],
            "ORCHESTRATOR_DATA_DIR": str(self.data_dir),
            "ORCHESTRATOR_MODEL_THREADS": "1",
            "ORCHESTRATOR_DRAIN_S": "5",
            **self.settings,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.modelhost"], env=environment, cwd=ROOT, stderr=log, stdout=log
            )
        until(self.answers)
        return self

    def answers(self) -> bool:
        """Whether it can be asked."""
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: models\r\nConnection: close\r\n\r\n")
                return connection.recv(100).startswith(b"HTTP/1.1 200")
            except OSError:
                return False

    def children(self) -> list[int]:
        """Process ids of the loaded models."""
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def kill(self) -> None:
        """As the system would when memory is out."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Tell it to end, politely; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def clear(self) -> None:
        """End it, whatever state it is in, and remove what it wrote."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=60)
            finally:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.data_dir)


def is_running(pid: int) -> bool:
    """Whether a process exists and is not merely unburied."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
