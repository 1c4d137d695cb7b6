from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("preferences", "0005_switches"),
    ]

    operations = [
        migrations.AlterField(
            model_name="change",
            name="kind",
            field=models.CharField(
                choices=[
                    ("PERSON", "Person"),
                    ("DEVICE", "Device"),
                    ("PREFERENCE", "Preference"),
                    ("SUPPRESSED_ADDRESS", "Suppressed address"),
                    ("MEMBERSHIP", "Membership"),
                    ("PERMISSION", "Permission"),
                    ("GROUP", "Group"),
                    ("GROUP_PERMISSION", "Group permission"),
                    ("API_KEY", "API key"),
                    ("DEAD_LETTER", "Dead letter"),
                    ("PAUSE", "Pause"),
                    ("ROLLOUT", "Rollout"),
                    ("TEMPLATE", "Template"),
                    ("HISTORY", "History"),
                ],
                max_length=20,
            ),
        ),
    ]
