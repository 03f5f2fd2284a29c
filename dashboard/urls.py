"""The pages under /dashboard/."""

from django.urls import URLPattern, path

from dashboard.sign_in import SignIn, redeem, sign_out
from dashboard.views.cache import cache, purge
from dashboard.views.overview import overview, series_csv

app_name = "dashboard"
urlpatterns: list[URLPattern] = [
    path("", overview, name="overview"),
    path("series.csv", series_csv, name="series-csv"),
    path("cache/", cache, name="cache"),
    path("cache/purge/", purge, name="purge"),
    path("sign-in/", SignIn.as_view(), name="sign-in"),
    path("sign-in/<str:token>/", redeem, name="sign-in-link"),
    path("sign-out/", sign_out, name="sign-out"),
]
