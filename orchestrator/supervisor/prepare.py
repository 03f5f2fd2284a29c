"""Make a data directory fit to serve from, an empty one too."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from pathlib import Path

from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor

from orchestrator import identity
from orchestrator.core.errors import ModelLoadFailed
from orchestrator.env import BadSetting
from orchestrator.modelhost.embedded import install_embedded
from orchestrator.modelhost.store import Store

log = logging.getLogger(__name__)

LONGEST_SOCKET_PATH = 107  # bytes; unix(7)
SET_ASIDE = ".corrupt-"


def prepare(roles: Collection[str]) -> None:
    """Create and migrate what `roles` need.

    Raises BadSetting when the data directory cannot be used, CommandError when the ledger cannot.
    The cache file and the embedded model may fail: the product serves without them.
    """
    for path in (settings.MODELS_SOCKET, settings.REDIS_SOCKET):
        if len(bytes(path)) > LONGEST_SOCKET_PATH:
            raise BadSetting(
                f"ORCHESTRATOR_DATA_DIR={settings.DATA_DIR} is too long: the path of a socket in it, {path}, "
                f"may have {LONGEST_SOCKET_PATH} bytes. Choose a shorter one."
            )
    if {"web", "worker"} & set(roles):
        _migrate_ledger()
        _migrate_cache()
    if "models" in roles:
        _install_embedded_model()
    connections.close_all()


def _migrate_ledger() -> None:
    try:
        _migrate("default")
        identity.ensure_default_tenant()
    except DatabaseError as error:
        raise CommandError(
            f"The ledger, {settings.DATABASES['default']['NAME']}, cannot be used: {error}. "
            "Make room on its disk if that is full; if the file is damaged, put a backup in its place."
        ) from error


def _migrate_cache() -> None:
    """The cache may be deleted at any time, so a file that cannot be used is set aside and made anew."""
    try:
        _migrate("cache")
    except DatabaseError as error:
        try:
            aside = _set_aside(Path(connections["cache"].settings_dict["NAME"]))
            log.warning("the cache file could not be used (%s); it is set aside as %s", error, aside)
            _migrate("cache")
        except (DatabaseError, OSError) as again:
            log.error("no cache file can be made (%s); serving without one", again)


def _migrate(alias: str) -> None:
    executor = MigrationExecutor(connections[alias])
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):  # asking is 20 times as fast as migrating
        log.info("bringing the %s database up to date", "ledger" if alias == "default" else alias)
        call_command("migrate", database=alias, interactive=False, verbosity=0)


def _set_aside(path: Path) -> Path:
    """Rename a database file; the one before it goes, so that they do not fill the disk."""
    connections["cache"].close()
    for older in path.parent.glob(path.name + SET_ASIDE + "*"):
        older.unlink()
    for beside in ("-wal", "-shm"):
        path.with_name(path.name + beside).unlink(missing_ok=True)
    return path.rename(path.with_name(f"{path.name}{SET_ASIDE}{int(time.time())}"))


def _install_embedded_model() -> None:
    try:
        install_embedded(Store(settings.MODELS_DIR))
    except ModelLoadFailed as error:
        log.warning("%s", error)
