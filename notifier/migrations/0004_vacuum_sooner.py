"""Vacuum and analyse the big tables by the hundredth, not by the fifth: claims walk over what is dead (decisions.md)."""

from django.db import migrations

TABLES = ("notifier_notificationevent", "notifier_delivery", "notifier_attempt")


class Migration(migrations.Migration):
    dependencies = [
        ("notifier", "0003_replay_pace"),
    ]

    operations = [
        migrations.RunSQL(
            f"""
            ALTER TABLE {table} SET (
                autovacuum_vacuum_scale_factor = 0.01,
                autovacuum_vacuum_insert_scale_factor = 0.05,
                autovacuum_analyze_scale_factor = 0.02)
            """,
            f"""
            ALTER TABLE {table} RESET (
                autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor, autovacuum_analyze_scale_factor)
            """,
        )
        for table in TABLES
    ]
