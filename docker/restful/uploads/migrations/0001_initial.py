"""The table of uploads."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import django.utils.timezone
from django.db import migrations, models

if TYPE_CHECKING:
    from django.db.migrations.operations.base import Operation


class Migration(migrations.Migration):
    """From nothing."""

    initial = True
    dependencies: ClassVar[list[tuple[str, str]]] = []
    operations: ClassVar[list[Operation]] = [
        migrations.CreateModel(
            name="Upload",
            fields=[
                ("id", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("uploader", models.CharField(max_length=45)),
                ("name", models.CharField(max_length=150)),
                ("size", models.BigIntegerField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "ordering": ["-created_at", "id"],
                "indexes": [models.Index(fields=["uploader", "-created_at", "id"], name="uploads_of_uploader")],
            },
        ),
    ]
