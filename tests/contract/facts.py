"""Facts of the wire contract as rows of a table, and the register of those that are not so here.

A row says what is looked at and what Ollama shows there. One that differs here says what is here instead and where the
docs say so. All of it is checked, so a row fails as soon as the fact becomes true, the behaviour becomes a third one,
or the docs fall silent. To settle a row that has become true, take its `Differs` away and the words out of the docs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.fakes import FakeEngine

DOCS = Path(__file__).parent.parent.parent / "docs"
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}
PROMPT = {"model": "tiny", "prompt": "hello"}


@dataclass(frozen=True, slots=True)
class Scene:
    """The API in this process, and who answers as `tiny` and as `openai/big`."""

    client: httpx.AsyncClient
    engine: FakeEngine
    cloud: FakeEngine


@dataclass(frozen=True, slots=True)
class Differs:
    """What is here in place of what the contract says."""

    here: Any
    page: str  # in docs/
    words: str  # that stand on the page


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact."""

    says: str
    look: Callable[[Any], Any]  # given a Scene, or whatever the table is about; may be a coroutine
    there: Any
    differs: Differs | None = None

    def __str__(self) -> str:
        return self.says

    async def check(self, scene: Any) -> None:
        """Look, and compare."""
        seen = self.look(scene)
        if inspect.isawaitable(seen):
            seen = await seen
        if self.differs is None:
            assert seen == self.there, f"{self.says}: {seen!r} is not {self.there!r}"
            return
        assert seen != self.there, "it holds now: take `differs` away, and the words out of the docs"
        assert seen == self.differs.here, f"{seen!r} is neither as there nor {self.differs.here!r}"
        assert self.differs.words in told(self.differs.page), f"docs/{self.differs.page} does not say so"


def told(page: str) -> str:
    """A page of the docs, its lines as one."""
    return " ".join((DOCS / page).read_text().split())


def rows(page: str, heading: str) -> list[str]:
    """The rows of the table below a heading, without its head."""
    section = (DOCS / page).read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return [line.strip("| ") for line in section.splitlines() if line.startswith("| ")][1:]


def asking(method: str, path: str, body: Any = None, **more: Any) -> Callable[[Scene], Any]:
    """A look at the status and the body of one answer."""

    async def look(scene: Scene) -> Any:
        response = await scene.client.request(method, path, json=body, **more)
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        return response.status_code, response.json() if is_json else response.text

    return look


def refused(path: str, body: Any) -> Callable[[Scene], Any]:
    """A look at the status and the words of an error, whatever the dialect."""

    async def look(scene: Scene) -> Any:
        response = await scene.client.post(path, json=body)
        error = response.json().get("error") if response.status_code >= 400 else None
        return response.status_code, error["message"] if isinstance(error, dict) else error

    return look
