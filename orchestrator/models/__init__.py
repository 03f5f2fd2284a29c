"""Who may ask, how much, and what was asked."""

from orchestrator.models.audit import AuditEvent
from orchestrator.models.keys import ApiKey, SignInLink
from orchestrator.models.limits import Limit
from orchestrator.models.people import Membership
from orchestrator.models.policy import PolicyQuerySet, policy_updated
from orchestrator.models.records import Attempt, RequestRecord
from orchestrator.models.scoped import Unscoped
from orchestrator.models.tenants import Grant, Team, Tenant

__all__ = [
    "ApiKey",
    "Attempt",
    "AuditEvent",
    "Grant",
    "Limit",
    "Membership",
    "PolicyQuerySet",
    "RequestRecord",
    "SignInLink",
    "Team",
    "Tenant",
    "Unscoped",
    "policy_updated",
]
