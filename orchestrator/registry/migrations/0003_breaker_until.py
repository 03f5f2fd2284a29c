from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('registry', '0002_check_since'),
    ]

    operations = [
        migrations.AddField(
            model_name='openbreaker',
            name='until',
            field=models.DateTimeField(help_text='When a pause ends that it asked for. Empty: its breaker is open.', null=True),
        ),
    ]
