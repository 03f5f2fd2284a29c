"""Who is served: tenants, the teams within them, and what one tenant lets another see."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from orchestrator.models.policy import PolicyQuerySet
from orchestrator.models.scoped import ScopedPolicyQuerySet


class Tenant(models.Model):
    """A customer, team or household; nothing is shared between two of them, unless a grant says so."""

    name = models.SlugField(unique=True)
    priority = models.PositiveSmallIntegerField(
        default=5,
        validators=(MinValueValidator(1), MaxValueValidator(10)),
        help_text="1 to 10: its share when more is asked than can be answered; 10 gets ten times what 1 gets.",
    )
    suspended_at = models.DateTimeField(null=True, blank=True, help_text="None of its keys works since then.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = PolicyQuerySet.as_manager()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Team(models.Model):
    """Some of a tenant's keys, for limits and accounts of their own."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="teams")
    name = models.SlugField()
    created_at = models.DateTimeField(auto_now_add=True)

    rows = PolicyQuerySet.as_manager()
    objects = ScopedPolicyQuerySet.as_manager()

    class Meta:
        ordering = ("tenant", "name")
        constraints = (models.UniqueConstraint(fields=("tenant", "name"), name="team_name"),)

    def __str__(self) -> str:
        return f"{self.tenant}/{self.name}"


class Grant(models.Model):
    """One tenant lets another be answered from its cache; never the other way round, and nothing else."""

    owner = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="grants_given")
    reader = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="grants_received")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = PolicyQuerySet.as_manager()

    class Meta:
        ordering = ("owner", "reader")
        constraints = (
            models.UniqueConstraint(fields=("owner", "reader"), name="grant_once"),
            models.CheckConstraint(condition=~models.Q(owner=models.F("reader")), name="grant_to_another"),
        )

    def __str__(self) -> str:
        return f"{self.reader} may read {self.owner}'s answers"
