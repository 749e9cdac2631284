"""What is known of each upload."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.utils import timezone

from uploads import names

if TYPE_CHECKING:
    from datetime import datetime


class Upload(models.Model):
    """A file that is in the storage folder under this ``id``."""

    id: models.CharField[str, str] = models.CharField(primary_key=True, max_length=64)
    uploader: models.CharField[str, str] = models.CharField(max_length=45)
    """The VPN address that it came from."""
    name: models.CharField[str, str] = models.CharField(max_length=names.LONGEST)
    size: models.BigIntegerField[int, int] = models.BigIntegerField()
    created_at: models.DateTimeField[datetime, datetime] = models.DateTimeField(default=timezone.now)

    objects: ClassVar[models.Manager[Upload]] = models.Manager()

    class Meta:
        """The list is by uploader, newest first."""

        ordering: ClassVar[list[str]] = ["-created_at", "id"]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["uploader", "-created_at", "id"], name="uploads_of_uploader")
        ]

    def __str__(self) -> str:
        """The name alone: who knows the id may read the file."""
        return self.name
