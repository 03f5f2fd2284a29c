"""The pages under /dashboard/."""

from django.urls import URLPattern, path

from dashboard import views
from dashboard.sign_in import SignIn, redeem, sign_out

app_name = "dashboard"
urlpatterns: list[URLPattern] = [
    path("", views.overview, name="overview"),
    path("series.csv", views.series_csv, name="series-csv"),
    path("cache/", views.cache, name="cache"),
    path("cache/purge/", views.purge, name="purge"),
    path("sign-in/", SignIn.as_view(), name="sign-in"),
    path("sign-in/<str:token>/", redeem, name="sign-in-link"),
    path("sign-out/", sign_out, name="sign-out"),
]
