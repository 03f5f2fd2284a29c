"""What tells a file from its copies."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.core import inodes
from orchestrator.core.inodes import file_of, without_generation

ATTEMPTS = 20


def told(path: Path) -> str:
    """By a process of its own, which holds on to the file for as long as it lives."""
    program = (
        "import sys, pathlib; from orchestrator.core.inodes import file_of; print(file_of(pathlib.Path(sys.argv[1])))"
    )
    return subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, check=True, text=True).stdout


def test_a_copy_that_is_put_back_under_the_same_number_is_another_file(tmp_path: Path) -> None:
    ledger, backup = tmp_path / "ledger", tmp_path / "backup"
    ledger.write_bytes(b"1")
    shutil.copy(ledger, backup)
    before, number = told(ledger), ledger.stat().st_ino
    with ledger.open() as opened:
        try:
            fcntl.ioctl(opened, 0x80087601, bytearray(8))
        except OSError:
            pytest.skip("this file system tells no generations")
    for _ in range(ATTEMPTS):  # others make files as well
        ledger.unlink()
        shutil.copy(backup, ledger)
        if ledger.stat().st_ino == number:
            break
    else:
        pytest.skip("this file system does not give out the same number at once")
    assert told(ledger) != before


def test_what_is_written_into_a_file_leaves_it_the_same(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.write_bytes(b"1")
    before = told(ledger)
    ledger.write_bytes(b"22")
    ledger.rename(tmp_path / "moved")
    assert told(tmp_path / "moved") == before
    assert without_generation(before.strip()) == str((tmp_path / "moved").stat().st_ino)


def test_where_no_generation_is_told_it_is_the_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    assert file_of(tmp_path) == str(tmp_path.stat().st_ino)


def test_locks_on_the_file_stay(tmp_path: Path) -> None:
    """Those of SQLite go with any descriptor of the file that the process closes."""
    path = tmp_path / "ledger.sqlite3"
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("CREATE TABLE one (number)")
    database.execute("BEGIN EXCLUSIVE")
    file_of(path)
    other = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('INSERT INTO one VALUES (1)')"
    answer = subprocess.run([sys.executable, "-c", other, str(path)], capture_output=True, check=False, text=True)
    database.close()
    assert "database is locked" in answer.stderr


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    kept = list(inodes._kept_open)
    with pytest.raises(FileNotFoundError):
        file_of(tmp_path / "none")
    assert inodes._kept_open == kept


@pytest.fixture(autouse=True)
def _let_go(monkeypatch: pytest.MonkeyPatch) -> object:
    """What a test holds on to is closed after it."""
    kept: list[int] = []
    monkeypatch.setattr(inodes, "_kept_open", kept)
    yield
    for one in kept:
        os.close(one)
