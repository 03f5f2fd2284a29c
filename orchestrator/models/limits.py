"""How much: what may be asked, by whom, in what time."""

from django.db import models

from orchestrator.core.limits import EACH, KINDS
from orchestrator.models.keys import ApiKey
from orchestrator.models.policy import PolicyQuerySet
from orchestrator.models.tenants import Team, Tenant


class Limit(models.Model):
    """Up to `amount` of something for each key, team, tenant, model, address, or for all together.

    It is about requests that match every field that is set: tenant, team, key, model, network.
    """

    name = models.SlugField(unique=True, help_text="As `RateLimit-Policy` names it.")
    kind = models.CharField(max_length=16, choices=[(kind, kind) for kind in KINDS])
    each = models.CharField(max_length=16, choices=[(each, each) for each in EACH], help_text="What is counted apart.")
    amount = models.PositiveBigIntegerField()
    per_s = models.PositiveIntegerField(null=True, blank=True, help_text="Of requests and tokens: in so many seconds.")
    burst = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="So many at once; empty: as many as the amount."
    )
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.CASCADE, related_name="limits")
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.CASCADE, related_name="limits")
    key = models.ForeignKey(ApiKey, null=True, blank=True, on_delete=models.CASCADE, related_name="limits")
    model = models.CharField(max_length=255, blank=True, default="", help_text="A pattern: openai/*. Empty: any.")
    network = models.CharField(max_length=64, blank=True, default="", help_text="10.0.0.0/8. Empty: anywhere.")
    is_off = models.BooleanField(default=False)

    objects = PolicyQuerySet.as_manager()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        within = f" in {self.per_s} s" if self.per_s else ""
        return f"{self.name}: {self.amount} {self.kind}{within} for each {self.each}"
