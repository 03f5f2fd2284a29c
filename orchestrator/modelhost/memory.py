"""How much memory there is for models."""

from __future__ import annotations

import contextlib
from pathlib import Path

FREE_SHARE = 0.7  # of what is free, for models; the rest is for everything else


def available() -> int:
    """Bytes that can be had without swapping, by the system and by the control group's limit."""
    free = 0
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max": no limit
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        free = min(free, max(0, limit - int((group / "memory.current").read_text())))
    return free


def readable(size: int) -> str:
    """Bytes as people say them."""
    return f"{size / 1024**3:.1f} GiB" if size >= 1024**3 else f"{size / 1024**2:.0f} MiB"
