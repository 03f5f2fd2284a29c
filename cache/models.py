"""The tier that survives a restart. Migrations and the admin go through this; requests do not (cache.tiers.sqlite)."""

from django.db import models


class CacheEntry(models.Model):
    """A kept answer, in the database file that may be deleted at any time."""

    hash = models.CharField(max_length=64, primary_key=True)
    tenant_id = models.BigIntegerField(db_index=True)
    namespace = models.CharField(max_length=100, db_index=True)
    model = models.CharField(max_length=255, db_index=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    size = models.PositiveIntegerField(help_text="Bytes of the answer as it is kept.")
    body = models.BinaryField(help_text="Checksum and answer.")

    class Meta:
        ordering = ("-created_at",)
        verbose_name = "kept answer"

    def __str__(self) -> str:
        return self.hash
