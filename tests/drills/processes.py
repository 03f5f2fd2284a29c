"""The product's processes as the system sees them: who serves whom, and what they hold."""

from __future__ import annotations

import psutil  # type: ignore[import-untyped]

from tests.product import Product

MB = 1024**2


def connections(pid: int) -> list[tuple[int, int]]:
    """Local and remote port of each established TCP connection of a process; none when it is gone."""
    try:
        found = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return []
    return [(one.laddr.port, one.raddr.port) for one in found if one.status == psutil.CONN_ESTABLISHED]


def served_by(product: Product) -> dict[int, int]:
    """Which web worker (pid) holds the other end of each connection, by the caller's port."""
    return {remote: pid for pid in product.pids("web") for _, remote in connections(pid)}


def maker_of(product: Product, port: int) -> int | None:
    """The web worker (pid) whose connection to elsewhere begins at `port`."""
    return next((pid for pid in product.pids("web") for local, _ in connections(pid) if local == port), None)


def resident_mb(pids: list[int]) -> float:
    """Memory that processes hold, each counted whole."""
    return sum(psutil.Process(pid).memory_info().rss for pid in pids) / MB
