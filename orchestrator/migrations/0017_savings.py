"""What a column of a saving says. Nothing of a table changes."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orchestrator", "0016_invoices")]
    operations = [
        migrations.AlterField(
            model_name="requestrecord",
            name="saved_why",
            field=models.CharField(
                help_text="By what it was reckoned: price, charge, free or unknown; empty: a call.",
                max_length=16,
                null=True,
            ),
        ),
    ]
