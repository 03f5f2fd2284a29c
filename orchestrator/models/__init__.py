"""Who may ask, how much, and what was asked."""

from orchestrator.models.audit import AuditEvent, AuditHead
from orchestrator.models.decisions import AnswerOutcome, RouteDecision, RouterState, ShadowRun, UnreadGrades
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
from orchestrator.models.rollups import Rollup, RollupMark
from orchestrator.models.scoped import Unscoped
from orchestrator.models.shares import Machine, Share, ShareElsewhere
from orchestrator.models.sign_in import RecoveryCode, SecondFactor, SignInAttempts
from orchestrator.models.tenants import Grant, Team, Tenant

__all__ = [
    "AnswerOutcome",
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
    "Machine",
    "Membership",
    "PolicyQuerySet",
    "PriceRow",
    "RecoveryCode",
    "RequestRecord",
    "Rollup",
    "RollupMark",
    "RouteDecision",
    "RouterState",
    "SecondFactor",
    "ShadowRun",
    "Share",
    "ShareElsewhere",
    "SignInAttempts",
    "SignInLink",
    "SpendDay",
    "Team",
    "Tenant",
    "UnreadGrades",
    "Unscoped",
    "UsageImport",
    "policy_updated",
]
