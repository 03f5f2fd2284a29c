"""Who may ask, and what was asked: tenants, API keys, sign-in links, request records."""

from collections.abc import Iterable
from typing import Any, TypeVar

from django.conf import settings
from django.db import models
from django.dispatch import Signal

policy_updated = Signal()  # sender: a model; `using`: where many rows of it were written at once

M = TypeVar("M", bound=models.Model)


class PolicyQuerySet(models.QuerySet[M]):
    """Rows that say who may do what. Unlike Django's own, a change of many is announced."""

    def update(self, **values: Any) -> int:
        """Update them all, and return how many there were."""
        count = super().update(**values)
        policy_updated.send(self.model, using=self.db)
        return count

    update.alters_data = True  # type: ignore[attr-defined]  # no template calls it

    def bulk_create(self, objs: Iterable[M], *args: Any, **kwargs: Any) -> list[M]:
        """Make them all, and return them."""
        made = super().bulk_create(objs, *args, **kwargs)
        policy_updated.send(self.model, using=self.db)
        return made

    bulk_create.alters_data = True  # type: ignore[attr-defined]


class Tenant(models.Model):
    """A customer, team or household; nothing is shared between two of them."""

    name = models.SlugField(unique=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = PolicyQuerySet.as_manager()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class ApiKey(models.Model):
    """A secret that stands for a tenant. Only a keyed hash of it is kept."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="keys")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=16, unique=True, help_text="The part that may be shown and is looked up by.")
    digest = models.CharField(max_length=64, editable=False)
    is_admin = models.BooleanField(default=False, help_text="May use /api/admin/v1/.")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = PolicyQuerySet.as_manager()

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

    def __str__(self) -> str:
        return f"for {self.user}, until {self.expires_at:%Y-%m-%d %H:%M}"


class RequestRecord(models.Model):
    """One request: who asked, who answered, what it took."""

    class Tier(models.TextChoices):
        """How far the request travelled."""

        MEMORY = "memory", "memory"
        REDIS = "redis", "Redis"
        SQLITE = "sqlite", "SQLite"
        SEMANTIC = "semantic", "by meaning"
        MISS = "miss", "miss"
        COLLAPSED = "collapsed", "shared a call"
        BYPASS = "bypass", "cache not asked"
        NONE = "", "not answered"

    request_id = models.CharField(max_length=64, db_index=True)
    at = models.DateTimeField(db_index=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT)
    key = models.ForeignKey(ApiKey, null=True, on_delete=models.SET_NULL)
    dialect = models.CharField(max_length=16)
    endpoint = models.CharField(max_length=64)
    asked_model = models.CharField(max_length=255, help_text="As the caller wrote it.")
    model = models.CharField(max_length=255, help_text="Who answered.")
    provider = models.CharField(
        max_length=40, blank=True, default="", help_text="Where it ran: a provider, or an engine here."
    )
    route = models.CharField(max_length=64, help_text="Which rule or reason chose the model.")
    tier = models.CharField(max_length=16, choices=Tier.choices)
    cache_key = models.CharField(max_length=64)
    tags = models.CharField(max_length=1100, blank=True, help_text="The caller's own words, parted by commas.")
    unsupported = models.CharField(
        max_length=1100, blank=True, help_text="What was asked for and left out, since the model cannot do it."
    )
    streamed = models.BooleanField()
    status = models.PositiveSmallIntegerField(help_text="HTTP status.")
    outcome = models.CharField(max_length=32, help_text="done, cut, cancelled, or the kind of error.")
    error = models.CharField(max_length=500)
    prompt_tokens = models.PositiveIntegerField()
    completion_tokens = models.PositiveIntegerField()
    cached_tokens = models.PositiveIntegerField(
        default=0, help_text="Of the question's: those that the provider read from its own cache."
    )
    is_estimated = models.BooleanField(default=False, help_text="Not all of the tokens were counted by who had them.")
    first_us = models.PositiveBigIntegerField(
        null=True, help_text="Until the first piece of the answer, in microseconds."
    )
    engine_first_us = models.PositiveBigIntegerField(
        null=True, help_text="The same, since whoever answered was asked; empty where nobody was."
    )
    total_us = models.PositiveBigIntegerField(help_text="Until the last, in microseconds.")
    is_paid = models.BooleanField(help_text="It went to a provider that charges.")
    cost_microusd = models.BigIntegerField(null=True, help_text="Millionths of a US dollar; empty when unknown.")

    class Meta:
        ordering = ("-id",)
        verbose_name = "request"
        # What engines were called for, without the many that came from cache: what pages of providers add up.
        indexes = (models.Index(fields=("at",), condition=models.Q(tier__in=("miss", "bypass")), name="called_at"),)

    def __str__(self) -> str:
        return self.request_id


class Attempt(models.Model):
    """A place that was asked and did not answer; the request went on to the next, or failed with it."""

    request_id = models.CharField(max_length=64, db_index=True)
    at = models.DateTimeField(db_index=True, help_text="When it was given up.")
    provider = models.CharField(max_length=40)
    model = models.CharField(max_length=255, help_text="What was asked there.")
    outcome = models.CharField(max_length=32, help_text="The kind of error.")
    error = models.CharField(max_length=300)
    took_us = models.PositiveBigIntegerField(help_text="Until it was given up, in microseconds.")

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.model}: {self.outcome}"
