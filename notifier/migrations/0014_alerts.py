import django.db.models.functions.datetime
import notifier.models
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("notifier", "0013_paused_index"),
    ]

    operations = [
        migrations.CreateModel(
            name="Alert",
            fields=[
                (
                    "id",
                    models.UUIDField(default=notifier.models.new_id, editable=False, primary_key=True, serialize=False),
                ),
                ("kind", models.CharField(help_text="the staff event type that tells of it", max_length=64)),
                (
                    "subject",
                    models.CharField(
                        help_text="CHANNEL:provider, or the id of the event that opened it", max_length=100
                    ),
                ),
                ("text", models.CharField(help_text="for people", max_length=500)),
                ("metadata", models.JSONField(default=dict, help_text="what they were told with")),
                ("level", models.SmallIntegerField(default=0, help_text="how many further groups were told")),
                ("opened_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "told_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), help_text="the last group"
                    ),
                ),
                (
                    "seen_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), help_text="it was last seen to go on"
                    ),
                ),
                ("healed_at", models.DateTimeField(null=True)),
                ("acknowledged_at", models.DateTimeField(null=True)),
                ("acknowledged_by", models.CharField(blank=True, default="", max_length=150)),
            ],
            options={
                "permissions": [("acknowledge_alert", "Can acknowledge an alert")],
                "indexes": [
                    models.Index(
                        condition=models.Q(("acknowledged_at", None), ("healed_at", None)),
                        fields=["opened_at"],
                        name="alert_open",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("healed_at", None)), fields=("kind", "subject"), name="alert_once_at_a_time"
                    )
                ],
            },
        ),
    ]
