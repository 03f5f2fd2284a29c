"""What is said at the start, and when."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from orchestrator.supervisor import command
from orchestrator.supervisor.child import Program
from orchestrator.supervisor.status import StatusFile
from orchestrator.supervisor.supervise import STOP_SIGNALS


async def test_who_reads_that_it_is_ready_finds_in_the_log_what_is_said_then(tmp_path: Path) -> None:
    status, said = StatusFile(tmp_path, "worker", None), list[bool]()

    def is_ready() -> bool:
        return bool(json.loads((tmp_path / "worker.processes.json").read_text())["is_ready"])

    def greet() -> None:
        said.append(is_ready())
        asyncio.get_running_loop().call_soon(stop)

    def stop() -> None:
        said.append(is_ready())
        os.kill(os.getpid(), signal.SIGTERM)

    program = Program(role="worker", name="worker", argv=(sys.executable, "-c", "import time; time.sleep(3600)"))
    try:
        await command._run([program], None, status, greet)
    finally:
        for signum in (signal.SIGCHLD, *STOP_SIGNALS):
            asyncio.get_running_loop().remove_signal_handler(signum)
    assert said == [False, True]
