"""The app itself."""

from django.apps import AppConfig


class Orchestrator(AppConfig):
    """Registers the start-up checks, and what to notice at once."""

    name = "orchestrator"

    def ready(self) -> None:
        """Called once, when all models are there."""
        from django.contrib.auth.models import User
        from django.contrib.sessions.models import Session

        from orchestrator import policy
        from orchestrator.checks import (  # noqa: F401  # importing registers them
            exposure,
            files,
            machine,
            people,
            places,
            prices,
            rules,
            shares,
        )
        from orchestrator.models import ApiKey, Budget, Grant, Limit, Membership, Team, Tenant
        from orchestrator.registry.models import Deployment, Provider, RegisteredModel, StatedPrice
        from routing.models import RuleVersion

        policy.watch(ApiKey, Budget, Grant, Limit, Membership, Team, Tenant)
        policy.watch(Provider, RegisteredModel, Deployment, StatedPrice, RuleVersion)
        policy.watch_people(Membership, User, Session)
