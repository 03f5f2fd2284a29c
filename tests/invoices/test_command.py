"""`manage.py invoices`, as it is typed."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.invoices.exports import charge, openrouter_csv, some_calls

pytestmark = pytest.mark.django_db
CALLS = some_calls(Random(11), ("v/m-1",))


def run(*typed: str) -> tuple[str, str, int]:
    """What it says to standard output, what beside it, and its exit code."""
    out, beside = StringIO(), StringIO()
    code: Any = 0
    try:
        call_command("invoices", *typed, stdout=out, stderr=beside)
    except SystemExit as ended:
        code = ended.code
    return out.getvalue(), beside.getvalue(), code


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """All of the calls but one."""
    path = tmp_path / "march.csv"
    path.write_bytes(openrouter_csv(CALLS[1:]))
    return path


def test_import_list_differences_delete(file: Path) -> None:
    charge(CALLS, "openrouter")
    days = ("--first", "2026-03-01", "--last", "2026-03-06")
    made = json.loads(run("import", str(file), *days, "--json")[0])
    assert (made["provider"], made["name"], made["lines"]) == ("openrouter", "march.csv", len(CALLS) - 1)
    number = str(made["number"])
    listed, _, _ = run("list")
    assert "march.csv" in listed
    assert "2026-03-01" in listed
    table, said, code = run("differences", number)
    assert code == 1
    assert CALLS[0].ref in table
    assert said.startswith("1 day and model and 1 call differ: ")
    assert json.loads(run("differences", number, "--json")[0])["calls_in_all"] == 1
    assert CALLS[0].ref in run("differences", number, "--csv")[0]
    _, said, code = run("delete", number)
    assert (said.strip(), code) == (f"Invoice {number} is gone.", 0)
    assert run("list")[1].strip() == "There is no invoice."


def test_nothing_differs_where_all_is_there(file: Path) -> None:
    charge(CALLS[1:], "openrouter")
    run("import", str(file))
    number = str(json.loads(run("list", "--json")[0])[0]["number"])
    table, said, code = run("differences", number)
    assert (table, code) == ("", 0)
    assert said.startswith("Nothing differs: ")


def test_what_cannot_be_is_told_with_exit_code_2(file: Path, tmp_path: Path) -> None:
    run("import", str(file))
    for typed, words in (
        (("import", str(tmp_path / "none.csv")), "none.csv: No such file"),
        (("import", str(file)), "imported already"),
        (("import", str(file), "--form", "csv"), "lacks the columns day, model, cost_usd"),
        (("import", str(file), "--provider", "Open AI"), "--provider: its name here"),
        (("differences", "4711"), "There is no invoice 4711."),
        (("delete", "4711"), "There is no invoice 4711."),
    ):
        with pytest.raises(CommandError, match=words) as refused:
            run(*typed)
        assert refused.value.returncode == 2
