"""Who may read what messages say, and the order of the admin's list of dead letters."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("notifier", "0011_bus_messages"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="notificationevent",
            options={"permissions": [("view_content", "Can read what messages say")]},
        ),
        AddIndexConcurrently(
            model_name="deadletter",
            index=models.Index(fields=["-created_at", "-id"], name="dead_letter_newest"),
        ),
    ]
