"""The HTTP table: pages first, then the API.

In production the API's paths never come here (`orchestrator.asgi`), and the pages' door answers none of them: they are
listed for Django's own tools.
"""

from django.contrib import admin
from django.urls import include, path

from orchestrator.api.table import api

admin.autodiscover()
urlpatterns = [
    path("dashboard/", include("dashboard.urls")),
    path("admin/", admin.site.urls),
    path("", api.urls),
]
