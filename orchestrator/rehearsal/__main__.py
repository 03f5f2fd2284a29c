"""One day through the product, in a process of its own whose settings name an empty data directory.

It is told which day as JSON, and says what came of it as JSON. Exit code 1: the product did something else than was
reckoned, and the error says of which request.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Ask, and print."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
    import django

    django.setup()
    from orchestrator.rehearsal.comparing import through_product
    from orchestrator.rehearsal.day import DayDiffers, Rehearsal

    try:
        found = through_product(Rehearsal(**json.loads(sys.argv[1])))
    except DayDiffers as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
