"""Two supervisors never run one role of one data directory."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.env import BadSetting
from orchestrator.supervisor.lock import role_lock


def test_the_second_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    with role_lock(tmp_path, "web"):
        with (
            pytest.raises(BadSetting, match=f"web is already run by process {os.getpid()}"),
            role_lock(tmp_path, "web"),
        ):
            pass
        with role_lock(tmp_path, "worker"):
            pass


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with role_lock(tmp_path, "web"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from orchestrator.supervisor.lock import role_lock\n"
        "with role_lock(Path(sys.argv[1]), 'web'): print(flush=True); time.sleep(3600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(BadSetting, match=f"process {holder.pid}"), role_lock(tmp_path, "web"):
            pass
        holder.send_signal(signal.SIGKILL)
    with role_lock(tmp_path, "web"):
        pass
