"""How much to measure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """How often, how long, and against how many web workers."""

    rounds: int = 3
    seconds: float = 2.0  # of each load
    workers: int = 1
    questions: int = 1000  # asked in turn
    warm_up: int = 200  # questions before misses are measured: connections are open then, and code was run
    lookups: int = 2500  # questions each tier is asked for, a fifth of them by one caller alone
    streams: int = 512
    frames: int = 64
    pause_ms: int = 20
    idle_streams: int = 5000
    idle_s: float = 5.0  # how long they are kept
