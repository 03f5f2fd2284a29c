"""The pages under /dashboard/."""

from django.urls import URLPattern, path, re_path

from dashboard.sign_in import SignIn, code, redeem, sign_out
from dashboard.views import invoices, people
from dashboard.views.account import account, sign_out_elsewhere, two_factor
from dashboard.views.cache import cache, purge
from dashboard.views.costs import charges_csv, costs, costs_csv, prices
from dashboard.views.overview import overview, series_csv
from dashboard.views.providers import again, provider, providers, switched, test

app_name = "dashboard"
urlpatterns: list[URLPattern] = [
    path("", overview, name="overview"),
    path("series.csv", series_csv, name="series-csv"),
    path("cache/", cache, name="cache"),
    path("cache/purge/", purge, name="purge"),
    path("costs/", costs, name="costs"),
    path("costs/prices/", prices, name="prices"),
    path("costs/costs.csv", costs_csv, name="costs-csv"),
    path("costs/charges.csv", charges_csv, name="charges-csv"),
    path("costs/invoices/", invoices.invoices, name="invoices"),
    path("costs/invoices/import/", invoices.bring, name="invoice-import"),
    path("costs/invoices/<int:number>/", invoices.invoice, name="invoice"),
    path("costs/invoices/<int:number>/differences.csv", invoices.invoice_csv, name="invoice-csv"),
    path("costs/invoices/<int:number>/delete/", invoices.delete, name="invoice-delete"),
    path("providers/", providers, name="providers"),
    path("providers/<slug:name>/", provider, name="provider"),
    path("providers/<slug:name>/test/", test, name="provider-test"),
    path("providers/<slug:name>/again/", again, name="provider-again"),
    re_path(r"^providers/(?P<name>[-a-z0-9]+)/switch/(?P<to>on|off)/$", switched, name="provider-switch"),
    path("people/", people.people, name="people"),
    path("people/invite/", people.invite, name="person-invite"),
    path("people/<int:number>/", people.person, name="person"),
    path("people/<int:number>/role/", people.role, name="person-role"),
    path("people/<int:number>/link/", people.link, name="person-link"),
    path("people/<int:number>/two-factor-off/", people.two_factor_off, name="person-two-factor-off"),
    path("people/<int:number>/remove/", people.remove, name="person-remove"),
    path("account/", account, name="account"),
    path("account/two-factor/", two_factor, name="two-factor"),
    path("account/sign-out-elsewhere/", sign_out_elsewhere, name="sign-out-elsewhere"),
    path("sign-in/", SignIn.as_view(), name="sign-in"),
    path("sign-in/code/", code, name="sign-in-code"),
    path("sign-in/<str:token>/", redeem, name="sign-in-link"),
    path("sign-out/", sign_out, name="sign-out"),
]
