"""An address that cannot or must not be had is refused with the remedy."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from orchestrator.env import Address, BadSetting
from orchestrator.supervisor.listening import SEND_BUFFER, listen, local_address
from tests.servers import free_ports

EVERYWHERE = "0.0.0.0"  # noqa: S104  # what is to be refused


def test_it_listens_on_a_free_port() -> None:
    with listen(Address("127.0.0.1", 0), may_be_reached=False) as listener:
        socket.create_connection(listener.getsockname(), timeout=5).close()


def test_the_kernel_holds_little_for_a_caller_who_does_not_read() -> None:
    with listen(Address("127.0.0.1", 0), may_be_reached=False) as listener:
        caller = socket.create_connection(listener.getsockname(), timeout=5)
        connection, _ = listener.accept()
        # Linux says twice what was asked for, or twice what the system allows.
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * SEND_BUFFER
        caller.close()
        connection.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3"])
def test_this_machine_alone_needs_no_keys(host: str) -> None:
    listen(Address(host, 0), may_be_reached=False).close()


@pytest.mark.parametrize("host", [EVERYWHERE, "::"])
def test_an_open_address_is_refused_unless_said(host: str) -> None:
    with pytest.raises(BadSetting, match="ORCHESTRATOR_REQUIRE_KEYS=1"):
        listen(Address(host, 0), may_be_reached=False)
    listen(Address(host, 0), may_be_reached=True).close()


def test_what_counts_is_the_address_a_name_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (EVERYWHERE, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(BadSetting, match="can be reached from other machines"):
        listen(Address("127.example.org", 0), may_be_reached=False)


def test_a_wildcard_is_reached_on_this_machine() -> None:
    with listen(Address(EVERYWHERE, 0), may_be_reached=True) as listener:
        assert local_address(listener).host == "127.0.0.1"


def test_an_unknown_name_is_named() -> None:
    with pytest.raises(BadSetting, match=r"the name 'no\.such\.host\.invalid' is unknown"):
        listen(Address("no.such.host.invalid", 0), may_be_reached=True)


def test_an_address_in_use_names_another(free_port: int) -> None:
    elsewhere = rf"another program is listening there\. .*OLLAMA_HOST=127\.0\.0\.1:{free_port + 1}"
    address = Address("127.0.0.1", free_port)
    with listen(address, may_be_reached=False), pytest.raises(BadSetting, match=elsewhere):
        listen(address, may_be_reached=False)


def test_a_running_ollama_is_recognised() -> None:
    refused = pytest.raises(BadSetting, match="an Ollama server is listening there")
    with something_that_says(b"Ollama is running") as port, refused:
        listen(Address("127.0.0.1", port), may_be_reached=False)


def test_another_orchestrator_is_recognised() -> None:
    refused = pytest.raises(BadSetting, match="another orchestrator is listening there")
    with something_that_says(b"Ollama is running", request_id="1") as port, refused:
        listen(Address("127.0.0.1", port), may_be_reached=False)


@pytest.fixture
def free_port() -> int:
    return free_ports(1)[0]


@contextmanager
def something_that_says(words: bytes, request_id: str = "") -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            if request_id:
                self.send_header("X-Request-Id", request_id)
            self.end_headers()
            self.wfile.write(words)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
