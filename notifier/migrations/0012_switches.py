"""What operators pause, and how far a channel is brought in; with its history."""

import django.contrib.postgres.fields
import django.db.models.functions.datetime
from django.db import migrations, models


TABLES = {"notifier_pause": "PAUSE", "notifier_rollout": "ROLLOUT"}

TRIGGERS = "".join(
    f"""
CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION preferences_note_change('{kind}', '');
CREATE TRIGGER note_truncate BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION preferences_note_change('{kind}', '');
"""
    for table, kind in TABLES.items()
)
NO_TRIGGERS = "".join(
    f"DROP TRIGGER note_change ON {table}; DROP TRIGGER note_truncate ON {table};" for table in TABLES
)


class Migration(migrations.Migration):
    dependencies = [
        ("notifier", "0011_bus_messages"),
        ("preferences", "0005_switches"),
    ]

    operations = [
        migrations.CreateModel(
            name="EndedPause",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[("CHANNEL", "Channel"), ("EVENT_TYPE", "Event type"), ("PROVIDER", "Provider")],
                        max_length=10,
                    ),
                ),
                ("name", models.CharField(max_length=100)),
                ("ended_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name="Pause",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[("CHANNEL", "Channel"), ("EVENT_TYPE", "Event type"), ("PROVIDER", "Provider")],
                        max_length=10,
                    ),
                ),
                ("name", models.CharField(help_text="a channel, an event type, or CHANNEL:provider", max_length=100)),
                ("reason", models.CharField(blank=True, default="", max_length=200)),
                ("paused_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name="Rollout",
            fields=[
                ("id", models.CharField(help_text="the channel", max_length=32, primary_key=True, serialize=False)),
                (
                    "percent",
                    models.PositiveSmallIntegerField(default=0, help_text="of all recipients, always the same ones"),
                ),
                (
                    "users",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(),
                        blank=True,
                        default=list,
                        help_text="who gets it in any case",
                        size=None,
                    ),
                ),
            ],
        ),
        migrations.AlterField(
            model_name="delivery",
            name="hold_reason",
            field=models.CharField(
                blank=True,
                choices=[("", "None"), ("QUIET_HOURS", "Quiet Hours"), ("CAP", "Cap"), ("PAUSED", "Paused")],
                default="",
                max_length=16,
            ),
        ),
        migrations.AlterField(
            model_name="delivery",
            name="skip_reason",
            field=models.CharField(
                blank=True,
                choices=[
                    ("", "None"),
                    ("OPTED_OUT", "Opted Out"),
                    ("NO_ADDRESS", "No Address"),
                    ("SUPPRESSED", "Suppressed"),
                    ("SUPERSEDED", "Superseded"),
                    ("EXPIRED", "Expired"),
                    ("CHANNEL_DISABLED", "Channel Disabled"),
                    ("COUNTRY", "Country"),
                    ("STAGING", "Staging"),
                    ("ROLLOUT", "Rollout"),
                    ("ERASED", "Erased"),
                ],
                default="",
                max_length=16,
            ),
        ),
        migrations.AddConstraint(
            model_name="pause",
            constraint=models.UniqueConstraint(fields=("kind", "name"), name="pause_once"),
        ),
        migrations.AddConstraint(
            model_name="rollout",
            constraint=models.CheckConstraint(condition=models.Q(("percent__lte", 100)), name="rollout_at_most_all"),
        ),
        migrations.RunSQL(TRIGGERS, NO_TRIGGERS),
    ]
