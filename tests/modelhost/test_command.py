"""manage.py models, with files made by hand."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import AuditEvent
from tests.modelhost.files import SMALL, gguf

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def file(tmp_path: Path, settings: Any) -> Path:
    """A GGUF file, beside an empty folder of models."""
    settings.MODELS_DIR = tmp_path / "models"
    file = tmp_path / "small.gguf"
    file.write_bytes(gguf(SMALL))
    return file


def run(*arguments: object) -> Any:
    out = StringIO()
    call_command("models", *map(str, arguments), "--json", stdout=out)
    return json.loads(out.getvalue())


def test_a_file_becomes_a_model_and_that_is_audited(file):
    assert run("add", "team/mine:1b", file)["name"] == "team/mine:1b"
    assert "team/mine:1b" in {row["name"] for row in run("list")}
    event = AuditEvent.objects.of(EVERYBODY).get()
    assert (event.action, event.subject) == ("model.added", "team/mine:1b")


@pytest.mark.parametrize("name", ["../../etc", "", "a b"])
def test_what_is_no_name_is_refused(file, name):
    with pytest.raises(CommandError, match="cannot be added"):
        run("add", name, file)


def test_a_name_that_is_taken_and_a_file_that_is_none_are_refused(file, tmp_path):
    run("add", "mine", file)
    with pytest.raises(CommandError, match="There is a model mine:latest already"):
        run("add", "Mine:latest", file)
    with pytest.raises(CommandError, match="No such file"):
        run("add", "other", tmp_path / "nothing.gguf")
    (tmp_path / "words.gguf").write_text("not weights")
    with pytest.raises(CommandError, match="cannot be added as 'other'"):
        run("add", "other", tmp_path / "words.gguf")
    assert AuditEvent.objects.of(EVERYBODY).count() == 1
