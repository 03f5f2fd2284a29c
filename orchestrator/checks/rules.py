"""Rules that requests go by."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.db import DatabaseError

from orchestrator.checks import DOCTOR
from orchestrator.checks.finding import Found, unsafe
from orchestrator.checks.ledger import has_ledger

MOST_TOLD = 5


@checks.register(DOCTOR, deploy=True)
def live_rules_are_right(**_: Any) -> Found:
    """A later release holds rules to more than the one that published them; what is wrong counts as not matched."""
    from orchestrator.core.documents import WrongDocument
    from orchestrator.ruling.versions import live
    from routing.rules.checking import faults_in

    if not has_ledger():
        return
    try:
        document = live()[1]
    except DatabaseError:
        return  # said by what looks at the ledger
    except WrongDocument:
        yield unsafe(
            57,
            "The newest version of the rules cannot be read by this release: whoever starts now goes by an older one.",
            "Publish rules that it can read: /dashboard/routing/, or manage.py rules publish FILE.",
        )
        return
    wrong = {
        document.rules[fault.place[1]].name: fault.words
        for fault in reversed(faults_in(document))
        if fault.place[:1] == ("rules",) and isinstance(fault.place[1], int) and document.rules[fault.place[1]].is_on
    }
    told = "; ".join(f'"{name}": {words}' for name, words in list(wrong.items())[:MOST_TOLD])
    if wrong:
        yield unsafe(
            58,
            f"Live rules have faults. One that cannot be answered holds for no request, whatever it forbids: {told}.",
            "Change these rules and publish them: /dashboard/routing/ says at each what is wrong.",
        )
