"""The registry as a Django app."""

from django.apps import AppConfig


class RegistryConfig(AppConfig):
    """Has its tables notice changes."""

    name = "orchestrator.registry"
    label = "registry"
    verbose_name = "Models and providers"

    def ready(self) -> None:
        """Called once, when all models are there."""
        from orchestrator import policy
        from orchestrator.registry.models import Deployment, Provider, RegisteredModel

        policy.watch(Provider, RegisteredModel, Deployment)
