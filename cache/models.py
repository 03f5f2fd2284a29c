"""The tier that survives a restart. Migrations and the admin go through this; requests do not (cache.tiers.sqlite)."""

from django.db import models

from orchestrator.models.scoped import ScopedQuerySet


class CacheEntry(models.Model):
    """A kept answer, in the database file that may be deleted at any time."""

    hash = models.CharField(max_length=64, primary_key=True)
    tenant_id = models.BigIntegerField()
    namespace = models.CharField(max_length=100)
    model = models.CharField(max_length=255)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    size = models.PositiveIntegerField(help_text="Bytes of the answer as it is kept.")
    body = models.BinaryField(help_text="Checksum and answer.")

    rows = models.Manager["CacheEntry"]()
    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)
        verbose_name = "kept answer"
        indexes = (  # with the size, so that counting a scope does not read its answers
            models.Index(fields=("tenant_id", "created_at", "size"), name="cache_by_tenant"),
            models.Index(fields=("namespace", "size"), name="cache_by_namespace"),
            models.Index(fields=("model", "size"), name="cache_by_model"),
            models.Index(fields=("created_at",), name="cache_by_age"),
        )

    def __str__(self) -> str:
        return self.hash


class TenantHolding(models.Model):
    """How much a tenant keeps in the file: triggers count it as answers come and go, so that it is always exact."""

    tenant_id = models.BigIntegerField(primary_key=True)
    entries = models.BigIntegerField()
    bytes = models.BigIntegerField()

    def __str__(self) -> str:
        return f"tenant {self.tenant_id}: {self.bytes} bytes"


class Purge(models.Model):
    """A purge: answers it covers and that are older than it are not served, wherever they are found."""

    tenant_id = models.BigIntegerField(null=True, help_text="Empty: all.")
    namespace = models.CharField(max_length=100, null=True, help_text="Empty: all.")  # noqa: DJ001  "" is a namespace
    model = models.CharField(max_length=255, null=True, help_text="Empty: all.")  # noqa: DJ001  as above
    hash = models.CharField(max_length=64, null=True, help_text="Empty: all.")  # noqa: DJ001  as above
    at = models.DateTimeField(db_index=True)
    uid = models.CharField(max_length=32, null=True, unique=True, help_text="The same on every machine.")  # noqa: DJ001  unlike "", null may come twice
    is_ours = models.BooleanField(default=True, help_text="Made on this machine.")
    is_unsent = models.BooleanField(default=False, help_text="Other machines are still to be told.")
    again_at = models.DateTimeField(null=True, help_text="When it is to be swept once more.")

    class Meta:
        ordering = ("-at",)
        indexes = (  # of the few rows with which something is left to do
            models.Index(fields=("is_unsent",), condition=models.Q(is_unsent=True), name="cache_purge_unsent"),
            models.Index(fields=("again_at",), condition=models.Q(again_at__isnull=False), name="cache_purge_again"),
        )

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S}"


class FeedPlace(models.Model):
    """How far this machine has heard what others purged; one row."""

    entry = models.CharField(max_length=50, blank=True)
    was_left = models.BooleanField(default=False, help_text="The machine took its leave then.")

    def __str__(self) -> str:
        return self.entry
