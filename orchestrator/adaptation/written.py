"""JSON as models write it: in a fence, with words around it, with a comma too many or an end too few."""

from __future__ import annotations

import json
import re
from typing import Any

LONGEST = 64 * 1024  # characters that are mended; of a longer answer only what is right already counts
MISSING = object()
_FENCE = re.compile(r"```[a-zA-Z]*\s*\n?(.*?)(?:```|\Z)", re.DOTALL)


def json_in(text: str) -> Any:
    """The value that `text` says, mended where that is certain; `MISSING` where it says none.

    To mend takes a millisecond for twenty braces, so it is nothing to be waited for where others are served.
    """
    text = text.strip()
    if (value := _read(text)) is not MISSING:
        return value
    if fence := _FENCE.search(text):
        text = fence[1].strip()
        if (value := _read(text)) is not MISSING:
            return value
    begins = min((place for mark in "{[" if (place := text.find(mark)) >= 0), default=-1)
    if begins < 0 or len(text) > LONGEST:
        return MISSING
    text = text[begins:]
    try:
        return json.JSONDecoder().raw_decode(text)[0]  # with words after it
    except (ValueError, RecursionError):
        return _mended(text)


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return MISSING


def _mended(text: str) -> Any:
    from json_repair import repair_json  # here: few answers need it

    try:
        value = repair_json(text, return_objects=True, skip_json_loads=True)
    except (ValueError, RecursionError):
        return MISSING
    return value if isinstance(value, dict | list) and value else MISSING
