"""What waits for a pause's end is found by an index of its own: built without a lock, as deliveries are many."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("notifier", "0012_switches")]

    operations = [
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(
                fields=["channel"],
                name="delivery_paused",
                condition=models.Q(("hold_reason", "PAUSED"), ("status", "QUEUED")),
            ),
        ),
    ]
