"""Who may ask, how much, and what was asked."""

from orchestrator.models.audit import AuditEvent, AuditHead
from orchestrator.models.keys import ApiKey, SignInLink
from orchestrator.models.limits import Limit
from orchestrator.models.money import (
    Budget,
    BudgetAlert,
    BudgetPeriod,
    Charge,
    Hold,
    HoldLine,
    ImportedUsage,
    PriceRow,
    SpendDay,
    UsageImport,
)
from orchestrator.models.people import Membership
from orchestrator.models.policy import PolicyQuerySet, policy_updated
from orchestrator.models.records import Attempt, RequestRecord
from orchestrator.models.scoped import Unscoped
from orchestrator.models.sign_in import RecoveryCode, SecondFactor, SignInAttempts
from orchestrator.models.tenants import Grant, Team, Tenant

__all__ = [
    "ApiKey",
    "Attempt",
    "AuditEvent",
    "AuditHead",
    "Budget",
    "BudgetAlert",
    "BudgetPeriod",
    "Charge",
    "Grant",
    "Hold",
    "HoldLine",
    "ImportedUsage",
    "Limit",
    "Membership",
    "PolicyQuerySet",
    "PriceRow",
    "RecoveryCode",
    "RequestRecord",
    "SecondFactor",
    "SignInAttempts",
    "SignInLink",
    "SpendDay",
    "Team",
    "Tenant",
    "Unscoped",
    "UsageImport",
    "policy_updated",
]
