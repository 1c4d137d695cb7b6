import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("preferences", "0007_lists_by_index"),
    ]

    operations = [
        migrations.CreateModel(
            name="SavedSearch",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("page", models.CharField(help_text="the list, as app.model", max_length=80)),
                ("name", models.CharField(max_length=60)),
                ("query", models.CharField(help_text="the list's query string", max_length=500)),
                ("shared", models.BooleanField(default=False, help_text="for all who may see the list")),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="saved_searches",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["page"], name="saved_search_page")],
                "constraints": [
                    models.UniqueConstraint(fields=("owner", "page", "name"), name="saved_search_once_per_name")
                ],
            },
        ),
    ]
