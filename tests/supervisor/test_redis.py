"""The private Redis is found, bounded, and reached by its owner only."""

import shutil
from pathlib import Path

import pytest

from orchestrator.supervisor.redis import answers, location, redis, server_program


def test_the_system_has_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "redis-server"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert server_program() == str(program)


def test_without_one_the_installed_package_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program = server_program()
    assert program is not None
    assert shutil.which(program)


def test_without_either_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert server_program() is None


def test_it_is_bounded_and_never_evicts_what_does_not_expire(tmp_path: Path) -> None:
    argv = redis("redis-server", tmp_path / "redis.sock", 1000).argv
    said = dict(zip(argv[1::2], argv[2::2], strict=True))
    assert said["--maxmemory"] == "1000"
    assert said["--maxmemory-policy"] == "volatile-lru"
    assert said["--port"] == "0"
    assert said["--unixsocketperm"] == "700"


def test_a_socket_without_a_server_does_not_answer(tmp_path: Path) -> None:
    assert not answers(tmp_path / "redis.sock")
    assert location(Path("/d/redis.sock")) == "unix:///d/redis.sock?db=0"
