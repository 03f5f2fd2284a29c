"""The README's table of settings says what the code reads."""

import re
from pathlib import Path

import django.conf

from orchestrator.env import SETTINGS

README = Path(__file__).resolve().parent.parent / "README.md"
ROW = re.compile(r"\| `(?P<name>[A-Z][A-Z0-9_]+)` \| (?P<default>.*?) \| (?P<help>.*?) \|")


def test_the_table_and_the_settings_are_the_same() -> None:
    assert django.conf.settings.configured
    rows = [match for line in README.read_text().splitlines() if (match := ROW.fullmatch(line))]
    shown = {row["name"]: (row["default"].strip("`"), row["help"].replace("\\|", "|")) for row in rows}
    assert shown == {name: (one.default or "–", one.help) for name, one in SETTINGS.items()}
    assert [row["name"] for row in rows] == list(SETTINGS)
