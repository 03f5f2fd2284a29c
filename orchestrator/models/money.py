"""What calls cost, what they may cost, and by which prices.

Amounts are millionths of a US dollar, in whole numbers. What the ledger writes has no foreign keys: a charge is
written whatever became of its key or tenant meanwhile.
"""

from typing import cast

from django.db import models

from orchestrator.core import budgets
from orchestrator.core.budgets import EACH_OF, PERIODS
from orchestrator.core.dollars import dollars
from orchestrator.models.keys import ApiKey
from orchestrator.models.policy import PolicyQuerySet
from orchestrator.models.scoped import ScopedQuerySet
from orchestrator.models.tenants import Team, Tenant


class PriceRow(models.Model):
    """A price. Rows are added, and what one says is never changed: what was charged by it can be reckoned again."""

    provider = models.CharField(max_length=40)
    model = models.CharField(max_length=255, help_text="As the provider calls it.")
    source = models.CharField(max_length=64, help_text="operator, list, or the table and its edition.")
    digest = models.CharField(max_length=64, unique=True, help_text="Of all that it says.")
    rates = models.JSONField(help_text="Dollars for a million tokens, as text; the rates of long questions as well.")
    first_used_at = models.DateTimeField()
    last_used_at = models.DateTimeField(
        null=True, help_text="When a call came that was charged by it or spared, to a minute; empty: none did yet."
    )

    class Meta:
        ordering = ("-id",)
        verbose_name = "price"

    def __str__(self) -> str:
        return f"{self.provider}/{self.model} by {self.source}"


class Charge(models.Model):
    """What one asking of a provider cost, whether it was the one that answered or not."""

    class Source(models.TextChoices):
        """Who says what it cost."""

        TOLD = "told", "the provider"
        PRICE = "price", "its price"
        RESERVED = "reserved", "what was reserved, since nobody knows"
        UNKNOWN = "unknown", "nobody"

    class Doubt(models.TextChoices):
        """What there is to be doubted of what the provider said. It is charged as said."""

        COUNTS = "counts", "more tokens than it was sent and sent back can be"
        NOTHING = "nothing", "it cost nothing, where its price says otherwise"

    hold = models.CharField(max_length=32, unique=True, help_text="What was reserved for it went by this name.")
    request_id = models.CharField(max_length=64, db_index=True)
    at = models.DateTimeField(
        db_index=True, help_text="When the request came: it counts in the periods of that moment."
    )
    tenant_id = models.PositiveBigIntegerField()
    key_id = models.PositiveBigIntegerField(null=True)
    team_id = models.PositiveBigIntegerField(null=True)
    provider = models.CharField(max_length=40)
    model = models.CharField(max_length=255, help_text="By its full name.")
    purpose = models.CharField(max_length=16, help_text="answer, or what else it was for.")
    outcome = models.CharField(max_length=32, help_text="done, cut, cancelled, lost, or the kind of error.")
    prompt_tokens = models.PositiveBigIntegerField()
    completion_tokens = models.PositiveBigIntegerField()
    cached_tokens = models.PositiveBigIntegerField(help_text="Of the question's: read from the provider's cache.")
    cache_write_tokens = models.PositiveBigIntegerField(help_text="Of the question's: written there.")
    cache_write_1h_tokens = models.PositiveBigIntegerField(help_text="Of those: kept for an hour.")
    reasoning_tokens = models.PositiveBigIntegerField(help_text="Of the answer's: thought and not shown.")
    is_estimated = models.BooleanField(help_text="Not all of the tokens were counted by who had them.")
    cost_microusd = models.BigIntegerField(null=True, help_text="Millionths of a US dollar; empty when unknown.")
    source = models.CharField(max_length=16, choices=Source.choices)
    doubt = models.CharField(
        max_length=16, choices=Doubt.choices, blank=True, default="", db_default="", help_text="Of what was told."
    )
    price_id = models.PositiveBigIntegerField(null=True, help_text="The price in force then, where one was known.")
    provider_ref = models.CharField(max_length=128, blank=True, help_text="What the provider calls this call.")
    tags = models.CharField(max_length=2200, blank=True)

    rows = models.Manager["Charge"]()
    objects = ScopedQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=("tenant_id", "at"), name="charge_of_tenant"),
            models.Index(fields=("provider_ref",), name="charge_by_ref"),
            models.Index(
                fields=("provider", "at", "model", "is_estimated"),
                condition=models.Q(is_estimated=True),
                name="charge_estimated",
            ),
        )

    def __str__(self) -> str:
        return f"{self.model}: {self.cost_microusd}"


class Hold(models.Model):
    """What is reserved for a call under way. It goes when the call is charged, or is charged when its process dies."""

    id = models.CharField(max_length=32, primary_key=True)
    holder = models.CharField(max_length=64, db_index=True, help_text="The process that makes the call.")
    at = models.DateTimeField()
    amount_microusd = models.BigIntegerField(null=True, help_text="Empty: no price is known.")
    call = models.JSONField(help_text="What its charge will say of it: whose it is, where it goes, by which price.")

    def __str__(self) -> str:
        return self.id


class HoldLine(models.Model):
    """A budget that a hold counts against."""

    hold_id = models.CharField(max_length=32, db_index=True)
    budget_id = models.PositiveBigIntegerField()
    under = models.CharField(max_length=255)
    begins = models.DateField()
    amount_microusd = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.hold_id} of budget {self.budget_id}"


class Budget(models.Model):
    """Up to an amount of money in a period, for each key, team, tenant, model, provider, or for all together.

    It is about calls that match every field that is set.
    """

    name = models.SlugField(unique=True)
    period = models.CharField(max_length=8, choices=[(period, period) for period in PERIODS])
    each = models.CharField(
        max_length=16, choices=[(each, each) for each in EACH_OF], help_text="What is counted apart."
    )
    amount_microusd = models.PositiveBigIntegerField()
    is_hard = models.BooleanField(default=True, help_text="What would go beyond is refused; otherwise it is only told.")
    shares = models.CharField(max_length=64, default="50,80,100", help_text="Percent of it at which somebody is told.")
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.CASCADE, related_name="budgets")
    team = models.ForeignKey(Team, null=True, blank=True, on_delete=models.CASCADE, related_name="budgets")
    key = models.ForeignKey(ApiKey, null=True, blank=True, on_delete=models.CASCADE, related_name="budgets")
    model = models.CharField(max_length=255, blank=True, default="", help_text="A pattern: openai/*. Empty: any.")
    provider = models.CharField(max_length=40, blank=True, default="", help_text="Empty: any.")
    is_off = models.BooleanField(default=False)
    is_given = models.BooleanField(
        default=False, editable=False, help_text="By who manages every tenant; nobody else changes it."
    )

    objects = PolicyQuerySet.as_manager()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return f"{self.name}: {dollars(self.amount_microusd)} USD, {self.period}, {self.each}"

    @property
    def rule(self) -> budgets.Budget:
        """As calls are counted by it."""
        return budgets.Budget(
            id=self.pk,
            name=self.name,
            period=cast(budgets.Period, self.period),
            each=cast(budgets.EachOf, self.each),
            amount=self.amount_microusd,
            is_hard=self.is_hard,
            shares=tuple(map(int, filter(None, self.shares.split(",")))),
            model=self.model,
            provider=self.provider,
            is_common=self.tenant_id is None,
        )


class BudgetPeriod(models.Model):
    """How far a budget is used in one of its periods, for one of what it counts apart.

    Spent, reserved and free make the amount. The ledger writes it by SQL and tells nobody: it changes with every call.
    """

    budget_id = models.PositiveBigIntegerField()
    under = models.CharField(max_length=255, help_text="Which key, team, tenant, model or provider; empty for all.")
    begins = models.DateField(help_text="Its first day, in UTC.")
    spent_microusd = models.BigIntegerField(default=0)
    reserved_microusd = models.BigIntegerField(default=0)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("budget_id", "under", "begins"), name="one_row_a_period"),)
        indexes = (models.Index(fields=("begins",), name="budget_of_period"),)

    def __str__(self) -> str:
        return f"budget {self.budget_id} {self.under} from {self.begins}"


class BudgetAlert(models.Model):
    """A share of a budget that was reached. One row for each, however many processes saw it."""

    budget_id = models.PositiveBigIntegerField()
    under = models.CharField(max_length=255)
    begins = models.DateField()
    share = models.PositiveSmallIntegerField(help_text="Percent.")
    at = models.DateTimeField()
    spent_microusd = models.BigIntegerField()
    told_at = models.DateTimeField(null=True, help_text="When it was logged, and taken where alerts are sent.")
    tries = models.PositiveSmallIntegerField(db_default=0, help_text="How often it was begun to tell.")
    again_at = models.DateTimeField(null=True, help_text="When it is tried again.")

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("budget_id", "under", "begins", "share"), name="one_alert_a_share"),
        )
        indexes = (models.Index(fields=("tries",), name="alert_to_tell", condition=models.Q(told_at=None)),)

    def __str__(self) -> str:
        return f"budget {self.budget_id} {self.under} from {self.begins}: {self.share} %"


class SpendDay(models.Model):
    """What was spent and saved in a day, by whom and where. Kept for good, when the records are gone."""

    day = models.DateField()
    tenant_id = models.PositiveBigIntegerField()
    key_id = models.PositiveBigIntegerField(default=0, help_text="0: without a key.")
    provider = models.CharField(max_length=40)
    model = models.CharField(max_length=255)
    calls = models.PositiveBigIntegerField(default=0, help_text="Askings that were charged, or may have been.")
    unpriced = models.PositiveBigIntegerField(default=0, help_text="Of them: nobody knows what they cost.")
    prompt_tokens = models.PositiveBigIntegerField(default=0)
    completion_tokens = models.PositiveBigIntegerField(default=0)
    cached_tokens = models.PositiveBigIntegerField(default=0)
    cache_write_tokens = models.PositiveBigIntegerField(default=0)
    cost_microusd = models.BigIntegerField(default=0)
    saved_calls = models.PositiveBigIntegerField(default=0, help_text="Calls that would have been, but for the cache.")
    saved_microusd = models.BigIntegerField(default=0)

    rows = models.Manager["SpendDay"]()
    objects = ScopedQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("day", "tenant_id", "key_id", "provider", "model"), name="one_row_a_day"),
        )
        indexes = (models.Index(fields=("tenant_id", "day"), name="spend_of_tenant"),)

    def __str__(self) -> str:
        return f"{self.day}: {self.model}"


class UsageImport(models.Model):
    """A provider's own account of what was used, as it was read from a file."""

    provider = models.CharField(max_length=40)
    form = models.CharField(max_length=32, help_text="Whose export it is.")
    name = models.CharField(max_length=255, help_text="Of the file.")
    digest = models.CharField(max_length=64, unique=True, help_text="Of its content.")
    at = models.DateTimeField(help_text="When it was read.")
    by = models.CharField(max_length=255)
    first_day = models.DateField()
    last_day = models.DateField()

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.provider}, {self.first_day} to {self.last_day}"


class ImportedUsage(models.Model):
    """A line of it, for a day and a model."""

    of = models.ForeignKey(UsageImport, on_delete=models.CASCADE, related_name="lines")
    line = models.PositiveIntegerField(help_text="Its number in the file.")
    day = models.DateField(db_index=True)
    model = models.CharField(max_length=255, help_text="As the provider writes it.")
    kind = models.CharField(max_length=16, help_text="all, input, output, cache_read, cache_write, other.")
    ref = models.CharField(max_length=128, blank=True, help_text="What the provider calls the call, where it is one's.")
    requests = models.PositiveBigIntegerField(null=True)
    prompt_tokens = models.PositiveBigIntegerField(null=True)
    completion_tokens = models.PositiveBigIntegerField(null=True)
    cached_tokens = models.PositiveBigIntegerField(null=True)
    cache_write_tokens = models.PositiveBigIntegerField(null=True)
    cost_usd = models.CharField(
        max_length=48, blank=True, default="", help_text="A decimal number, with every digit; empty: it tells none."
    )

    def __str__(self) -> str:
        return f"{self.day}: {self.model}, {self.kind}"
