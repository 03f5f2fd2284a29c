"""Why a model was asked: what was known then, and what followed from it."""

from django.db import models

from orchestrator.models.scoped import ScopedQuerySet
from orchestrator.models.tenants import Tenant


class RouteDecision(models.Model):
    """One decision, beside its request's record. The same inputs decide the same again."""

    request_id = models.CharField(max_length=64, db_index=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(db_index=True)
    rules = models.PositiveIntegerField(help_text="Version of the rules; 0: there were none.")
    rule = models.CharField(max_length=80, blank=True, default="", help_text="That named who is asked.")
    split = models.CharField(max_length=80, blank=True, default="", help_text="The rule whose split it was part of.")
    arm = models.CharField(max_length=40, blank=True, default="", help_text="On which side.")
    task = models.CharField(max_length=16, blank=True, default="")
    complexity = models.FloatField(null=True)
    propensity = models.FloatField(null=True, help_text="How likely the first was to be the first.")
    is_explored = models.BooleanField(default=False, help_text="Chance put it there.")
    document = models.TextField(help_text="Facts, verdict, candidates and the order, as JSON.")
    vector = models.BinaryField(null=True, help_text="Where the question lies, as the router learns from it.")

    rows = models.Manager["RouteDecision"]()
    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        verbose_name = "decision"
        indexes = (models.Index(fields=("split", "arm", "at"), condition=~models.Q(split=""), name="decision_by_arm"),)

    def __str__(self) -> str:
        return self.request_id


class AnswerOutcome(models.Model):
    """What somebody, or something, said of an answer afterwards."""

    class Kind(models.TextChoices):
        """Who said so."""

        FEEDBACK = "feedback", "somebody said so"
        JUDGE = "judge", "a model judged it"
        ESCALATION = "escalation", "it was not sure itself"
        EDIT = "edit", "it was asked in other words"
        RETRY = "retry", "it was asked again"

    request_id = models.CharField(max_length=64, db_index=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(db_index=True)
    model = models.CharField(max_length=255, help_text="Who answered.")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    good = models.FloatField(help_text="0 to 1.")
    by = models.CharField(max_length=255, blank=True, default="", help_text="A key, a person, a model.")
    note = models.CharField(max_length=500, blank=True, default="")
    learned_in = models.PositiveBigIntegerField(null=True, help_text="The router's state that has it; empty: none yet.")

    rows = models.Manager["AnswerOutcome"]()
    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        verbose_name = "outcome"
        indexes = (models.Index(fields=("id",), condition=models.Q(learned_in__isnull=True), name="outcome_unlearned"),)
        constraints = (
            # Who changes their mind replaces what they said.
            models.UniqueConstraint(fields=("tenant", "request_id", "kind", "by"), name="outcome_once"),
        )

    def __str__(self) -> str:
        return f"{self.request_id}: {self.kind} {self.good:g}"


class UnreadGrades(models.Model):
    """How many answers of a judge had no grade that could be read, in a day. Each was charged."""

    day = models.DateField(db_index=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    judge = models.CharField(max_length=255)
    count = models.PositiveIntegerField(default=0)

    rows = models.Manager["UnreadGrades"]()
    objects = ScopedQuerySet.as_manager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant", "day", "judge"), name="unread_once_a_day"),)

    def __str__(self) -> str:
        return f"{self.judge}: {self.count} on {self.day}"


class ShadowRun(models.Model):
    """The same question to another model, beside whoever answered it. Texts are not kept."""

    request_id = models.CharField(max_length=64, db_index=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(db_index=True)
    rule = models.CharField(max_length=80)
    model = models.CharField(max_length=255, help_text="Who answered the caller.")
    shadow = models.CharField(max_length=255, help_text="Who was asked besides.")
    failed = models.CharField(max_length=32, blank=True, default="", help_text="The kind of error; empty: none.")
    cost_microusd = models.BigIntegerField(null=True, help_text="Of the answer; empty when unknown.")
    shadow_cost_microusd = models.BigIntegerField(null=True)
    took_us = models.PositiveBigIntegerField(help_text="The whole answer, in microseconds.")
    shadow_took_us = models.PositiveBigIntegerField(null=True)
    likeness = models.FloatField(null=True, help_text="How much both mean the same: 1 is the same.")
    good = models.FloatField(null=True, help_text="What a judge says of the answer, 0 to 1.")
    shadow_good = models.FloatField(null=True)

    rows = models.Manager["ShadowRun"]()
    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        verbose_name = "shadow run"
        indexes = (models.Index(fields=("rule", "at"), name="shadow_by_rule"),)

    def __str__(self) -> str:
        return f"{self.request_id}: {self.shadow} beside {self.model}"


class RouterState(models.Model):
    """What the router has learned, whole; the newest holds. The last few are kept."""

    version = models.PositiveBigIntegerField(unique=True)
    at = models.DateTimeField()
    outcomes = models.PositiveBigIntegerField(help_text="How many it was made of.")
    state = models.BinaryField()

    class Meta:
        ordering = ("-version",)

    def __str__(self) -> str:
        return f"state {self.version}"
