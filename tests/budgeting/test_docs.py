"""What docs/budgets.md types can be typed, and it names every field, word and command there is."""

from __future__ import annotations

import re
import shlex

import pytest
from django.core.management import call_command

from orchestrator.core.budgets import EACH_OF, PERIODS
from orchestrator.identity.asked import BudgetAsked
from orchestrator.management.commands.budgets import Command
from orchestrator.models import Budget
from tests.product import PROJECT

TEXT = (PROJECT / "docs" / "budgets.md").read_text()


@pytest.mark.django_db
def test_what_it_types_can_be_typed() -> None:
    (block,) = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines():
        python, script, *words = shlex.split(line)
        assert (python, script) == (".venv/bin/python", "manage.py")
        call_command(*words)
    assert {one.name: one.amount_microusd for one in Budget.objects.all()} == {
        "team-month": 75_000_000,
        "house": 2_000_000_000,
    }


@pytest.mark.parametrize("word", [*BudgetAsked.model_fields, *PERIODS, *EACH_OF])
def test_every_field_and_word_is_described(word: str) -> None:
    assert f"`{word}`" in TEXT


def test_every_command_is_named() -> None:
    parser = Command().create_parser("manage.py", "budgets")
    (commands,) = (action.choices for action in parser._actions if action.dest == "command")
    assert commands is not None
    assert [name for name in commands if f"budgets {name}" not in TEXT and name != "on"] == []
