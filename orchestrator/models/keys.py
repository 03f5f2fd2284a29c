"""What opens the door: API keys for programs, links that sign a person in once."""

from django.conf import settings
from django.db import models

from orchestrator.core.permissions import Role
from orchestrator.models.policy import PolicyQuerySet
from orchestrator.models.scoped import ScopedPolicyQuerySet
from orchestrator.models.tenants import Team, Tenant


class ApiKey(models.Model):
    """A secret that stands for a tenant. Only a keyed hash of it is kept.

    An empty list of patterns, dialects, families or networks means: any.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="keys")
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.PROTECT, related_name="keys")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="api_keys",
        help_text="The person who answers for it.",
    )
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=16, unique=True, help_text="The part that may be shown and is looked up by.")
    digest = models.CharField(max_length=64, editable=False)
    role = models.CharField(
        max_length=16,
        blank=True,
        default="",
        choices=[("", "none: asks models only"), *((role.value, role.value) for role in Role)],
        help_text="What it may do under /api/admin/v1/.",
    )
    reaches_all = models.BooleanField(default=False, help_text="Its role holds for every tenant, not its own alone.")
    model_patterns = models.JSONField(
        default=list, blank=True, help_text='Patterns of the models it may ask: ["openai/*"].'
    )
    dialects = models.JSONField(default=list, blank=True, help_text="Of ollama, openai, anthropic.")
    families = models.JSONField(default=list, blank=True, help_text="Of chat, embed, models, stats.")
    networks = models.JSONField(default=list, blank=True, help_text='Where it may come from: ["10.0.0.0/8"].')
    tags = models.JSONField(default=list, blank=True, help_text="Words that every record of its requests has.")
    replaces = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="replaced_by", editable=False
    )
    first_id = models.PositiveBigIntegerField(
        null=True, editable=False, help_text="The first of those before it; budgets count all of them as one."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="To about a minute.")

    rows = PolicyQuerySet.as_manager()
    objects = ScopedPolicyQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class SignInLink(models.Model):
    """A link that signs its user in once."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    is_invitation = models.BooleanField(default=False, help_text="It leads to where a password is chosen.")

    def __str__(self) -> str:
        return f"for {self.user}, until {self.expires_at:%Y-%m-%d %H:%M}"
