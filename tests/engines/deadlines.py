"""How long engines wait in these tests: so long that no machine is too busy, but where waiting in vain is meant."""

from dataclasses import replace

from orchestrator.engines.cloud import Deadlines

DEADLINES = Deadlines(connect_s=5, first_token_s=20, token_s=20, answer_s=60)
_SOON_OVER = {
    "silent": replace(DEADLINES, first_token_s=0.5),
    "headers_only": replace(DEADLINES, first_token_s=0.5),
    "comments": replace(DEADLINES, first_token_s=0.5),
    "stall": replace(DEADLINES, token_s=0.5),
}


def deadlines_for(behaviour: str) -> Deadlines:
    """For a provider that behaves so: half a second for what never comes."""
    return _SOON_OVER.get(behaviour, DEADLINES)
