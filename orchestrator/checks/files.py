"""Who else on this machine can read or change what is kept, and what it is kept on."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks

from orchestrator.checks import DOCTOR, START
from orchestrator.checks.finding import Found, fatal, unsafe, unwise
from orchestrator.core import secrets

MOUNTS = Path("/proc/self/mountinfo")
OTHERS = stat.S_IRWXG | stat.S_IRWXO
NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|ncpfs|afs|ceph|lustre|gpfs|9p|virtiofs|fuse\.(sshfs|s3fs|gluster.*|rclone)|glusterfs"
)
IN_MEMORY = {"tmpfs", "ramfs"}
FREE_AT_LEAST = 1024**3  # bytes
FORMER_KEPT_DAYS = 30
_FEWEST_DIGITS = 8  # different ones; of 64 made by chance there are hardly ever fewer than 13
_MOST_NAMED = 3


@checks.register(START)
def data_is_private(**_: Any) -> Found:
    """The data directory holds keys, answers and records."""
    for path in (settings.DATA_DIR, settings.DATA_DIR / "keys"):
        if _mode(path) & OTHERS:
            yield unsafe(5, f"{path} can be read by other users of this machine.", f"chmod go-rwx {path}")


@checks.register(START)
def master_secret_is_secret(**_: Any) -> Found:
    """It opens everything else."""
    path = settings.MASTER_FILE
    if _mode(path) & stat.S_IRWXO:
        yield fatal(
            3,
            f"The master secret, {path}, can be read by every user of this machine: with it they make sessions and"
            " open providers' keys.",
            f"chmod 600 {path}, and `manage.py rotate_secrets` if anybody may have read it.",
        )
    elif _mode(path) & stat.S_IRWXG:
        yield unsafe(8, f"The master secret, {path}, can be read by a group.", f"chmod 600 {path}")
    with suppress(OSError):
        if _is_guessable(secrets.read(path).current):
            yield fatal(
                4,
                f"The master secret in {path} is an example, or one that can be guessed.",
                "Stop the product, `manage.py rotate_secrets`, then the same with --retire --force; issue keys anew.",
            )


@checks.register(START)
def files_are_private(**_: Any) -> Found:
    """Databases, and copies of them that somebody made."""
    open_ones = [path for path in _files(settings.DATA_DIR) if _mode(path) & OTHERS and path != settings.MASTER_FILE]
    if open_ones:
        more = f" and {len(open_ones) - _MOST_NAMED} more" if len(open_ones) > _MOST_NAMED else ""
        yield unsafe(
            9,
            f"{', '.join(map(str, open_ones[:_MOST_NAMED]))}{more} can be read by other users of this machine wherever"
            " the folder lets them, and wherever it is copied to.",
            f"chmod go-rwx {' '.join(map(str, open_ones[:_MOST_NAMED]))}",
        )


@checks.register(START)
def redis_socket_is_private(**_: Any) -> Found:
    """Who can write to it can put tasks into the queue, and take answers away."""
    if _mode(settings.REDIS_SOCKET) & OTHERS:
        yield unsafe(
            13,
            f"The private Redis, {settings.REDIS_SOCKET}, can be used by other users of this machine.",
            f"chmod 700 {settings.REDIS_SOCKET}",
        )


@checks.register(START)
def models_are_ours(**_: Any) -> Found:
    """Who can change a model decides what it says, and what llama.cpp has to read."""
    if settings.MODELS_DIR.is_dir() and _mode(settings.MODELS_DIR) & stat.S_IWOTH:
        yield unsafe(
            43,
            f"Every user of this machine may put models into {settings.MODELS_DIR}, or change those there.",
            f"chmod o-w {settings.MODELS_DIR}",
        )


@checks.register(START)
def program_is_ours(**_: Any) -> Found:
    """Who can change the program is the program."""
    writable = [path for path in (settings.BASE_DIR, settings.BASE_DIR / "orchestrator") if _mode(path) & stat.S_IWOTH]
    if writable:
        yield unsafe(
            42, f"Every user of this machine may change the program in {writable[0]}.", f"chmod -R o-w {writable[0]}"
        )


@checks.register(START)
def data_lies_on_a_disk(**_: Any) -> Found:
    """SQLite's write-ahead log needs memory that all processes share, which no network has."""
    kind = filesystem(settings.DATA_DIR)
    if NETWORK.fullmatch(kind):
        yield unsafe(
            16,
            f"{settings.DATA_DIR} lies on a network file system ({kind}), which can corrupt databases.",
            "Point ORCHESTRATOR_DATA_DIR at a disk of this machine.",
        )
    if kind in IN_MEMORY:
        yield unsafe(
            15,
            f"{settings.DATA_DIR} lies in memory ({kind}): keys, accounts and records go when the machine restarts.",
            "Point ORCHESTRATOR_DATA_DIR at a disk.",
        )


@checks.register(START)
def there_is_room(**_: Any) -> Found:
    """A full disk takes no record, and no paid answer without one."""
    free = shutil.disk_usage(settings.DATA_DIR).free
    if free < FREE_AT_LEAST:
        yield unsafe(
            27,
            f"{settings.DATA_DIR} has {free / 1024**2:.0f} MB left; when it is full, no paid answer is given.",
            "Make room, lower ORCHESTRATOR_CACHE_DISK or ORCHESTRATOR_RECORD_DAYS, or move ORCHESTRATOR_DATA_DIR.",
        )
    elif free < settings.CACHE_DISK:
        yield unwise(
            27,
            f"The cache may take {settings.CACHE_DISK / 1024**3:.1f} GB, and {free / 1024**3:.1f} GB are left.",
            "Lower ORCHESTRATOR_CACHE_DISK, or make room.",
        )


@checks.register(DOCTOR, deploy=True)
def old_secrets_are_retired(**_: Any) -> Found:
    """A secret that still opens things is a secret that still has to be kept."""
    with suppress(secrets.NoSecret, OSError):
        masters = secrets.read(settings.MASTER_FILE)
        if masters.is_unfinished:
            yield unsafe(
                39, "A rotation of secrets was interrupted.", "Stop the product and run `manage.py rotate_secrets`."
            )
        elif masters.oldest > timedelta(days=FORMER_KEPT_DAYS):
            yield unwise(
                39,
                f"A master secret that was replaced {masters.oldest.days} days ago still opens what it sealed.",
                "Stop the product and run `manage.py rotate_secrets --retire`.",
            )


def filesystem(path: Path) -> str:
    """The kind of file system `path` lies on; empty where that cannot be known."""
    best, kind = -1, ""
    with suppress(OSError):
        for entry in MOUNTS.read_text().splitlines():
            before, _, after = entry.partition(" - ")
            place = Path(before.split()[4].replace("\\040", " "))
            if path.is_relative_to(place) and len(place.parts) >= best:  # of two on one place the later is on top
                best, kind = len(place.parts), after.split()[0]
    return kind


def _files(folder: Path) -> Iterator[Path]:
    """What is kept, but for models: those are no secrets, and may be somebody else's."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or path == settings.MODELS_DIR or path == settings.RUN_DIR:
            continue
        if path.is_dir():
            with suppress(OSError):
                yield from _files(path)
        else:
            yield path


def _mode(path: Path) -> int:
    """Who may do what with it; nobody anything where there is none, or no such modes."""
    try:
        return path.stat().st_mode if os.name == "posix" else 0
    except OSError:
        return 0


def _is_guessable(secret: bytes) -> bool:
    digits = secret.hex()
    return len(set(digits)) < _FEWEST_DIGITS or "0123456789abcdef" in digits or digits[:16] == digits[16:32]
