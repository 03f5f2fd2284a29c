"""The `options` of a request: which exist, of which type, and what they are without a word."""

from collections.abc import Mapping
from typing import Any

from orchestrator.core.errors import BadRequest

INTEGERS = frozenset(
    "num_predict top_k repeat_last_n seed num_ctx num_batch num_gpu main_gpu num_thread num_keep draft_num_predict".split()
)
FLOATS = frozenset(
    "temperature top_p min_p typical_p repeat_penalty presence_penalty frequency_penalty".split()
)
BOOLEANS = frozenset({"use_mmap"})
MOST_STOPS = 256
LONGEST_STOP = 1024


def read_options(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the options we know with their types settled; null is unset, what we do not know is ignored.

    Raises BadRequest in Ollama's words for a value of the wrong type.
    """
    options: dict[str, Any] = {}
    for name, value in (given or {}).items():
        if value is None:
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if name in INTEGERS:
            if not is_number:
                raise BadRequest(f'option "{name}" must be of type integer')
            if not -(2**63) <= value < 2**63:
                raise BadRequest(f'option "{name}" is out of range')
            options[name] = int(value)  # the fraction is dropped
        elif name in FLOATS:
            if not is_number:
                raise BadRequest(f'option "{name}" must be of type float32')
            if abs(value) > 3.4e38:
                raise BadRequest(f'option "{name}" is out of range')
            options[name] = float(value)
        elif name in BOOLEANS:
            if not isinstance(value, bool):
                raise BadRequest(f'option "{name}" must be of type boolean')
            options[name] = value
        elif name == "stop":
            options[name] = _stops(value)
    return options


def _stops(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise BadRequest('option "stop" must be of type array')
    if not all(isinstance(stop, str) for stop in value):
        raise BadRequest('option "stop" must be of an array of strings')
    if len(value) > MOST_STOPS or any(len(stop) > LONGEST_STOP for stop in value):
        raise BadRequest(f'option "stop" takes at most {MOST_STOPS} strings of {LONGEST_STOP} characters')
    return [stop for stop in value if stop]
