"""Which answers are followed by something, decided by the request's own id: the same request, the same again."""

from __future__ import annotations

from hashlib import blake2b

from orchestrator.afterwards.judge import judge, shown
from orchestrator.afterwards.shadow import Answered, shadow
from orchestrator.choosing.ruled import Ruled
from orchestrator.core.types import Reply
from orchestrator.ledger.writer import Entry
from orchestrator.parts import Parts


def after(said: Ruled, entry: Entry, parts: Parts, reply: Reply | None) -> None:
    """Begin what follows an answer, now that it is recorded. Nobody waits for it."""
    runner, wanted = parts.afterwards, said.verdict.shadow
    if runner is None or reply is None or reply.done.reason not in {"stop", "length"} or reply.vectors:
        return
    judging = said.rules.document.auto.judge if said.rules is not None else None
    answered = Answered(said, reply, entry, entry.total_s)
    if wanted is not None and is_drawn(entry, wanted.share, "shadow") and wanted.model != entry.model:
        runner.begin(lambda: shadow(answered, wanted, judging, parts))
    elif judging is not None and said.choice is not None and is_drawn(entry, judging.share, "judge"):
        runner.begin(lambda: judge(said, shown(reply), judging.model, entry, parts))


def is_drawn(entry: Entry, share: float, purpose: str) -> bool:
    """Whether it is one of the share."""
    drawn = blake2b(entry.request.request_id.encode(), digest_size=8, person=purpose.encode()[:16]).digest()
    return int.from_bytes(drawn) < share * 2**64
