"""What each tenant keeps is counted as it changes, and its oldest answers are found in an index."""

from django.db import migrations, models

_ADD = (
    "INSERT INTO cache_tenantholding (tenant_id, entries, bytes) VALUES (new.tenant_id, 1, new.size)"
    " ON CONFLICT (tenant_id) DO UPDATE SET entries = entries + 1, bytes = bytes + excluded.bytes;"
)
_TAKE = (
    "UPDATE cache_tenantholding SET entries = entries - 1, bytes = bytes - old.size WHERE tenant_id = old.tenant_id;"
)
_TRIGGERS = {
    "cache_holding_added": f"AFTER INSERT ON cache_cacheentry BEGIN {_ADD} END",
    "cache_holding_taken": f"AFTER DELETE ON cache_cacheentry BEGIN {_TAKE} END",
    "cache_holding_changed": f"AFTER UPDATE OF size, tenant_id ON cache_cacheentry BEGIN {_TAKE} {_ADD} END",
}
_COUNT = (
    "INSERT INTO cache_tenantholding (tenant_id, entries, bytes)"
    " SELECT tenant_id, count(*), sum(size) FROM cache_cacheentry GROUP BY tenant_id"
)


class Migration(migrations.Migration):
    dependencies = [("cache", "0003_feed")]

    operations = [
        migrations.CreateModel(
            name="TenantHolding",
            fields=[
                ("tenant_id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("entries", models.BigIntegerField()),
                ("bytes", models.BigIntegerField()),
            ],
        ),
        migrations.RunSQL(_COUNT, migrations.RunSQL.noop),
        migrations.RemoveIndex(model_name="cacheentry", name="cache_by_tenant"),
        migrations.AddIndex(
            model_name="cacheentry",
            index=models.Index(fields=["tenant_id", "created_at", "size"], name="cache_by_tenant"),
        ),
        migrations.AlterModelManagers(name="cacheentry", managers=[("rows", models.Manager())]),
        # Last: a table that Django makes anew for an index has lost its triggers.
        *(
            migrations.RunSQL(f"CREATE TRIGGER {name} {what}", f"DROP TRIGGER {name}")
            for name, what in _TRIGGERS.items()
        ),
    ]
