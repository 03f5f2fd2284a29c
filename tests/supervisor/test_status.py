"""What runs is written down; that it cannot be is no reason to stop running."""

import json
import logging
from pathlib import Path

import pytest

from orchestrator.supervisor.status import NAME, StatusFile, served_at


def test_it_says_what_runs_until_nothing_does(tmp_path: Path):
    status = StatusFile(tmp_path, None, "127.0.0.1:11434")
    status.write([])
    assert json.loads((tmp_path / NAME).read_text())["address"] == "127.0.0.1:11434"
    assert served_at(tmp_path) == "127.0.0.1:11434"
    status.remove()
    assert served_at(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_that_it_cannot_be_written_is_logged_once_and_that_it_can_again_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING)
    folder = tmp_path / "later"
    status = StatusFile(folder, None, None)
    for _ in range(3):
        status.write([])
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"{folder / NAME} cannot be written (No such file or directory)" in line
    folder.mkdir()
    status.write([])
    status.write([])
    assert (folder / NAME).exists()
    assert [record.getMessage() for record in caplog.records][1:] == [f"{folder / NAME} can be written again"]


def test_what_cannot_be_removed_does_not_spoil_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / NAME).mkdir()
    StatusFile(tmp_path, None, None).remove()
    assert f"{tmp_path / NAME} cannot be removed" in caplog.text
