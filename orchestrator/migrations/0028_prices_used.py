from typing import Any

from django.db import migrations, models
from django.db.models import Max


def used_by_charges(apps: Any, schema_editor: Any) -> None:
    prices = apps.get_model("orchestrator", "PriceRow").objects
    charges = apps.get_model("orchestrator", "Charge").rows
    last = charges.exclude(price_id=None).order_by().values_list("price_id").annotate(Max("at"))
    for number, at in last:
        prices.filter(pk=number).update(last_used_at=at)


class Migration(migrations.Migration):
    dependencies = [("orchestrator", "0027_estimated")]

    operations = [
        migrations.AddField(
            model_name="pricerow",
            name="last_used_at",
            field=models.DateTimeField(
                help_text="When a call came that was charged by it or spared, to a minute; empty: none did yet.",
                null=True,
            ),
        ),
        migrations.RunPython(used_by_charges, migrations.RunPython.noop),
    ]
