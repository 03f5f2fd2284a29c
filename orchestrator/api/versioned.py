"""What endpoints share whose things are kept in versions: who changes them, from which one, and what is told then."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponseBase
from ninja import Header, Path, Query

from orchestrator.api.calls import caller_of, request_id
from orchestrator.api.managing import actor_now
from orchestrator.api.replies import json_response
from orchestrator.core.changing import By
from orchestrator.core.documents import Fault
from orchestrator.core.errors import BadRequest
from orchestrator.core.permissions import Permission

TAG = re.compile(r'(?:W/)?"(\d{1,9})"')
IfMatch = Annotated[
    str | None, Header(None, alias="If-Match", description="The ETag it was read with; a later change is not undone.")
]
Reason = Annotated[str, Query("", max_length=200, description="Why, for the history.")]
Number = Annotated[int, Path(ge=1, le=2**31)]


def by(request: HttpRequest, permission: Permission, reason: str = "") -> By:
    """Who sent it, as long as they have the permission for every tenant."""
    caller = caller_of(request)

    def must_still() -> None:
        actor_now(request).must_for_all(permission)

    return By(caller.key_name, reason, f"key:{caller.key_prefix}", request_id(request), must_still)


def version_of(if_match: str | None) -> int | None:
    """The version that a change was made from; None when any will do. Raises BadRequest."""
    if if_match is None or if_match.strip() == "*":
        return None
    match = TAG.fullmatch(if_match.strip())
    if match is None:
        raise BadRequest('If-Match takes the ETag that it was read with, such as "7"')
    return int(match[1])


def answer(value: dict[str, Any], version: int) -> HttpResponseBase:
    """An answer as of a version."""
    response = json_response(value)
    response["ETag"] = f'"{version}"'
    return response


def told(faults: Sequence[Fault]) -> list[dict[str, str]]:
    """What is wrong, and where."""
    return [{"path": fault.path, "words": fault.words} for fault in faults]
