"""Versions of message templates, with a history of who published what, and which of them an attempt was rendered with.

The new column of the big table has a default that PostgreSQL keeps in its catalogue: no row is written.
"""

import django.db.models.functions.datetime
from django.db import migrations, models

TRIGGERS = """
CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON notifier_templateversion
    FOR EACH ROW EXECUTE FUNCTION preferences_note_change('TEMPLATE', '', 'source');
CREATE TRIGGER note_truncate BEFORE TRUNCATE ON notifier_templateversion
    FOR EACH STATEMENT EXECUTE FUNCTION preferences_note_change('TEMPLATE', '');
"""
NO_TRIGGERS = """
DROP TRIGGER note_change ON notifier_templateversion;
DROP TRIGGER note_truncate ON notifier_templateversion;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("preferences", "0006_history_of_templates"),
        ("notifier", "0014_alerts"),
    ]

    operations = [
        migrations.AddField(
            model_name="attempt",
            name="template",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="what it was rendered with: v12, or a file's hash",
                max_length=16,
            ),
        ),
        migrations.CreateModel(
            name="TemplateVersion",
            fields=[
                ("number", models.BigAutoField(db_column="id", primary_key=True, serialize=False)),
                ("event_type", models.CharField(max_length=64)),
                ("channel", models.CharField(max_length=32)),
                ("locale", models.CharField(max_length=16)),
                ("source", models.TextField()),
                (
                    "note",
                    models.CharField(blank=True, default="", help_text="what was changed, and why", max_length=200),
                ),
                ("author", models.CharField(help_text="username", max_length=150)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "state",
                    models.CharField(
                        choices=[("DRAFT", "Draft"), ("PUBLISHED", "Published"), ("SUPERSEDED", "Superseded")],
                        default="DRAFT",
                        max_length=10,
                    ),
                ),
                ("published_at", models.DateTimeField(help_text="the last time", null=True)),
                ("published_by", models.CharField(blank=True, default="", max_length=150)),
                (
                    "replaces",
                    models.BigIntegerField(help_text="the last good version before it; none: the file", null=True),
                ),
                ("broken_at", models.DateTimeField(help_text="it failed on a message, and does not serve", null=True)),
                ("broken_why", models.CharField(blank=True, default="", max_length=500)),
            ],
            options={
                "verbose_name": "template",
                "permissions": [("publish_template", "Can publish a template, and roll it back")],
                "indexes": [models.Index(fields=["event_type", "channel", "locale", "-number"], name="template_place")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "PUBLISHED")),
                        fields=("event_type", "channel", "locale"),
                        name="template_published",
                    )
                ],
            },
        ),
        migrations.RunSQL(TRIGGERS, NO_TRIGGERS),
    ]
