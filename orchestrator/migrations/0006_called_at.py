from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('orchestrator', '0005_tokens'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='requestrecord',
            index=models.Index(condition=models.Q(('tier__in', ('miss', 'bypass'))), fields=['at'], name='called_at'),
        ),
    ]
