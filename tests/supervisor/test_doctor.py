"""Whatever is unsafe about how the product is set up is found, with what to do about it; what is not, is not."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pytest_django.fixtures import Settings

from orchestrator.checks import files, machine, places
from orchestrator.core import secrets
from tests.product import PROJECT, Product, until

OUTSIDE = {"OLLAMA_HOST": "0.0.0.0:18434", "ORCHESTRATOR_REQUIRE_KEYS": "1", "ORCHESTRATOR_HOSTS": "o.example.org"}
BEHIND = OUTSIDE | {"ORCHESTRATOR_BEHIND_TLS": "1", "OLLAMA_HOST": "127.0.0.1:18434"}
TOKEN = "t" * 43
LONG_AGO = "2020-01-01 00:00:00"


class Case(NamedTuple):
    """An environment, what is done to the data directory before, and what must be found."""

    found: set[str]
    env: dict[str, str] = {}  # noqa: RUF012  # never changed
    before: Callable[[Path], object] = lambda data: None


def ledger(statement: str) -> Callable[[Path], object]:
    """Change the ledger."""

    def change(data: Path) -> None:
        with closing(sqlite3.connect(data / "ledger.sqlite3")) as connection, connection:
            for one in statement.split(";"):
                assert connection.execute(one).rowcount

    return change


def mode(path: str, bits: int) -> Callable[[Path], object]:
    """Let others read something."""
    return lambda data: (data / path).chmod(bits)


def master(text: str) -> Callable[[Path], object]:
    """Put a secret in place of the one there."""
    return lambda data: (data / "keys" / "master").write_text(text)


def _copied(data: Path) -> None:
    copy = data / "backups" / "ledger-of-monday.sqlite3"
    copy.parent.mkdir()
    copy.touch()
    copy.chmod(0o644)


def _with_open_models(data: Path) -> None:
    (data / "models").mkdir(exist_ok=True)
    (data / "models").chmod(0o777)


def _with_open_socket(data: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(data / "run" / "redis.sock"))
    (data / "run" / "redis.sock").chmod(0o777)


def _rotated(days: int, *, is_unfinished: bool = False) -> Callable[[Path], object]:
    def rotate(data: Path) -> None:
        path = data / "keys" / "master"
        before = secrets.read(path).current
        former = secrets.Former(before, datetime.now(UTC) - timedelta(days=days))
        secrets.write(path, secrets.Masters(os.urandom(32), (former,), is_unfinished))

    return rotate


def _left_behind(data: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    status = {"supervisor": int(gone.stdout), "address": "127.0.0.1:1", "is_ready": True, "processes": []}
    (data / "run" / "processes.json").write_text(json.dumps(status))


KEY = "UPDATE orchestrator_apikey SET "
CASES = {
    # Who can reach it
    "as it comes": Case(set()),
    "open to the network": Case({"E001", "W003", "W018", "W020"}, {"OLLAMA_HOST": "0.0.0.0:18434"}),
    "open, and meant": Case(
        {"W002", "W003", "W018", "W020"}, {"OLLAMA_HOST": "0.0.0.0:18434", "ORCHESTRATOR_ALLOW_OPEN": "1"}
    ),
    "keys in plain HTTP": Case({"W020"}, OUTSIDE),
    "any host name": Case({"W003", "W020"}, OUTSIDE | {"ORCHESTRATOR_HOSTS": ""}),
    "behind a proxy on this machine": Case(set(), BEHIND),
    "behind whoever says so": Case({"W019"}, BEHIND | {"OLLAMA_HOST": "0.0.0.0:18434"}),
    "details for strangers": Case({"E002", "W020"}, OUTSIDE | {"ORCHESTRATOR_ENV": "development"}),
    "details for oneself": Case({"I031"}, {"ORCHESTRATOR_ENV": "development"}),
    "every web page": Case({"W017"}, {"OLLAMA_ORIGINS": "*"}),
    "one web page": Case(set(), {"OLLAMA_ORIGINS": "https://chat.example.org"}),
    "a page in plain HTTP": Case({"I017", "W020"}, OUTSIDE | {"OLLAMA_ORIGINS": "http://chat.example.org"}),
    "a guessable token": Case({"W022"}, {"ORCHESTRATOR_METRICS_TOKEN": "secret"}),
    "a good token": Case(set(), {"ORCHESTRATOR_METRICS_TOKEN": TOKEN}),
    "all is logged": Case({"I030"}, {"OLLAMA_DEBUG": "1"}),
    # The settings themselves
    "a misspelt setting": Case({"E000"}, {"ORCHESTRATOR_REQIRE_KEYS": "1"}),
    "no secret, and data": Case({"E000"}, before=lambda data: (data / "keys" / "master").unlink()),
    "a short secret": Case({"E000"}, before=master("ab" * 16)),
    "a secret of zeros": Case({"E004", "W036"}, before=master("0" * 64)),
    "a secret from a book": Case({"E004", "W036"}, before=master("0123456789abcdef" * 4)),
    "a secret for everybody": Case({"E003"}, before=mode("keys/master", 0o644)),
    "a secret for a group": Case({"W008"}, before=mode("keys/master", 0o640)),
    "a secret replaced long ago": Case({"I039"}, before=_rotated(40)),
    "a secret replaced of late": Case(set(), before=_rotated(3)),
    "half a rotation": Case({"W039"}, before=_rotated(0, is_unfinished=True)),
    # Files
    "an open data directory": Case({"W005"}, before=mode("", 0o755)),
    "an open folder of keys": Case({"W005"}, before=mode("keys", 0o750)),
    "an open ledger": Case({"W009"}, before=mode("ledger.sqlite3", 0o644)),
    "an open backup": Case({"W009"}, before=_copied),
    "models of everybody": Case({"W043"}, before=_with_open_models),
    "a Redis for everybody": Case({"W013"}, before=_with_open_socket),
    "a huge cache": Case({"I027"}, {"ORCHESTRATOR_CACHE_DISK": "999999GB"}),
    "a ledger that is none": Case({"E007"}, before=lambda data: (data / "ledger.sqlite3").write_bytes(b"no" * 9999)),
    "an older ledger": Case(
        {"I010"}, before=ledger("DELETE FROM django_migrations WHERE app = 'cache' AND name LIKE '0004%'")
    ),
    "a newer ledger": Case(
        {"W010"},
        before=ledger(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('cache', '9999_later', '2030-01-01')"
        ),
    ),
    "ended by force": Case({"W040"}, before=_left_behind),
    # Redis and providers
    "Redis without a password": Case({"W011", "W012", "W035"}, {"REDIS_URL": "redis://192.0.2.1.invalid:6379/0"}),
    "Redis with a short one": Case({"I011", "W012", "W035"}, {"REDIS_URL": "redis://:short@redis.invalid:6379/0"}),
    "Redis of the house": Case({"I012", "W035"}, {"REDIS_URL": f"redis://:{TOKEN}@redis-is-not-here:6379/0"}),
    "Redis in TLS": Case({"W035"}, {"REDIS_URL": f"rediss://:{TOKEN}@redis.invalid:6379/0"}),
    "Sentinels": Case({"W011", "W012"}, {"REDIS_URL": "redis+sentinel://sentinel.invalid:26379/main/0"}),
    "a provider in plain HTTP": Case({"W021"}, {"OPENAI_BASE_URL": "http://llm.example.org/v1"}),
    "a provider in TLS": Case(set(), {"OPENAI_BASE_URL": "https://llm.example.org/v1"}),
    "a provider of the house": Case(set(), {"OPENAI_BASE_URL": "http://10.1.2.3:8000/v1"}),
    "ourselves for a provider": Case({"I007"}, {"OPENAI_BASE_URL": "http://127.0.0.1:11434", "OLLAMA_HOST": ":11434"}),
    "a registered one in plain HTTP": Case(
        {"W021"},
        before=ledger("UPDATE registry_provider SET address = 'http://gpu.example.org', sealed_key = ''"),
    ),
    "a key nobody can open": Case({"W036"}, before=ledger("UPDATE registry_provider SET sealed_key = '1 x y eA=='")),
    # Keys and people
    "a key nobody uses": Case(
        {"W023"}, before=ledger(f"{KEY} created_at = '{LONG_AGO}', last_used_at = '{LONG_AGO}' WHERE name = 'web'")
    ),
    "such a key with an end": Case(
        set(), before=ledger(f"{KEY} created_at = '{LONG_AGO}', expires_at = '2099-01-01' WHERE name = 'web'")
    ),
    "such a key revoked": Case(
        set(), before=ledger(f"{KEY} created_at = '{LONG_AGO}', revoked_at = '{LONG_AGO}' WHERE name = 'web'")
    ),
    "might from anywhere": Case({"I024"}, before=ledger(f"{KEY} networks = '[]' WHERE name = 'boss'")),
    "might for ever": Case({"I025"}, before=ledger(f"{KEY} reaches_all = 1 WHERE name = 'boss'")),
    "keys asked for, and none": Case(
        {"I029"}, {"ORCHESTRATOR_REQUIRE_KEYS": "1"}, ledger(f"{KEY} revoked_at = '{LONG_AGO}'")
    ),
    "a weak hash": Case({"W026"}, before=ledger("UPDATE auth_user SET password = 'md5$salt$hash'")),
    "an administrator with a password alone": Case({"W028"}, before=ledger("UPDATE auth_user SET is_superuser = 1")),
    "one with a second factor": Case(
        set(),
        before=ledger(
            "UPDATE auth_user SET is_superuser = 1;"
            "INSERT INTO orchestrator_secondfactor (user_id, sealed, sealed_next, last_step, since)"
            " SELECT id, 'x', '', 0, '2030-01-01' FROM auth_user"
        ),
    ),
    "a hash of no known kind": Case({"W026"}, before=ledger("UPDATE auth_user SET password = 'correct horse'")),
}


@pytest.fixture(scope="session")
def wise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that is in use, with nothing to say about it: a provider, two keys, an account."""
    data = tmp_path_factory.mktemp("wise")
    script = """if True:
    import os
    os.environ["DJANGO_SETTINGS_MODULE"] = "orchestrator.settings"
    import django
    django.setup()
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from orchestrator.core.permissions import EVERYBODY, Role
    from tests.keys import issue_key
    from orchestrator.models import ApiKey
    from orchestrator.registry.models import Provider
    from orchestrator.registry.settled import sealer
    call_command("migrate", verbosity=0)
    origin = "https://vllm.example.org:443"
    sealed = sealer().seal("sk-1", "vllm", origin)
    vllm = {"kind": "compatible", "address": "https://vllm.example.org", "is_paid": False}
    Provider.objects.create(name="vllm", sealed_key=sealed, **vllm)
    issue_key("web", "acme")
    issue_key("boss", "acme", role=Role.ADMIN)
    ApiKey.objects.of(EVERYBODY).filter(name="boss").update(networks=["10.0.0.0/8"])
    User.objects.create_user("mira", password="correct horse battery")
    """
    env = Product(data=data).environment()
    subprocess.run([sys.executable, "-c", script], cwd=PROJECT, env=env, check=True, timeout=60)
    data.chmod(0o700)
    return data


@pytest.fixture
def data(wise: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    return Path(shutil.copytree(wise, tmp_path / "d"))


def doctor(data: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`manage.py doctor`, as an operator types it."""
    environment = Product(data=data, **{"ORCHESTRATOR_ENV": "production", **env}).environment()
    return subprocess.run(
        [sys.executable, "manage.py", "doctor", *arguments],
        cwd=PROJECT,
        env=environment | {"COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def ids(done: subprocess.CompletedProcess[str]) -> set[str]:
    """What it found, but for what is so of whoever runs these tests."""
    assert not done.stderr, done.stderr
    found = json.loads(done.stdout)["findings"]
    assert all(one["what"] and one["remedy"] for one in found)
    weights = ["fatal", "unsafe", "unwise"]
    assert [weights.index(one["weight"]) for one in found] == sorted(weights.index(one["weight"]) for one in found)
    return {one["id"].removeprefix("orchestrator.") for one in found} - {"W006", "W001"}


@pytest.mark.parametrize("name", CASES)
def test_what_is_unsafe_is_found_and_nothing_else(data: Path, name: str) -> None:
    case = CASES[name]
    case.before(data)
    env: dict[str, Any] = {"ORCHESTRATOR_CACHE_DISK": "1MB", **case.env}
    done = doctor(data, "--json", **env)
    assert ids(done) == case.found
    is_fatal = any(one.startswith("E") for one in case.found)
    assert done.returncode == 2 if is_fatal else done.returncode in ({1} if case.found else {0, 1})


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("open to the network", "ORCHESTRATOR_REQUIRE_KEYS=1"),
        ("details for strangers", "ORCHESTRATOR_ENV=production"),
        ("a secret of zeros", "rotate_secrets"),
        ("a secret for everybody", "chmod 600"),
        ("a short secret", "Restore it from a backup"),
    ],
)
def test_what_is_fatal_stops_the_start_with_the_remedy(data: Path, name: str, word: str) -> None:
    case = CASES[name]
    case.before(data)
    environment = Product(data=data, **{"ORCHESTRATOR_ENV": "production", **case.env}).environment()
    done = subprocess.run(
        [sys.executable, "manage.py", "serve"], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 78
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert "Serving" not in done.stdout


def test_few_open_files(data: Path) -> None:
    environment = Product(data=data, ORCHESTRATOR_ENV="production", ORCHESTRATOR_CACHE_DISK="1MB").environment()
    done = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512)),
    )
    assert ids(done) == {"I014"}


def test_it_is_readable_at_a_terminal(data: Path) -> None:
    env = OUTSIDE | {"ORCHESTRATOR_CACHE_DISK": "1MB", "ORCHESTRATOR_METRICS_TOKEN": "s3cret"}
    done = doctor(data, **env)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Found: 0 fatal, ")
    assert max(map(len, lines)) <= 80
    assert "UNSAFE   ORCHESTRATOR_METRICS_TOKEN has 6 characters" in done.stdout
    assert "         → Make one of 43:" in done.stdout
    assert "s3cret" not in done.stdout


def test_it_needs_no_data_and_makes_no_ledger(tmp_path: Path) -> None:
    done = doctor(tmp_path / "new", "--json", ORCHESTRATOR_CACHE_DISK="1MB")
    assert ids(done) == set()
    assert not (tmp_path / "new" / "ledger.sqlite3").exists()


def test_it_sees_how_a_running_product_is(product: Product) -> None:
    # What the product's own environment has to do with it is not known to whoever asks.
    done = doctor(product.data, "--json", OLLAMA_HOST="127.0.0.1:0", ORCHESTRATOR_CACHE_DISK="1MB")
    # Keys that manage, and models without a price, are there when other tests of this product made or asked them.
    assert ids(done) <= {"I024", "I025", "I051", "I052"}
    (running,) = json.loads(done.stdout)["running"]
    assert (running["supervisor"], running["is_there"]) == (product.pid, True)
    assert f"http://{running['address']}" == product.base_url
    assert f"It runs as process {product.pid} and serves on {product.base_url}." in doctor(product.data).stdout


@pytest.mark.parametrize(
    ("part", "is_told"),
    [
        ({"can_wait": True, "restarts": 0}, False),  # it is started after the others
        ({"can_wait": True, "restarts": 1}, True),
        ({"can_wait": False, "restarts": 0}, True),
    ],
)
def test_what_does_not_run_is_told_but_not_of_what_is_still_to_start(
    tmp_path: Path, part: dict[str, Any], is_told: bool
) -> None:
    data = tmp_path / "data"
    (data / "run").mkdir(parents=True, mode=0o700)
    status = {"supervisor": os.getpid(), "address": None, "is_ready": True}
    status["processes"] = [{"name": "pages", "is_ready": False, **part}]
    (data / "run" / "processes.json").write_text(json.dumps(status))
    said = doctor(data).stdout
    assert ("It runs, and pages of it does not." in said) == is_told


def test_what_redis_says_of_the_time_is_compared(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, redis_url: str
) -> None:
    settings.REDIS_URL = redis_url
    assert not list(places.redis_answers())
    monkeypatch.setattr(places.time, "time", lambda: 1_000_000_000.0)
    (found,) = places.redis_answers()
    assert found.id == "orchestrator.W034"


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A Redis of its own."""
    from orchestrator.supervisor.redis import redis, server_program

    server = server_program()
    assert server, "no redis-server here; type: apt-get install redis-server"
    path = tmp_path / "r.sock"
    process = subprocess.Popen(redis(server, path, 1024**2).argv, stdout=subprocess.DEVNULL)
    try:
        until(path.exists, "Redis to listen")
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait(10)


MOUNTS = """\
22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /srv rw - {kind} server:/export rw
31 30 8:2 / /srv/other rw - ext4 /dev/sdb1 rw
"""


@pytest.mark.parametrize(
    ("kind", "folder", "found"),
    [
        ("nfs4", "/srv/data", ["orchestrator.W016"]),
        ("cifs", "/srv", ["orchestrator.W016"]),
        ("fuse.sshfs", "/srv/data", ["orchestrator.W016"]),
        ("tmpfs", "/srv/data", ["orchestrator.W015"]),
        ("ext4", "/srv/data", []),
        ("nfs4", "/srv/other/data", []),
        ("nfs4", "/srvs", []),
    ],
)
def test_what_the_data_lies_on(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path, kind: str, folder: str, found: list[str]
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(kind=kind))
    monkeypatch.setattr(files, "MOUNTS", mounts)
    settings.DATA_DIR = Path(folder)
    assert [one.id for one in files.data_lies_on_a_disk()] == found


def test_a_disk_that_is_nearly_full(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=1024**2)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage)
    assert [one.id for one in files.there_is_room()] == ["orchestrator.W027"]


def test_an_old_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 3))
    assert not list(machine.sqlite_is_safe())
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 2))
    assert [one.id for one in machine.sqlite_is_safe()] == ["orchestrator.W001"]


@pytest.mark.parametrize(
    ("user", "has_marker", "found"), [(0, False, ["orchestrator.W006"]), (0, True, []), (1000, False, [])]
)
def test_root_outside_a_container(
    monkeypatch: pytest.MonkeyPatch, user: int, has_marker: bool, found: list[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(Path, "exists", lambda self: has_marker)
    assert [one.id for one in machine.user_is_ordinary()] == found


def test_a_program_that_others_may_change(settings: Settings, tmp_path: Path) -> None:
    settings.BASE_DIR = tmp_path
    (tmp_path / "orchestrator").mkdir()
    assert not list(files.program_is_ours())
    (tmp_path / "orchestrator").chmod(0o757)
    assert [one.id for one in files.program_is_ours()] == ["orchestrator.W042"]


def test_django_finds_nothing_for_production_behind_tls(data: Path) -> None:
    environment = Product(data=data, ORCHESTRATOR_ENV="production", **BEHIND).environment()
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
