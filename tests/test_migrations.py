"""The models and their migrations agree."""

import pytest
from django.core.management import call_command


@pytest.mark.django_db(databases=["default", "cache"])
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
