"""Load by wrk, which is lighter than anything written in Python."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from bench.load import Question

CONNECTIONS = 32
PATIENCE_S = 30  # that an answer may take
MISSING = "The benchmark needs wrk. Type: apt-get install wrk"

# wrk corrects its percentiles: a slow answer also stands for the questions that it kept from being asked.
SCRIPT = """
local requests, turn = {}, 0
function init(args)
  for line in io.lines("%(questions)s") do
    requests[#requests + 1] = wrk.format("POST", "%(path)s", %(headers)s, line)
  end
end
function request()
  turn = turn %% #requests + 1
  return requests[turn]
end
function done(summary, latency, requests)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read
    + summary.errors.write + summary.errors.timeout
  io.stderr:write(string.format(
    '{"answers": %%d, "failed": %%d, "seconds": %%f, "p50_ms": %%f, "p99_ms": %%f}\\n',
    summary.requests, failed, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


@dataclass(frozen=True)
class Figures:
    """What a round of wrk came to."""

    answers: int
    failed: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_s: float  # wrk's own

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


def program() -> str | None:
    """Where wrk is."""
    return shutil.which("wrk")


def wrk(question: Question, seconds: float, *, questions: int = 1, connections: int = CONNECTIONS) -> Figures:
    """Ask the first `questions` questions in turn. Raises RuntimeError when any was refused, or none was answered.

    A round that ends before the first answer is begun again, twice as long, for up to `PATIENCE_S`.
    """
    headers = ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in question.headers.items())
    with tempfile.TemporaryDirectory(prefix="orch-") as folder:
        bodies, script = Path(folder) / "bodies", Path(folder) / "script.lua"
        bodies.write_text("".join(question.body.replace(question.PLACE, f"{n:08d}") + "\n" for n in range(questions)))
        script.write_text(SCRIPT % {"questions": bodies, "path": question.path, "headers": f"{{{headers}}}"})
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{max(1, round(seconds))}s",
            "--timeout",
            f"{PATIENCE_S}s",
            "-s",
            str(script),
            question.url,
        ]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = _run(command, seconds)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if done.returncode:
        raise RuntimeError(f"wrk could not ask {question.url}: {done.stdout}{done.stderr}")
    figures = Figures(**json.loads(done.stderr.splitlines()[-1]), cpu_s=cpu_s)
    if figures.failed or (not figures.answers and seconds >= PATIENCE_S):
        said = f"{figures.failed} were refused or took too long, {figures.answers} were answered"
        raise RuntimeError(f"{said} by {question.url} within {seconds:g} s:\n{done.stdout}")
    if not figures.answers:
        return wrk(question, 2 * seconds, questions=questions, connections=connections)
    return figures


def _run(command: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Run wrk to its end. It takes whole seconds; what is to be shorter is interrupted, and tells what it has."""
    # Until it listens to the signal, it is deaf to it, and only takes its whole second.
    deaf = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *command]
    with subprocess.Popen(deaf, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        early = threading.Timer(seconds, process.send_signal, [signal.SIGINT])
        if seconds < 1:
            early.start()
        try:
            said = process.communicate(timeout=seconds + 2 * PATIENCE_S)
        finally:
            early.cancel()
            process.kill()  # which is nothing when it has ended
    return subprocess.CompletedProcess(command, process.returncode, *said)
