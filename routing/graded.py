"""Files of questions and of how good each model's answer was."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Graded:
    """Questions, and how good each model's answer was, 0 to 1. A group is a subject, or a cluster."""

    texts: Sequence[str]
    good: Mapping[str, Sequence[float]]
    columns: Mapping[str, Sequence[str]]  # what else is in the file, by name


def graded(path: Path) -> Graded:
    """Read a file of either form: CSV with `prompt` and outcome columns, or a JSON list of questions with scores.

    Rows marked `contaminated` are left out. Raises ValueError when it is neither.
    """
    data = path.read_bytes()
    text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    if text.lstrip()[:1] in ("[", "{"):
        return _from_json(json.loads(text))
    return _from_csv(text)


def _from_csv(text: str) -> Graded:
    rows = [
        row for row in csv.DictReader(io.StringIO(text)) if row.get("contaminated", "0") not in ("1", "1.0", "True")
    ]
    if not rows or "prompt" not in rows[0]:
        raise ValueError("there is no column `prompt`, or no row")
    names = [name for name in rows[0] if name not in ("prompt", "contaminated")]
    columns = {name: [row[name] or "" for row in rows] for name in names}
    good = {name: numbers for name in names if (numbers := _numbers(columns[name])) is not None}
    return Graded([row["prompt"] for row in rows], good, columns)


def _numbers(cells: Sequence[str]) -> list[float] | None:
    words = {"true": 1.0, "false": 0.0}
    try:
        found = [words[cell.lower()] if cell.lower() in words else float(cell) for cell in cells]
    except ValueError:
        return None
    return found if all(0 <= one <= 1 for one in found) else None


def _from_json(rows: Any) -> Graded:
    if not isinstance(rows, list) or not rows or not all(map(_is_scored, rows)):
        raise ValueError("it is no list of questions with scores")
    models = sorted(rows[0]["scores"])
    try:
        good = {model: [float(row["scores"][model]) for row in rows] for model in models}
    except (KeyError, TypeError) as error:
        raise ValueError(f"a question has no score of a model: {error}") from None
    names = [name for name in rows[0] if name not in ("question", "scores")]
    columns = {name: [str(row.get(name, "")) for row in rows] for name in names}
    return Graded([row["question"] for row in rows], good, columns)


def _is_scored(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("question"), str) and isinstance(row.get("scores"), dict)
