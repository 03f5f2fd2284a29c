"""Documents that people write and read as JSON: what is wrong with one, and where in it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.core.errors import BadRequest

MOST_NAME = 255  # characters that are shown of what should not be there
MOST_FAULTS = 50  # that are told at once, and how long each may be
MOST_WORDS = 500
MOST_BYTES = 12_000  # of them in all


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where in the document."""

    place: tuple[str | int, ...]
    words: str

    @property
    def path(self) -> str:
        """`models["openai/gpt-4o"].deployments[0].provider`."""
        shown = ""
        for part in self.place:
            if isinstance(part, str) and part.isidentifier():
                shown += f".{part}" if shown else part
            else:
                shown += f"[{json.dumps(part, ensure_ascii=False)[:300]}]"
        return shown

    def __str__(self) -> str:
        return f"{self.path}: {self.words}" if self.place else self.words


class WrongDocument(BadRequest):
    """The document cannot be so."""

    faults: Sequence[Fault] = ()

    @classmethod
    def of(cls, faults: Sequence[Fault]) -> WrongDocument:
        """The error that tells the first of them, and holds them all."""
        more = f"; and {len(faults) - 1} more" if len(faults) > 1 else ""
        error = cls(f"{faults[0]}{more}"[:1000])
        error.faults = faults
        return error


def value_of(text: str) -> Any:
    """The JSON value that a text is. Raises WrongDocument."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise WrongDocument.of([Fault((), f"line {error.lineno}, column {error.colno}: {error.msg}")]) from None
    except (ValueError, RecursionError) as error:
        raise WrongDocument.of([Fault((), str(error))]) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which nothing is said twice."""
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:MOST_NAME]!r} is there twice in one object")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def fault_of(error: Mapping[str, Any], within: tuple[str | int, ...] = (), unseen: Collection[str | int] = ()) -> Fault:
    """One thing that pydantic found, in the place where people find it. Never what was given: it may be a secret.

    within  the place of what was read in the document.
    unseen  parts of pydantic's places that are in no document.
    """
    words = str(error["msg"])
    if error["type"] == "extra_forbidden":
        words = "there is no such field"
    elif error["type"] in {"dict_type", "model_type", "model_attributes_type"}:
        words = "an object is wanted"
    words = words.removeprefix("Input ").replace(" after validation,", ",")
    place = (*within, *(part for part in error["loc"] if part not in unseen))
    return Fault(place, words[:1].lower() + words[1:])
