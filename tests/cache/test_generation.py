"""One counter for all processes of the machine."""

import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cache.generation import Generation

BUMP = """
import sys
from pathlib import Path
from cache.generation import Generation
generation = Generation(Path(sys.argv[1]))
for _ in range(500):
    generation.bump()
"""


def test_it_starts_at_zero_and_goes_up(generation: Generation):
    assert generation.current() == 0
    assert generation.bump() == 1
    assert generation.current() == 1


def test_it_outlives_who_counted(tmp_path: Path):
    first = Generation(tmp_path / "counter")
    first.bump()
    first.close()
    second = Generation(tmp_path / "counter")
    assert second.current() == 1
    second.close()


def test_purges_and_policy_are_counted_apart(generation: Generation):
    generation.bump()
    assert [generation.bump_policy(), generation.bump_policy()] == [1, 2]
    assert (generation.current(), generation.policy()) == (1, 2)


def test_a_file_with_one_counter_is_given_the_other(tmp_path: Path):
    (tmp_path / "counter").write_bytes(struct.pack("=Q", 7))
    generation = Generation(tmp_path / "counter")
    assert (generation.current(), generation.policy()) == (7, 0)
    generation.close()


def test_a_count_that_comes_after_the_end_touches_no_other_file(tmp_path: Path):
    generation = Generation(tmp_path / "counter")
    generation.close()
    with (tmp_path / "other").open("w"), pytest.raises(ValueError, match="closed"):
        generation.bump()


def test_no_count_of_many_processes_and_threads_is_lost(generation: Generation, tmp_path: Path):
    path = str(tmp_path / "generation")
    others = [subprocess.Popen([sys.executable, "-c", BUMP, path]) for _ in range(2)]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(1000):
            threads.submit(generation.bump)
    assert [other.wait(60) for other in others] == [0, 0]
    assert generation.current() == 2000
