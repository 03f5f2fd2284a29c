"""What was asked, and what became of it."""

from django.db import models

from orchestrator.models.keys import ApiKey
from orchestrator.models.scoped import ScopedQuerySet
from orchestrator.models.tenants import Tenant


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
    tags = models.CharField(
        max_length=2200, blank=True, help_text="Words of the key and of the caller, parted by commas."
    )
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
    saved_microusd = models.BigIntegerField(
        null=True, help_text="What it would have cost without the cache; empty when unknown, or when it was a call."
    )
    # Text that may be NULL: to add a column with a default, SQLite writes the whole table anew.
    saved_why = models.CharField(  # noqa: DJ001
        max_length=16, null=True, help_text="By what it was reckoned: price, charge, free or unknown; empty: a call."
    )
    saved_of = models.CharField(  # noqa: DJ001
        max_length=64, null=True, help_text="The request whose call paid for this answer."
    )
    saved_price_id = models.PositiveBigIntegerField(null=True, help_text="The price it was reckoned by.")
    adapted = models.CharField(  # noqa: DJ001
        max_length=64, null=True, help_text="What was put to the model in another way, or done in its place."
    )
    missed = models.CharField(  # noqa: DJ001
        max_length=16, null=True, help_text="Why the cache had no answer; empty: it had one, or nobody knows."
    )
    stages = models.CharField(  # noqa: DJ001
        max_length=300, null=True, help_text="How long each stage took before a model's turn, in microseconds."
    )
    granted_by = models.ForeignKey(
        Tenant,
        null=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,
        help_text="Whose answer it was, where another tenant's.",
    )

    rows = models.Manager["RequestRecord"]()
    objects = ScopedQuerySet.as_manager()

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
    tenant = models.ForeignKey(
        Tenant,
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="Not to be had by the request's id: that is the caller's own word, and two tenants may use the same.",
    )
    at = models.DateTimeField(db_index=True, help_text="When it was given up.")
    provider = models.CharField(max_length=40)
    model = models.CharField(max_length=255, help_text="What was asked there.")
    outcome = models.CharField(max_length=32, help_text="The kind of error.")
    error = models.CharField(max_length=300)
    took_us = models.PositiveBigIntegerField(help_text="Until it was given up, in microseconds.")

    rows = models.Manager["Attempt"]()
    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.model}: {self.outcome}"
