from django.db import migrations, models


def name_the_first(apps, schema_editor):
    """Keys that were rotated before are of one line, too."""
    keys = apps.get_model("orchestrator", "ApiKey").rows
    before = dict(keys.filter(replaces__isnull=False).values_list("pk", "replaces_id"))
    for key in before:
        first = key
        while first in before:  # a key is younger than what it replaced, so this ends
            first = before[first]
        keys.filter(pk=key).update(first_id=first)


class Migration(migrations.Migration):
    dependencies = [
        ("orchestrator", "0013_bills"),
    ]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="first_id",
            field=models.PositiveBigIntegerField(
                editable=False, help_text="The first of those before it; budgets count all of them as one.", null=True
            ),
        ),
        migrations.RunPython(name_the_first, migrations.RunPython.noop),
        migrations.AddField(
            model_name="budget",
            name="is_given",
            field=models.BooleanField(
                default=False, editable=False, help_text="By who manages every tenant; nobody else changes it."
            ),
        ),
        migrations.AddField(
            model_name="budgetalert",
            name="told_at",
            field=models.DateTimeField(help_text="When it was logged, and taken where alerts are sent.", null=True),
        ),
        migrations.AddField(
            model_name="budgetalert",
            name="tries",
            field=models.PositiveSmallIntegerField(db_default=0, help_text="How often it was begun to tell."),
        ),
        migrations.AddField(
            model_name="budgetalert",
            name="again_at",
            field=models.DateTimeField(help_text="When it is tried again.", null=True),
        ),
    ]
