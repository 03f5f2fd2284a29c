"""Rules as operators work on them, and every version that was published. The newest version holds."""

from django.db import models

from orchestrator.models.policy import PolicyQuerySet


class RuleDraft(models.Model):
    """A rule of the draft that everybody works on; requests go by the newest `RuleVersion`."""

    place = models.PositiveIntegerField(help_text="Rules are asked in this order.")
    name = models.CharField(max_length=80, unique=True)
    note = models.CharField(max_length=1000, blank=True, default="")
    is_on = models.BooleanField(default=True)
    when = models.JSONField(default=list, blank=True, help_text="Conditions, all of which have to be so.")
    expression = models.CharField(max_length=2000, blank=True, default="")
    then = models.JSONField(default=dict, blank=True, help_text="What becomes of the request.")
    changed_at = models.DateTimeField(auto_now=True)
    changed_by = models.CharField(max_length=255, blank=True, default="")

    class Meta:
        ordering = ("place", "id")
        verbose_name = "rule"

    def __str__(self) -> str:
        return self.name


class DraftState(models.Model):
    """One row: what the draft was made from, how often it was changed, and how the router chooses in it."""

    base = models.PositiveIntegerField(default=0, help_text="The version it was made from.")
    edition = models.PositiveBigIntegerField(default=0, help_text="Counts changes, so that two do not overwrite.")
    auto = models.JSONField(default=dict, blank=True, help_text="How the router chooses.")

    def __str__(self) -> str:
        return f"draft from version {self.base}"


class RuleVersion(models.Model):
    """Rules that were published, whole. It is never changed; a rollback publishes an older one again."""

    number = models.PositiveIntegerField(unique=True)
    at = models.DateTimeField()
    by = models.CharField(max_length=255)
    reason = models.CharField(max_length=500, blank=True, default="")
    document = models.JSONField()
    changes = models.TextField(blank=True, default="", help_text="What it changed, a line each.")

    objects = PolicyQuerySet.as_manager()

    class Meta:
        ordering = ("-number",)
        verbose_name = "version of the rules"
        verbose_name_plural = "versions of the rules"

    def __str__(self) -> str:
        return f"version {self.number}"
