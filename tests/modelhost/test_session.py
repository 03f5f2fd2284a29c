"""What a child makes of requests, without the model."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from orchestrator.core.errors import BadRequest
from orchestrator.core.types import ChatRequest
from orchestrator.modelhost import session as session_module
from orchestrator.modelhost import wire
from orchestrator.modelhost.prompt import GoneError
from orchestrator.modelhost.session import Session

PREVIEW = wire.Ask(7, ChatRequest(model="m", prompt="hi"), {}, None, (), 0, is_preview=True)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The host's end, and the child's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def session(pair: tuple[socket.socket, socket.socket]) -> Session:
    """One that has loaded nothing."""
    session = Session(pair[1])
    session._model = session._template = None  # type: ignore[assignment]
    return session


async def heard(ours: socket.socket) -> wire.FromChild:
    reader, writer = await asyncio.open_connection(sock=ours)
    said = await wire.from_child(reader)
    writer.close()
    return said


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (BadRequest("no"), "bad_request", "no"),
        (ValueError("not that"), "bad_request", "not that"),
        (MemoryError(), "bad_request", "not enough memory"),
        (ZeroDivisionError("oh"), "engine_error", "could not be made (ZeroDivisionError)"),
        (RecursionError("oh"), "engine_error", "could not be made (RecursionError)"),
    ],
)
def test_whatever_goes_wrong_with_a_request_is_its_own_trouble(
    session: Session, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str, words: str
):
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(session_module, "preview", fail)
    refused = session._prepared(PREVIEW)
    assert isinstance(refused, wire.Refused)
    assert (refused.id, refused.kind) == (7, kind)
    assert words in refused.message


def test_a_preview_that_no_frame_holds_is_refused_where_it_is_made(session: Session, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(session_module, "preview", lambda *_: wire.Preview("\1" * 1000, 1))
    monkeypatch.setattr(wire, "LARGEST_FRAME", 5000)  # it takes six bytes a character
    refused = session._prepared(PREVIEW)
    assert isinstance(refused, wire.Refused)
    assert "longer than 5000" in refused.message


async def test_a_part_that_no_frame_holds_ends_its_own_answer(
    session: Session, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(wire, "LARGEST_FRAME", 500)
    session._send(wire.Piece(7, b"x" * 501))
    refused = await heard(pair[0])
    assert isinstance(refused, wire.Refused)
    assert (refused.id, refused.kind) == (7, "engine_error")


def test_who_has_gone_holds_up_nobody(
    session: Session, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
):
    """Five ask and three of them go before it is their turn: nothing is made for the two that wait behind others."""
    began, goes_on = threading.Event(), threading.Event()
    made: list[int] = []

    def slowly(_model: Any, _template: Any, ask: wire.Ask, is_wanted: Callable[[], bool]) -> wire.Preview:
        if not is_wanted():
            raise GoneError
        made.append(ask.id)
        began.set()
        assert goes_on.wait(10)
        return wire.Preview("", ask.id)

    monkeypatch.setattr(session_module, "preview", slowly)
    for number in range(5):
        session._preparing.add(number)
        session._asked.put(msgspec.structs.replace(PREVIEW, id=number))
    threading.Thread(target=session._prepare, daemon=True).start()
    assert began.wait(10)
    for number in (0, 1, 3):
        session._take(wire.Cancel(number))
    goes_on.set()
    for _ in range(5):
        session._take(session._inbox.get(timeout=10))
    assert made == [0, 2, 4]
    assert not session._preparing | session._cancelled
    said = pair[0].recv(10_000)
    assert b'"tokens":2' in said
    assert b'"tokens":4' in said
    assert said.count(b'"tokens"') == 2
    assert b"nobody listens" not in said
