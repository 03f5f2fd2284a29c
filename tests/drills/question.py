"""Questions whose right answer anybody can tell: the provider makes it, the caller checks it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

MODEL = "drill"  # the provider's name for it
PATHS = ("/api/chat", "/api/generate", "/v1/chat/completions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question that says how it is to be answered. Equal fields are one question; durations are in seconds.

    pieces       how many pieces the answer has, each of `piece_chars` characters.
    headers_s    from the question to the provider's headers.
    first_s      from there to the first piece.
    gap_s        between two pieces.
    end_s        from the last piece to the end.
    gate         after `gate_after` pieces the provider waits until this gate is opened; empty: it does not.
    """

    name: str
    pieces: int = 4
    piece_chars: int = 9
    headers_s: float = 0.0
    first_s: float = 0.0
    gap_s: float = 0.0
    end_s: float = 0.0
    gate: str = ""
    gate_after: int = 0

    def text(self) -> str:
        """What is asked."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Question:
        """The question that was asked so."""
        return cls(**json.loads(text))

    def piece(self, number: int) -> str:
        """One piece of the right answer; no two pieces of any answers are alike."""
        word = blake2b(f"{number} {self.text()}".encode(), digest_size=4).hexdigest()
        return (word * (self.piece_chars // len(word) + 1))[: self.piece_chars - 1] + " "

    def answer(self) -> str:
        """The one right answer."""
        return "".join(self.piece(number) for number in range(self.pieces))

    def body(self, path: str, *, stream: bool, model: str = f"openai/{MODEL}") -> dict[str, Any]:
        """The request that asks it at `path`, one of PATHS."""
        asked: dict[str, Any] = {"model": model, "stream": stream}
        if path == "/api/generate":
            return asked | {"prompt": self.text()}
        return asked | {"messages": [{"role": "user", "content": self.text()}]}
