"""The websocket table of the pages. `orchestrator.asgi` puts the session and the origin check around it."""

from django.urls import path

from dashboard.consumers import LiveConsumer

websocket_urlpatterns = [path("dashboard/live/", LiveConsumer.as_asgi(), name="live")]
