"""Puts our admin site in the place of Django's."""

from django.contrib.admin.apps import AdminConfig


class RecordsConfig(AdminConfig):
    """The admin app with `Records` as its site."""

    default_site = "dashboard.records.site.Records"
