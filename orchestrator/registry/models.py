"""Providers, models, the history of both, and how providers are."""

from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models

from orchestrator.models import PolicyQuerySet

NAME = RegexValidator(r"^[a-z0-9][a-z0-9-]{0,38}\Z", "Up to 39 lower-case letters, digits and hyphens.")
LONGEST_S = 3600.0


def _seconds(help_text: str) -> "models.FloatField[float | None, float | None]":
    return models.FloatField(
        null=True, blank=True, help_text=help_text, validators=[MinValueValidator(0.05), MaxValueValidator(LONGEST_S)]
    )


def _price() -> "models.DecimalField[Any, Any]":
    return models.DecimalField(
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        help_text="US dollars for a million tokens. Empty: as its provider tells.",
        validators=[MinValueValidator(0)],
    )


class Provider(models.Model):
    """Where models run: an account with a cloud, or a server of one's own."""

    name = models.CharField(max_length=39, unique=True, validators=[NAME], help_text="Its models are called name/….")
    kind = models.CharField(max_length=40, help_text="What it speaks, and its usual address.")
    address = models.CharField(
        max_length=300, blank=True, help_text="Empty: from the environment, else the usual address of its kind."
    )
    sealed_key = models.TextField(blank=True, editable=False, help_text="Empty: from the environment.")
    connect_timeout_s = _seconds("Seconds to wait for a connection. Empty: ORCHESTRATOR_CONNECT_TIMEOUT_S.")
    first_token_timeout_s = _seconds("Seconds to the first token. Empty: ORCHESTRATOR_FIRST_TOKEN_TIMEOUT_S.")
    token_timeout_s = _seconds("Seconds between two tokens. Empty: ORCHESTRATOR_TOKEN_TIMEOUT_S.")
    answer_timeout_s = _seconds("Seconds for a whole answer. Empty: ORCHESTRATOR_ANSWER_TIMEOUT_S.")
    slow_after_s = _seconds("A first token later than this counts against it. Empty: half the time it has.")
    most_calls = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Calls at once from each process. Empty: no limit.",
    )
    is_paid = models.BooleanField(
        null=True,
        blank=True,
        help_text="It charges for calls. Unknown: as its kind does, and whoever is on the internet.",
    )
    lists_models = models.BooleanField(default=True, help_text="Show what it lists beside the registered models.")
    extra_body = models.JSONField(
        default=dict, blank=True, help_text="Sent along with each question, such as OpenRouter's `provider`."
    )
    is_enabled = models.BooleanField(default=True)
    is_from_environment = models.BooleanField(default=False, editable=False)
    reset_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = PolicyQuerySet.as_manager()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class RegisteredModel(models.Model):
    """A model under a name of ours."""

    class Balance(models.TextChoices):
        """How one of several deployments of equal rank is chosen."""

        LATENCY = "latency", "the quicker of two"
        COST = "cost", "the cheapest"
        WEIGHT = "weight", "by weight"

    name = models.CharField(max_length=255, unique=True, help_text="What callers ask for.")
    aliases = models.JSONField(default=list, blank=True, help_text="Other names for it.")
    tags = models.JSONField(default=list, blank=True)
    balance = models.CharField(max_length=16, choices=Balance.choices, default=Balance.LATENCY)
    fallbacks = models.JSONField(
        default=list, blank=True, help_text="Other models, asked in this order when no deployment answers."
    )
    hedge_after_s = _seconds("Ask a second deployment when the first was silent for so long. Empty: never.")
    context_length = models.PositiveIntegerField(
        null=True, blank=True, help_text="Tokens. Empty: as its provider tells."
    )
    capabilities = models.JSONField(default=list, blank=True, help_text="Empty: as its provider tells.")
    is_enabled = models.BooleanField(default=True)

    objects = PolicyQuerySet.as_manager()

    class Meta:
        ordering = ("name",)
        verbose_name = "model"

    def __str__(self) -> str:
        return self.name


class Deployment(models.Model):
    """One place where a model runs."""

    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="deployments")
    provider = models.ForeignKey(
        Provider,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="deployments",
        help_text="Empty: this machine.",
    )
    remote_name = models.CharField(max_length=255, help_text="What it is called there.")
    rank = models.PositiveSmallIntegerField(default=0, help_text="Lower ranks are asked first.")
    weight = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1), MaxValueValidator(1000)])
    input_price = _price()
    output_price = _price()
    is_enabled = models.BooleanField(default=True)

    objects = PolicyQuerySet.as_manager()

    class Meta:
        ordering = ("rank", "id")

    def __str__(self) -> str:
        return f"{self.provider or 'local'}/{self.remote_name}"


class StatedPrice(models.Model):
    """What an operator says that a model of a provider charges, from a moment on. Rows are added and never changed."""

    provider = models.CharField(max_length=39)
    model = models.CharField(max_length=255, help_text="As the provider calls it.")
    holds_from = models.DateTimeField()
    input = _price()
    output = _price()
    cache_read = _price()
    cache_write = _price()
    cache_write_1h = _price()
    at = models.DateTimeField(auto_now_add=True)
    by = models.CharField(max_length=150, help_text="Who said so.")

    objects = PolicyQuerySet.as_manager()

    class Meta:
        ordering = ("id",)
        verbose_name = "stated price"

    def __str__(self) -> str:
        return f"{self.provider}/{self.model} from {self.holds_from:%Y-%m-%d %H:%M}"


class RegistryVersion(models.Model):
    """The whole registry as it was after a change. Keys are in it as they are kept: sealed."""

    number = models.AutoField(primary_key=True)
    at = models.DateTimeField(auto_now_add=True)
    by = models.CharField(max_length=150, help_text="Who changed it.")
    reason = models.CharField(max_length=200, blank=True)
    summary = models.TextField(help_text="What changed, one line each.")
    document = models.JSONField()

    class Meta:
        ordering = ("-number",)
        verbose_name = "version of the registry"
        verbose_name_plural = "versions of the registry"

    def __str__(self) -> str:
        return f"version {self.number}"


class ProviderCheck(models.Model):
    """One look at whether a provider answers, made when nobody asked it anything."""

    provider = models.CharField(max_length=39)
    at = models.DateTimeField(db_index=True)
    is_ok = models.BooleanField()
    since = models.DateTimeField(help_text="When it was first seen to be so; it was in every look since.")
    took_us = models.PositiveBigIntegerField()
    words = models.CharField(max_length=300)
    listed = models.PositiveIntegerField(null=True, help_text="How many models it lists.")

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=("provider", "-id"), name="newest_check"),)

    def __str__(self) -> str:
        return f"{self.provider}: {self.words}"


class OpenBreaker(models.Model):
    """A worker does not ask a model of a provider at the moment. The row goes when it does again."""

    provider = models.CharField(max_length=39)
    model = models.CharField(max_length=255)
    worker = models.CharField(max_length=100, help_text="Host and number of the process.")
    opened_at = models.DateTimeField()
    seen_at = models.DateTimeField(help_text="When the worker last said so.")
    why = models.CharField(max_length=300)
    until = models.DateTimeField(
        null=True, help_text="When a pause ends that it asked for. Empty: its breaker is open."
    )

    class Meta:
        constraints = (models.UniqueConstraint(fields=("provider", "model", "worker"), name="one_breaker_a_worker"),)

    def __str__(self) -> str:
        return f"{self.provider}/{self.model} in {self.worker}"
