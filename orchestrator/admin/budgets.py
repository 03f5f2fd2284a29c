"""Budgets: made, changed, switched off and deleted, with how they stand; and the shares of them that were reached."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.timezone import now

from orchestrator.admin.acts import ActForm, Acts
from orchestrator.admin.seen import Reached, Seen
from orchestrator.budgeting import alerts, rows, standing
from orchestrator.core.dollars import MICRO, dollars
from orchestrator.core.numbers import whole
from orchestrator.core.permissions import Permission
from orchestrator.identity.asked import BudgetAsked, BudgetChange, read
from orchestrator.models import Budget, BudgetAlert

WHAT_STAYS = ("name", "period", "each", "tenant", "team", "key", "model", "provider")


class BudgetForm(ActForm):
    """A budget. What it counts, whose and when it is renewed, stays."""

    changeable = ("amount_usd", "is_hard", "shares", "is_off")
    amount_usd = forms.DecimalField(
        label="Amount", min_value=Decimal("0.000001"), decimal_places=6, max_digits=16, help_text="US dollars."
    )

    class Meta:
        model = Budget
        fields = ("name", "period", "each", "is_hard", "shares", "tenant", "team", "key", "model", "provider", "is_off")
        labels = {"is_hard": "Refuses what would go beyond", "is_off": "Switched off"}  # noqa: RUF012  # read only
        help_texts = {"is_hard": "Otherwise it is only told."}  # noqa: RUF012  # read only

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["shares"].required = False
        if self.instance.pk is not None:
            self.initial["amount_usd"] = dollars(self.instance.amount_microusd)

    def clean_shares(self) -> list[int | str]:
        """Numbers, parted by commas. What is none, is told by whoever reads it."""
        parts = [part.strip() for part in self.cleaned_data["shares"].split(",") if part.strip()]
        return [part if (number := whole(part)) is None else number for part in parts]

    def look(self) -> None:
        """Sum up what its period has cost."""
        if self.instance.pk is None:
            self.before = rows.sum_before_made(self.by, self._asked())
        else:
            self.before = rows.sum_before_changed(self.by, self.instance.name, self._change())

    def act(self) -> Budget:
        """Make or change it."""
        if self.instance.pk is None:
            return rows.make(self.by, self._asked(), self.before)
        return rows.change(self.by, self.instance.name, self._change(), self.before)

    def _change(self) -> BudgetChange:
        return read(BudgetChange, self.changed(self._fields()))

    def _asked(self) -> BudgetAsked:
        values = self.cleaned_data
        whose = {
            "tenant": values["tenant"] and values["tenant"].name,
            "team": values["team"] and values["team"].name,
            "key": values["key"] and values["key"].prefix,
        }
        if values["team"] and not values["tenant"]:
            whose["tenant"] = values["team"].tenant.name
        what = {field: values[field] for field in ("name", "period", "each", "model", "provider")}
        return read(BudgetAsked, self._fields() | whose | what)

    def _fields(self) -> dict[str, Any]:
        """What can be changed."""
        values = self.cleaned_data
        fields = {field: values[field] for field in ("is_hard", "shares", "is_off")}
        return fields | {"amount_usd": dollars(int(values["amount_usd"] * MICRO))}


@admin.register(Budget)
class BudgetAdmin(Acts):
    """How much may be spent."""

    sees = Permission.SEE_BUDGETS
    changes = Permission.CHANGE_BUDGETS
    explanation = "How much may be spent. A call has to be within every budget that is about it."
    form = BudgetForm
    list_display = ("name", "amount", "period", "each", "about", "used", "left", "at_this_pace", "is_on")
    list_filter = ("period", "each", "is_hard", "is_off", ("tenant", Reached))
    list_select_related = ("tenant", "team__tenant", "key")
    search_fields = ("name", "tenant__name", "team__name", "key__prefix", "model", "provider")
    raw_id_fields = ("key",)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The amount where one looks for it; how it stands, once there is something."""
        name, *rest = BudgetForm.Meta.fields
        return (name, "amount_usd", *rest, *(("used", "left", "at_this_pace") if obj else ()))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Another period, or of somebody else, is another budget."""
        return (*WHAT_STAYS, "used", "left", "at_this_pace") if obj else ()

    @admin.display(description="US dollars", ordering="amount_microusd")
    def amount(self, budget: Budget) -> str:
        """With two digits after the point at the least."""
        return dollars(budget.amount_microusd)

    @admin.display(description="about")
    def about(self, budget: Budget) -> str:
        """Every field that is set."""
        whose = budget.key or budget.team or budget.tenant
        return ", ".join(str(one) for one in (whose, budget.model, budget.provider) if one) or "everything"

    @admin.display(description="used")
    def used(self, budget: Budget) -> str:
        """Where it is used most."""
        most = self._most(budget)
        return (
            f"{most.share} %, {dollars(most.spent + most.others_spent)} spent"
            f" and {dollars(most.reserved + most.others_reserved)} reserved"
            if most
            else "–"
        )

    @admin.display(description="left")
    def left(self, budget: Budget) -> str:
        """Where it is used most."""
        most = self._most(budget)
        return dollars(most.free if most else budget.amount_microusd)

    @admin.display(description="at this pace")
    def at_this_pace(self, budget: Budget) -> str:
        """What will be spent at the end of the period."""
        most = self._most(budget)
        comes_to = standing.pace(budget, most.spent + most.others_spent, now()) if most else None
        return "–" if comes_to is None else dollars(comes_to)

    @admin.display(description="state", ordering="is_off")
    def is_on(self, budget: Budget) -> str:
        """In words: Django's cross would look like a fault."""
        return "off" if budget.is_off else "on" if budget.is_hard else "on, only told"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With how each stands: a list asks once for all of them."""
        return standing.with_most_used(super().get_queryset(request), now())

    def _most(self, budget: Any) -> standing.Standing | None:
        return standing.of_most(budget)

    def delete_model(self, request: HttpRequest, obj: Budget) -> None:
        """For good; to lift it for a while it is switched off."""
        rows.delete(self.by(request), obj.name)


class InWords(ChangeList):
    """A list of alerts, each in words."""

    def get_results(self, request: HttpRequest) -> None:
        """The rows of the page."""
        super().get_results(request)
        words = {told["number"]: alerts.in_words(told) for told in alerts.shown(self.result_list)}
        for alert in self.result_list:
            alert.words = words.get(alert.pk, "Its budget is gone")


@admin.register(BudgetAlert)
class BudgetAlertAdmin(Seen):
    """Shares that were reached."""

    sees = Permission.SEE_BUDGETS
    explanation = "Shares of budgets that were reached, newest first."
    list_display = ("at", "in_words", "told_at", "tries")
    list_display_links = None
    ordering = ("-id",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Those of budgets they may see."""
        found: QuerySet[Any] = alerts.alerts(self.by(request))
        return found

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """With the words for its rows."""
        return InWords

    @admin.display(description="what")
    def in_words(self, alert: Any) -> str:
        """As the log has it."""
        return str(alert.words)
