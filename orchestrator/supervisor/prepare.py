"""Make a data directory fit to serve from, an empty one too."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection
from pathlib import Path

from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor

from cache.database import CacheFile, migrate
from orchestrator.env import BadSetting
from orchestrator.identity.keys import ensure_default_tenant
from orchestrator.registry import changes

log = logging.getLogger(__name__)

LONGEST_SOCKET_PATH = 107  # bytes; unix(7)
CACHE_BUSY_S = 2.0  # how long another process may hold it


def prepare(roles: Collection[str]) -> None:
    """Create and migrate what `roles` need.

    Raises BadSetting when the data directory cannot be used, CommandError when the ledger cannot.
    The cache file may fail: the product serves without it. The model host sees to its models itself.
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
    connections.close_all()


def _migrate_ledger() -> None:
    try:
        executor = MigrationExecutor(connections["default"])
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):  # asking is 20 times as fast as migrating
            log.info("bringing the ledger up to date")
            call_command("migrate", interactive=False, verbosity=0)
        ensure_default_tenant()
        changes.ensure_environment()
    except DatabaseError as error:
        raise CommandError(
            f"The ledger, {settings.DATABASES['default']['NAME']}, cannot be used: {error}. "
            "Make room on its disk if that is full; if the file is damaged, put a backup in its place."
        ) from error


def _migrate_cache() -> None:
    """Make the cache file usable. It may be deleted at any time, so a damaged one is set aside."""
    file = CacheFile(Path(str(settings.DATABASES["cache"]["NAME"])), CACHE_BUSY_S)
    try:
        try:
            file.connection().execute("SELECT 1 FROM cache_cacheentry LIMIT 1")
        except sqlite3.Error as error:
            file.repair(error, file.inode)
        finally:
            file.close()
        migrate(file.path)
    except (DatabaseError, sqlite3.Error, OSError) as error:
        log.error("the cache file cannot be used (%s); serving without it", error)
