"""Which database file a model lives in."""

from typing import Any


class CacheFile:
    """Sends the models of the `cache` app to the file that may be deleted at any time."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        """The file `model` is read from."""
        return "cache" if model._meta.app_label == "cache" else None

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        """Each app's tables are in one file only."""
        return (db == "cache") == (app_label == "cache")
