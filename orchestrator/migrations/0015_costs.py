"""A tenant's days are found without reading everybody's."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orchestrator", "0014_budgets"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="spendday",
            index=models.Index(fields=["tenant_id", "day"], name="spend_of_tenant"),
        ),
    ]
