"""Who may see and change things: a person's role, in one tenant or in all."""

from django.conf import settings
from django.db import models

from orchestrator.core.permissions import Role
from orchestrator.models.policy import PolicyQuerySet
from orchestrator.models.tenants import Tenant


class Membership(models.Model):
    """What a person may do, and where. Somebody without any sees nothing but the sign-in page."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    tenant = models.ForeignKey(
        Tenant,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="members",
        help_text="Empty: every.",
    )
    role = models.CharField(max_length=16, choices=[(role.value, role.value) for role in Role])
    created_at = models.DateTimeField(auto_now_add=True)

    objects = PolicyQuerySet.as_manager()

    class Meta:
        ordering = ("user", "tenant")
        constraints = (
            models.UniqueConstraint(fields=("user", "tenant"), name="membership_once"),
            models.UniqueConstraint(
                fields=("user",), condition=models.Q(tenant=None), name="membership_of_every_tenant_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.tenant or 'every tenant'}"
