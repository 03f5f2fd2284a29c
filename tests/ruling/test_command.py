"""Rules from a terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from orchestrator.core.documents import Fault
from orchestrator.ruling import documents, draft, versions
from tests.ruling.conftest import ANNA, rule

Run = Callable[..., tuple[int, str, str]]
A, B = ({"name": name, "then": {"use": ["openai/big"]}} for name in "ab")


@pytest.fixture
def run(db: None) -> Run:
    """Run it; exit code, standard output, standard error."""

    def command(*arguments: object) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        try:
            call_command("rules", *map(str, arguments), stdout=out, stderr=err)
        except CommandError as error:
            return error.returncode, out.getvalue(), str(error)
        except SystemExit as end:
            return int(end.code or 0), out.getvalue(), err.getvalue()
        return 0, out.getvalue(), err.getvalue()

    return command


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def file(*rules: dict[str, Any], **more: Any) -> Path:
        path = tmp_path / "rules.json"
        path.write_text(json.dumps({"rules": rules, **more}))
        return path

    return file


def test_a_file_is_checked_published_shown_and_taken_back(run: Run, write: Callable[..., Path]) -> None:
    code, said, beside = run("check", write(A))
    assert (code, len(said.splitlines())) == (0, 1)
    assert "Warning: rules[0].then.use[0]: there is no model 'openai/big' at the moment" in beside
    assert versions.newest() == 0
    code, told, beside = run("publish", write(A), "--reason", "the first")
    assert (code, told, beside.splitlines()[-1]) == (0, said, "This is version 1.")
    assert "There is nothing to change." in run("publish", write(A))[2]
    run("publish", write(A, B))
    shown = json.loads(run("show")[1])
    assert (shown["version"], shown["rules"]) == (2, [A, B])
    assert json.loads(run("show", 1)[1])["rules"] == [A]
    first, _, second, _ = run("versions")[1].splitlines()
    assert first.startswith("2  ")
    assert second.endswith(": the first")
    assert run("restore", 1)[2].splitlines()[-1] == "This is version 3."
    assert [one.name for one in versions.live()[1].rules] == ["a"]
    for number, why in ((9, "the newest is 3"), (0, "they are counted from 1, and the newest is 3")):
        assert run("restore", number)[::2] == (2, f"There is no version {number} of the rules: {why}.")


def test_what_is_shown_can_be_published_until_another_is(run: Run, tmp_path: Path, write: Callable[..., Path]) -> None:
    run("publish", write(A))
    shown = tmp_path / "shown.json"
    shown.write_text(run("show")[1])
    assert run("publish", shown)[0] == 0
    run("publish", write(B))
    code, _, error = run("publish", shown)
    assert (code, error) == (3, "The newest version is 2 by now, not 1; read it again.")


def test_the_draft_of_others_is_not_written_over(run: Run, write: Callable[..., Path]) -> None:
    draft.add_rule(rule("half done"), ANNA)
    code, lines, error = run("publish", write(A))
    assert (code, "half done" in lines, "--discard-draft" in error) == (2, True, True)
    assert versions.newest() == 0
    assert json.loads(run("show", "--draft")[1])["rules"][0]["name"] == "half done"
    code, _, beside = run("publish", write(A), "--discard-draft")
    assert (code, "Gone from the draft: " in beside) == (0, True)
    draft.add_rule(rule("done"), ANNA)
    assert run("publish")[0] == 0
    assert [one.name for one in versions.live()[1].rules] == ["a", "done"]


def test_what_is_wrong_is_told_with_its_place(run: Run, tmp_path: Path, write: Callable[..., Path]) -> None:
    wrong = write({"name": "a", "expression": "tokens >"}, {"name": "a", "then": {"aim": {}}})
    for command in ("check", "publish"):
        code, said, beside = run(command, wrong)
        assert (code, said) == (1, "")
        assert [line.partition(": ")[0] for line in beside.splitlines()] == [
            "rules[0].expression",
            "rules[1].name",
            "rules[1].then.aim",
        ]
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert run("check", broken)[0] == 1
    assert run("check", tmp_path / "none.json")[0] == 2
    assert run()[0] == 2


def test_everything_that_is_wrong_is_told_at_once(run: Run, write: Callable[..., Path]) -> None:
    """What is wrong in form hides nothing else: not in other rules, nor in the rest of the same."""
    wrong = write(
        {
            "name": "a",
            "expression": "tokens >",
            "colour": "red",
            "then": {"most_cost": 5, "forbid": "no", "use": ["m"]},
        },
        {"name": "b", "when": [{"fact": "no", "op": "is", "value": True}, {"fact": "tokens"}]},
        {"name": "A", "expression": "nosuch > 1"},
        {"then": {"use": ["x*"]}},
        auto={"aim": {}},
    )
    code, said, beside = run("check", wrong)
    assert (code, said) == (1, "")
    assert sorted({line.partition(": ")[0] for line in beside.splitlines()}) == [
        "auto.aim",
        "rules[0].colour",
        "rules[0].expression",
        "rules[0].then.most_cost",
        "rules[0].then.use",
        "rules[1].when[0].fact",
        "rules[1].when[1].op",
        "rules[1].when[1].value",
        "rules[2].expression",
        "rules[2].name",
        "rules[3].name",
        "rules[3].then.use[0]",
    ]


def test_warnings_that_are_the_same_stand_together(run: Run, write: Callable[..., Path]) -> None:
    many = [{"name": f"r{number}", "then": {"use": ["openai/big"]}} for number in range(300)]
    others = [{"name": f"o{number}", "then": {"use": [f"openai/m{number}"]}} for number in range(70)]
    code, _, beside = run("check", write(*many, {"name": "idle"}, *others))
    told = [line for line in beside.splitlines() if line.startswith("Warning: ")]
    assert (code, len(told)) == (0, 50)
    assert told[0].startswith("Warning: rules[300].then: nothing is done with the requests that it catches")
    places = ", ".join(f"rules[{at}].then.use[0]" for at in range(5))
    assert told[1] == f"Warning: {places} and in 295 more places: there is no model 'openai/big' at the moment"
    assert "22 more kinds of warnings are not shown." in beside


def test_a_draft_that_is_not_right_any_more_is_not_published(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    draft.add_rule(rule("a"), ANNA)
    monkeypatch.setattr(documents, "faults_in", lambda _: [Fault(("rules", 0), "no such zone")])
    assert run("publish") == (1, "", "rules[0]: no such zone\n")
