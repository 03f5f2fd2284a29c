"""What a dead worker held is taken away, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.supervisor import figures
from orchestrator.supervisor.child import Child

FILES = {"counter_1.db", "histogram_1.db", "gauge_livesum_1.db", "gauge_livesum_2.db", "gauge_livesum_11.db"}


@pytest.fixture
def folder(settings: Any, tmp_path: Path) -> Path:
    settings.METRICS_DIR = tmp_path / "metrics"
    settings.METRICS_DIR.mkdir()
    for name in FILES:
        (settings.METRICS_DIR / name).touch()
    return tmp_path / "metrics"


def left(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


async def test_a_worker_that_ended_holds_nothing(folder: Path, keep: Callable[..., Child]) -> None:
    one = keep("import time; time.sleep(60)", env={figures.NUMBER: "1"})
    other = keep("import time; time.sleep(60)", env={figures.NUMBER: "11"})
    celery = keep("import time; time.sleep(60)")
    for child in (one, other, celery):
        await child.is_ready.wait()
    figures.forget_held([one, other, celery])
    assert left(folder) == FILES
    assert one.pid
    one.kill()
    await one.stop()
    figures.forget_held([one, other, celery])
    assert left(folder) == FILES - {"gauge_livesum_1.db"}


def test_a_start_counts_from_nothing(folder: Path) -> None:
    figures.clear()
    assert not folder.exists()
    figures.clear()


async def test_files_that_cannot_be_removed_do_not_stop_the_supervisor(
    folder: Path, keep: Callable[..., Child]
) -> None:
    (folder / "gauge_livesum_1.db").unlink()
    (folder / "gauge_livesum_1.db").mkdir()
    one = keep("", env={figures.NUMBER: "1"})
    await one.stop()
    figures.forget_held([one])
    assert left(folder) == FILES
