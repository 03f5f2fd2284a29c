"""The processes beside this one, and what they take."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orchestrator import processes
from orchestrator.processes import running, use


def write(folder: Path, name: str, supervisor: int) -> None:
    one = {"role": "web", "name": "web 1", "pid": 7, "is_ready": True, "restarts": 2}
    (folder / name).write_text(json.dumps({"supervisor": supervisor, "address": None, "processes": [one]}))


def test_only_what_its_own_supervisor_runs_is_beside_it(tmp_path: Path) -> None:
    write(tmp_path, "models.processes.json", 1_000_000)  # in another container, where numbers mean others
    assert running(tmp_path) is None
    write(tmp_path, "web.processes.json", os.getppid())
    found = running(tmp_path)
    assert found is not None
    assert [(one.role, one.name, one.pid, one.restarts) for one in found.processes] == [("web", "web 1", 7, 2)]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"supervisor": "x"}'])
def test_a_file_that_is_being_written_is_passed_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "processes.json").write_bytes(content)
    assert running(tmp_path) is None


def test_use_is_what_the_kernel_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "7" / "fd").mkdir(parents=True)
    for fd in range(3):
        (tmp_path / "7" / "fd" / str(fd)).touch()
    fields = ["S", "1", *["0"] * 9, "250", "150", *["0"] * 8, "100", "0"]
    (tmp_path / "7" / "stat").write_text("7 (an odd) name) " + " ".join(fields))
    monkeypatch.setattr(processes, "PROC", tmp_path)
    monkeypatch.setattr(processes, "TICKS_A_SECOND", 100)
    monkeypatch.setattr(processes, "PAGE_BYTES", 4096)
    found = use(7)
    assert found is not None
    assert (found.resident_bytes, found.open_fds, found.cpu_s) == (409_600, 3, 4.0)
    assert use(8) is None


def test_this_process_is_found() -> None:
    found = use(os.getpid())
    assert found is not None
    assert found.resident_bytes > 1024**2
    assert found.open_fds >= 3
    assert found.cpu_s > 0
