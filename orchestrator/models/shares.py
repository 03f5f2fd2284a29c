"""Budgets that several machines spend together, by way of a Redis: who they are, and which share of each is whose.

The ledger writes these by SQL and tells nobody, as it does what is spent.
"""

from django.db import models


class Machine(models.Model):
    """A machine that spends the same budgets, or rather its ledger."""

    class Gone(models.TextChoices):
        """What was said of one that does not come back."""

        LOST = "lost", "lost: what it is known to have spent stays counted"
        MOVED = "moved", "moved: what it spent is counted where its ledger is now"

    name = models.CharField(max_length=32, unique=True, help_text="Made up at random when its ledger first was shared.")
    label = models.CharField(max_length=255, blank=True, help_text="Its host name, for people.")
    is_own = models.BooleanField(default=False, help_text="It is this one.")
    gone = models.CharField(max_length=8, choices=Gone.choices, blank=True, default="")
    life = models.CharField(
        max_length=32, blank=True, default="", help_text="This one's: of what Redis remembers, for which shares count."
    )
    file = models.CharField(
        max_length=64, blank=True, default="", help_text="This one's: the file of its ledger. Another is a copy."
    )
    seen_at = models.DateTimeField(null=True, help_text="When Redis heard of it last.")

    class Meta:
        ordering = ("label", "name")

    def __str__(self) -> str:
        return f"{self.label or 'a machine'} ({self.name})"


class Share(models.Model):
    """How much of a budget this machine may spend in one of its periods: spent, reserved and free make it."""

    budget_id = models.PositiveBigIntegerField()
    under = models.CharField(max_length=255)
    begins = models.DateField()
    granted_microusd = models.BigIntegerField(default=0)
    number = models.PositiveBigIntegerField(
        default=0, help_text="Of what was said of it last, in the life of its machine: what is older does not count."
    )

    class Meta:
        constraints = (models.UniqueConstraint(fields=("budget_id", "under", "begins"), name="one_share_a_period"),)
        indexes = (models.Index(fields=("begins",), name="share_of_period"),)

    def __str__(self) -> str:
        return f"{self.granted_microusd} of budget {self.budget_id} {self.under} from {self.begins}"


class ShareElsewhere(models.Model):
    """What was heard last of another machine's share."""

    machine = models.CharField(max_length=32)
    budget_id = models.PositiveBigIntegerField()
    under = models.CharField(max_length=255)
    begins = models.DateField()
    amount_microusd = models.BigIntegerField(null=True, help_text="Of the budget, as it is stated there.")
    granted_microusd = models.BigIntegerField()
    spent_microusd = models.BigIntegerField()
    reserved_microusd = models.BigIntegerField()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("budget_id", "under", "begins", "machine"), name="one_share_a_period_elsewhere"
            ),
        )

    def __str__(self) -> str:
        return f"{self.granted_microusd} of budget {self.budget_id} {self.under} at {self.machine}"
