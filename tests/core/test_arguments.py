"""Arguments of tools are such that every dialect can write them."""

import json
from typing import Any

import orjson
import pytest

from orchestrator.core.arguments import as_arguments
from orchestrator.core.types import Chunk, ToolCall
from orchestrator.modelhost.wire import from_line, to_line


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ('{"a": [1, -1.5, null, true, "é"]}', {"a": [1, -1.5, None, True, "é"]}),
        (r'{"a": "smile \ud83d"}', {"a": "smile \ufffd"}),
        (r'{"\ude00": ["\ud83d\ude00", "\ude00"]}', {"\ufffd": ["😀", "\ufffd"]}),
        ('{"id": 12345678901234567890123}', {"id": 1.2345678901234568e22}),
        (f'{{"a": {2**64 - 1}, "b": {-(2**63)}}}', {"a": 2**64 - 1, "b": -(2**63)}),
        (f'{{"a": {2**64}, "b": {-(2**63) - 1}}}', {"a": float(2**64), "b": float(-(2**63))}),
    ],
)
def test_what_is_read_can_be_written(written: str, arguments: dict[str, Any]) -> None:
    found = as_arguments(json.loads(written))
    assert found is not None
    assert (found, list(map(type, found.values()))) == (arguments, list(map(type, arguments.values())))
    assert orjson.loads(orjson.dumps(found)) == arguments
    chunk = Chunk(tool_calls=(ToolCall(id="call_1", name="f", arguments=found),))
    assert from_line(to_line(chunk)) == chunk


@pytest.mark.parametrize("value", [None, [], "{}", 7, {"a": int("9" * 400)}, deep(300), deep(2_000)], ids=range(7))
def test_what_is_no_object_or_can_never_be_written_is_none(value: Any) -> None:
    assert as_arguments(value) is None
