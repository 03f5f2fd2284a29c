"""The pages under /dashboard/."""

from django.urls import URLPattern, path, re_path, register_converter
from django.urls.converters import StringConverter

from dashboard.sign_in import SignIn, code, redeem, sign_out
from dashboard.views import (
    audit,
    budgets,
    invoices,
    keys,
    limits,
    models,
    people,
    requests,
    rule_editor,
    rules,
    tenants,
)
from dashboard.views.account import account, sign_out_elsewhere, two_factor
from dashboard.views.cache import cache, purge
from dashboard.views.costs import charges_csv, costs, costs_csv, prices
from dashboard.views.going import go
from dashboard.views.overview import overview, series_csv
from dashboard.views.playground import ask, playground
from dashboard.views.providers import again, provider, providers, switched, test
from dashboard.views.rule_results import rule_results
from dashboard.views.settings import doctor, settings


class Anything(StringConverter):
    """A name that callers make up: also with slashes and ends of lines."""

    regex = r"[\s\S]+"


register_converter(Anything, "anything")

app_name = "dashboard"
urlpatterns: list[URLPattern] = [
    path("", overview, name="overview"),
    path("series.csv", series_csv, name="series-csv"),
    path("go/", go, name="go"),
    path("requests/", requests.requests, name="requests"),
    path("requests/requests.csv", requests.requests_csv, name="requests-csv"),
    path("requests/<int:number>/", requests.request, name="request"),
    path("requests/<int:number>/judged/", requests.judged, name="request-judged"),
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
    path("routing/", rules.rules, name="rules"),
    path("routing/act/", rules.act, name="rules-act"),
    path("routing/publish/", rules.publish, name="rules-publish"),
    path("routing/versions/<int:number>/", rules.version, name="rules-version"),
    path("routing/versions/<int:number>/restore/", rules.restore, name="rules-restore"),
    path("routing/results/", rule_results, name="rules-results"),
    path("routing/new/", rule_editor.new, name="rule-new"),
    path("routing/part/", rule_editor.part, name="rule-part"),
    path("routing/rules/<path:name>/", rule_editor.rule, name="rule"),
    path("providers/", providers, name="providers"),
    path("providers/<slug:name>/", provider, name="provider"),
    path("providers/<slug:name>/test/", test, name="provider-test"),
    path("providers/<slug:name>/again/", again, name="provider-again"),
    re_path(r"^providers/(?P<name>[-a-z0-9]+)/switch/(?P<to>on|off)/$", switched, name="provider-switch"),
    path("models/", models.models, name="models"),
    path("models/act/", models.act, name="models-act"),
    path("models/of/<anything:name>/", models.model, name="model"),
    path("keys/", keys.keys, name="keys"),
    path("keys/new/", keys.new, name="key-new"),
    path("keys/find/", keys.find, name="key-find"),
    path("keys/budgets/", budgets.budgets, name="budgets"),
    path("keys/budgets/new/", budgets.new, name="budget-new"),
    path("keys/budgets/<int:number>/", budgets.budget, name="budget"),
    path("keys/budgets/<int:number>/change/", budgets.change, name="budget-change"),
    path("keys/budgets/<int:number>/delete/", budgets.delete, name="budget-delete"),
    path("keys/limits/new/", limits.new, name="limit-new"),
    path("keys/limits/<int:number>/", limits.limit, name="limit"),
    path("keys/limits/<int:number>/delete/", limits.delete, name="limit-delete"),
    path("keys/tenants/new/", tenants.make, name="tenant-new"),
    path("keys/tenants/<int:number>/", tenants.tenant, name="tenant"),
    path("keys/tenants/<int:number>/teams/", tenants.team, name="team-new"),
    path("keys/tenants/<int:number>/switch/", tenants.switch, name="tenant-switch"),
    path("keys/<int:number>/", keys.key, name="key"),
    path("keys/<int:number>/rotate/", keys.rotate, name="key-rotate"),
    path("keys/<int:number>/revoke/", keys.revoke, name="key-revoke"),
    path("audit/", audit.audit, name="audit"),
    path("audit/audit.csv", audit.audit_csv, name="audit-csv"),
    path("audit/verify/", audit.verify, name="audit-verify"),
    path("audit/<int:number>/", audit.event, name="audit-event"),
    path("playground/", playground, name="playground"),
    path("playground/ask/", ask, name="playground-ask"),
    path("settings/", settings, name="settings"),
    path("settings/doctor/", doctor, name="doctor"),
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
