"""The app itself."""

from django.apps import AppConfig


class Orchestrator(AppConfig):
    """Registers the start-up checks."""

    name = "orchestrator"

    def ready(self) -> None:
        """Called once, when all models are there."""
        from orchestrator import checks  # noqa: F401  # importing registers them
