"""What the admin's lists are filtered and searched by."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("preferences", "0006_history_of_templates"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="suppressedaddress",
            index=models.Index(fields=["address"], name="suppressed_address_begins", opclasses=["varchar_pattern_ops"]),
        ),
        AddIndexConcurrently(
            model_name="suppressedaddress",
            index=models.Index(fields=["reason", "-id"], name="suppressed_reason"),
        ),
        AddIndexConcurrently(
            model_name="suppressedaddress",
            index=models.Index(fields=["kind", "-id"], name="suppressed_kind"),
        ),
        AddIndexConcurrently(
            model_name="user",
            index=models.Index(fields=["-id"], name="user_inactive", condition=models.Q(is_active=False)),
        ),
    ]
