"""Who changed what: rows that are only added, each bound to the one before."""

from django.db import models

from orchestrator.models.scoped import ScopedQuerySet
from orchestrator.models.tenants import Tenant


class AuditEvent(models.Model):
    """One act of somebody who manages. `digest` covers the row and the digest before it, so that a gap shows."""

    at = models.DateTimeField(db_index=True)
    actor = models.CharField(max_length=160, help_text="user:anna, key:abc123…, command")
    action = models.CharField(max_length=64, help_text="key.issued, key.revoked, limit.changed, …")
    subject = models.CharField(max_length=255, help_text="What it was done to.")
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.PROTECT)
    details = models.JSONField(default=dict, blank=True)
    request_id = models.CharField(max_length=64, blank=True, default="")
    digest = models.CharField(max_length=64)

    rows = models.Manager["AuditEvent"]()
    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.subject}"


class AuditHead(models.Model):
    """Which event is the newest: one row, so that events which are dropped from the end are missed too."""

    event_id = models.PositiveBigIntegerField()
    digest = models.CharField(max_length=64, help_text="Of that event.")
    seal = models.CharField(max_length=64, help_text="A keyed hash of both, so that nobody else can set them back.")

    def __str__(self) -> str:
        return f"event {self.event_id}"
