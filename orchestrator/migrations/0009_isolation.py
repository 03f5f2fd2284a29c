"""Attempts know their tenant, and records whose answer it was."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Max, Min, OuterRef, Subquery


def find_tenants(apps: Any, schema_editor: Any) -> None:
    """Those of the requests they belong to, where one tenant alone used that id; else nobody's."""
    attempts = apps.get_model("orchestrator", "Attempt").objects.using(schema_editor.connection.alias)
    records = apps.get_model("orchestrator", "RequestRecord").objects.using(schema_editor.connection.alias)
    of_one = (
        records.filter(request_id=OuterRef("request_id"))
        .order_by()
        .values("request_id")
        .annotate(first=Min("tenant_id"), last=Max("tenant_id"))
        .filter(first=models.F("last"))
        .values("first")
    )
    attempts.update(tenant_id=Subquery(of_one))


class Migration(migrations.Migration):
    dependencies = [("orchestrator", "0009_people")]

    operations = [
        migrations.AddField(
            model_name="attempt",
            name="tenant",
            field=models.ForeignKey(
                help_text="Not to be had by the request's id: that is the caller's own word, and two tenants may use the same.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="orchestrator.tenant",
            ),
        ),
        migrations.AddField(
            model_name="requestrecord",
            name="granted_by",
            field=models.ForeignKey(
                db_index=False,
                help_text="Whose answer it was, where another tenant's.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="orchestrator.tenant",
            ),
        ),
        migrations.RunPython(find_tenants, migrations.RunPython.noop),
        # `objects` has to be told whose rows are meant; what migrates goes by `rows`.
        *(
            migrations.AlterModelManagers(name=name, managers=[("rows", models.Manager())])
            for name in ("apikey", "attempt", "auditevent", "requestrecord", "team")
        ),
    ]
