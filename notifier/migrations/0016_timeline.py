"""Who may read what messages say."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("notifier", "0015_templates"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="notificationevent",
            options={"permissions": [("view_content", "Can read what messages say")]},
        ),
    ]
