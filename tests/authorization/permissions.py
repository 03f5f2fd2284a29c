"""The table in docs/permissions.md. To renew it: `python -m tests.authorization.permissions`."""

from __future__ import annotations

import os
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "permissions.md"
BEGIN, END = "<!-- generated: tests/authorization/permissions.py -->\n", "<!-- end -->\n"


def table() -> str:
    """Every method of every route, what it needs, and who gets in where keys are required."""
    from tests.authorization.matrix import IN, KEYS, ROUTES, Asking, verdict

    names = ["no key", *(key.name.removesuffix(" of one tenant").replace(" of every tenant", ", all") for key in KEYS)]
    lines = [f"| | needs | {' | '.join(names)} |", f"|---|---|{':-:|' * len(names)}"]
    for route in ROUTES:
        asked = [Asking(route, KEYS[0], "none"), *(Asking(route, key) for key in KEYS)]
        marks = ["✓" if verdict(one, keys_required=True) == IN else "–" for one in asked]
        lines.append(f"| `{route.method} {route.path}` | {route.need} | {' | '.join(marks)} |")
    return "\n".join(lines) + "\n"


def page(kept: str) -> str:
    """The page with the table as it is now."""
    before, rest = kept.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
    django.setup()
    PAGE.write_text(page(PAGE.read_text()))
