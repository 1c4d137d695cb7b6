"""The inbox grows as fast as the ledger: see notifier's migration of the same name."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("notifier_channels", "0003_name_the_providers_page"),
    ]

    operations = [
        migrations.RunSQL(
            """
            ALTER TABLE notifier_channels_inboxmessage SET (
                autovacuum_vacuum_scale_factor = 0.01,
                autovacuum_vacuum_insert_scale_factor = 0.05,
                autovacuum_analyze_scale_factor = 0.02)
            """,
            """
            ALTER TABLE notifier_channels_inboxmessage RESET (
                autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor, autovacuum_analyze_scale_factor)
            """,
        )
    ]
