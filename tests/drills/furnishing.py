"""Makes the ledger that `console` is proved on, in a process of its own: `python -m tests.drills.furnishing ROWS`.

Its environment says where; on standard output comes the session of somebody who may see everything.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Fill what is not filled yet."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "orchestrator.settings"
    import django

    django.setup()

    from django.contrib.auth.models import User

    from bench.filling import fill, fold
    from orchestrator.core.permissions import Role
    from orchestrator.models import Budget
    from tests.dashboard.furnished import furnish
    from tests.dashboard.site import session_of, somebody

    fill(int(sys.argv[1]))
    prover = User.objects.filter(username="prover").first()
    if prover is None:
        furnish()
        Budget.objects.update(is_hard=False)  # they refuse what nobody knows the price of, as what is asked here
        prover = somebody("prover", Role.ADMIN)
    fold()
    sys.stdout.write(session_of(prover))


if __name__ == "__main__":
    main()
