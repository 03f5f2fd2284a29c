"""What runs is written down; that it cannot be is no reason to stop running."""

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from orchestrator.management.commands.people import Command as PeopleCommand
from orchestrator.processes import site
from orchestrator.supervisor.status import NAME, StatusFile


def test_it_says_what_runs_until_nothing_does(tmp_path: Path, settings: Any):
    settings.RUN_DIR = tmp_path
    status = StatusFile(tmp_path, None, "127.0.0.1:12345")
    status.write([])
    assert json.loads((tmp_path / NAME).read_text())["address"] == "127.0.0.1:12345"
    assert site() == "http://127.0.0.1:12345"
    status.remove()
    assert site() == f"http://{settings.ADDRESS}"
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


@pytest.mark.parametrize(
    ("has_proxy", "hosts", "address"),
    [
        (False, [], "http://127.0.0.1:80"),
        (True, [], "http://127.0.0.1:80"),
        (True, ["ai.example", "b.example"], "https://ai.example"),
    ],
)
def test_a_link_leads_to_where_a_browser_finds_the_pages(
    settings: Any, has_proxy: bool, hosts: list[str], address: str, tmp_path: Path
):
    settings.TRUSTED_PROXY, settings.PUBLIC_HOSTS, settings.RUN_DIR = has_proxy, hosts, tmp_path
    StatusFile(tmp_path, None, "0.0.0.0:80").write([])
    assert site("0.0.0.0:80") == site() == address
    out = io.StringIO()
    PeopleCommand(stdout=out, stderr=io.StringIO())._show("token")
    assert out.getvalue().strip() == f"{address}/dashboard/sign-in/token/"
