"""Whether there is something to ask."""

from pathlib import Path

from django.conf import settings


def has_ledger() -> bool:
    """Whether there is a ledger: opening one that is not there would make it."""
    return Path(str(settings.DATABASES["default"]["NAME"])).exists()
