"""What is to be doubted of what a provider said of a call."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("orchestrator", "0012_money"),)

    operations = (
        migrations.AddField(
            model_name="charge",
            name="doubt",
            field=models.CharField(
                blank=True,
                choices=[
                    ("counts", "more tokens than it was sent and sent back can be"),
                    ("nothing", "it cost nothing, where its price says otherwise"),
                ],
                db_default="",
                default="",
                help_text="Of what was told.",
                max_length=16,
            ),
        ),
    )
