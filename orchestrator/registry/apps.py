"""The registry as a Django app. Its changes are watched by the main one."""

from django.apps import AppConfig


class RegistryConfig(AppConfig):
    """Names it."""

    name = "orchestrator.registry"
    label = "registry"
    verbose_name = "Models and providers"
