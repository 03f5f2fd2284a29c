"""What request records add up to, by stretches of time: what pages read in place of the records."""

from django.db import models

from orchestrator.models.scoped import ScopedQuerySet


class Rollup(models.Model):
    """A stretch of time of one tenant, or of all of them together; what was asked in it, as JSON (`ledger.tallies`)."""

    tenant_id = models.PositiveBigIntegerField(help_text="0: all tenants together.")
    length = models.PositiveIntegerField(help_text="In seconds.")
    start = models.PositiveBigIntegerField(help_text="In seconds since 1970; a multiple of the length.")
    steps = models.TextField(help_text="For a step of a chart.")
    cells = models.TextField(help_text="Counts, tokens and money by provider, tier, outcome and model.")
    times = models.TextField(help_text="How many took how long, by tier, model and provider.")

    rows = models.Manager["Rollup"]()
    objects = ScopedQuerySet.as_manager()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tenant_id", "length", "start"), name="one_rollup_a_stretch"),)

    def __str__(self) -> str:
        return f"{self.length} s from {self.start}"


class RollupMark(models.Model):
    """How far the rows of a table are in rollups: those with a higher id are not."""

    name = models.CharField(max_length=32, unique=True)
    upto = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name}: {self.upto}"
