"""/api/feedback: what a caller says of an answer they were given."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponseBase
from ninja import Router
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from orchestrator.api.calls import caller_of
from orchestrator.api.managing import threaded, told
from orchestrator.core.errors import NotThere
from orchestrator.core.permissions import Reach
from orchestrator.models import AnswerOutcome
from orchestrator.outcomes.saying import LONGEST_NOTE, say
from orchestrator.wiring import parts

router = Router(tags=["Feedback"])
PAUSES_S = (0.2, 0.8)  # a record is written a moment after its answer, and whoever judges by a program is quick


def _how_good(value: Any) -> Any:
    """What is no such thing is told as one, and not as each of the types that it might have had."""
    if isinstance(value, int | float) and 0 <= value <= 1:
        return value
    raise ValueError("good is true, false or a number from 0 to 1")


class Feedback(BaseModel):
    """An answer, and how good it was."""

    model_config = ConfigDict(extra="forbid", strict=True)

    request_id: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        description="Of the answer: it came with it, as `X-Request-Id`."
    )
    good: Annotated[bool | Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)], BeforeValidator(_how_good)] = (
        Field(description="Whether it was, or how much, from 0 to 1.")
    )
    note: Annotated[str, Field(max_length=LONGEST_NOTE)] = Field("", description="Why; for people who read it.")


@router.post("/feedback", summary="Say how good an answer was")
async def feedback(request: HttpRequest, said: Feedback) -> HttpResponseBase:
    """Keep what a caller says of an answer to themselves or to others of their tenant; `auto` learns from it.

    Saying it again replaces what the same key said.
    """
    caller = caller_of(request)
    await parts().limiter.charge(caller, "", request.META.get("REMOTE_ADDR", ""))
    whose = Reach(frozenset({caller.tenant_id}))
    by = f"key {caller.key_prefix}" if caller.key_id else "anybody"

    def keep() -> AnswerOutcome:
        return say(whose, said.request_id, float(said.good), by=by, note=said.note)

    for pause_s in PAUSES_S:
        try:
            kept = await threaded(keep)
            break
        except NotThere:
            await asyncio.sleep(pause_s)
    else:
        kept = await threaded(keep)
    return told({"request_id": kept.request_id, "model": kept.model, "good": kept.good})
