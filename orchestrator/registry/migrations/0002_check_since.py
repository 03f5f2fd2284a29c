from datetime import UTC, datetime

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('registry', '0001_first'),
    ]

    operations = [
        migrations.AddField(
            model_name='providercheck',
            name='listed',
            field=models.PositiveIntegerField(help_text='How many models it lists.', null=True),
        ),
        migrations.AddField(
            model_name='providercheck',
            name='since',
            field=models.DateTimeField(default=datetime(2000, 1, 1, tzinfo=UTC), help_text='When it was first seen to be so; it was in every look since.'),
            preserve_default=False,
        ),
    ]
