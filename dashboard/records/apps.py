"""Puts our admin site in the place of Django's."""

from django.contrib.admin.apps import SimpleAdminConfig


class RecordsConfig(SimpleAdminConfig):
    """The admin app with `Records` as its site. The table of pages loads what it shows: most processes have none."""

    default_site = "dashboard.records.site.Records"
