"""The `options` of a request: which exist, of which type, and which are unknown."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.api.bounds import LONGEST_STOP, MOST_STOPS
from orchestrator.core.errors import BadRequest

MOST_UNKNOWN = 16
LONGEST_NAME = 40
UNSAYABLE = re.compile(r"[^A-Za-z0-9_.-]")  # in a list of names in a header


def _integer(name: str, value: Any) -> int:
    if not _is_number(value):
        raise BadRequest(f'option "{name}" must be of type integer')
    if not -(2**63) <= value < 2**63:
        raise BadRequest(f'option "{name}" is out of range')
    return int(value)  # the fraction is dropped


def _float(name: str, value: Any) -> float:
    if not _is_number(value):
        raise BadRequest(f'option "{name}" must be of type float32')
    if abs(value) > 3.4e38:
        raise BadRequest(f'option "{name}" is out of range')
    return float(value)


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadRequest(f'option "{name}" must be of type boolean')
    return value


def _strings(name: str, value: Any) -> list[str]:
    if not isinstance(value, list):
        raise BadRequest(f'option "{name}" must be of type array')
    if not all(isinstance(one, str) for one in value):
        raise BadRequest(f'option "{name}" must be of an array of strings')
    if len(value) > MOST_STOPS or any(len(one) > LONGEST_STOP for one in value):
        raise BadRequest(f'option "{name}" takes at most {MOST_STOPS} strings of {LONGEST_STOP} characters')
    return [one for one in value if one]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


READERS: dict[str, Callable[[str, Any], Any]] = {
    "num_predict": _integer,
    "temperature": _float,
    "top_k": _integer,
    "top_p": _float,
    "min_p": _float,
    "typical_p": _float,
    "repeat_last_n": _integer,
    "repeat_penalty": _float,
    "presence_penalty": _float,
    "frequency_penalty": _float,
    "seed": _integer,
    "stop": _strings,
    "num_ctx": _integer,
    "num_batch": _integer,
    "num_keep": _integer,
    "num_gpu": _integer,
    "main_gpu": _integer,
    "num_thread": _integer,
    "draft_num_predict": _integer,
    "use_mmap": _boolean,
}


def read_options(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the options we know with their types settled; null is unset, for others see `unknown_options`.

    Raises BadRequest in Ollama's words for a value of the wrong type.
    """
    return {
        name: READERS[name](name, value)
        for name, value in (given or {}).items()
        if value is not None and name in READERS
    }


def unknown_options(given: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Names of options that are set and that we do not know, as a header can hold them; how many more, where many are.

    Ollama ignores them, so that older clients may send what it once knew (mirostat, tfs_z …). A slip in a name looks
    the same, and its author will want to hear of it.
    """
    unknown = [
        UNSAYABLE.sub("?", name)[:LONGEST_NAME] or "?"
        for name, value in (given or {}).items()
        if value is not None and name not in READERS
    ]
    more = (f"and {len(unknown) - MOST_UNKNOWN} more",) if len(unknown) > MOST_UNKNOWN else ()
    return (*unknown[:MOST_UNKNOWN], *more)
