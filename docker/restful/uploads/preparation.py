"""What is done before the service serves: the folder, the lock, the key, the database, and what a crash has left."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from typing import TYPE_CHECKING

from uploads import secret_key, storage
from uploads.configuration import ConfigurationError

if TYPE_CHECKING:
    from uploads.configuration import Configuration

log = logging.getLogger("uploads")

_LOCK_PATIENCE = 5.0
"""Seconds: a worker whose gunicorn was killed needs one or two to notice."""


def prepare(configuration: Configuration) -> None:
    """All of it. Raises ConfigurationError, OSError, or django.db.DatabaseError."""
    configuration.files.mkdir(mode=0o700, exist_ok=True)
    lock(configuration, _LOCK_PATIENCE)
    sweep(configuration)
    secret_key.make(configuration.folder)

    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0, interactive=False)


def lock(configuration: Configuration, patience: float) -> None:
    """Hold the folder until this process, what it becomes and its children have all ended.

    Raises ConfigurationError when another service holds it for longer than ``patience`` seconds.
    """
    path = configuration.folder / ".lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    os.set_inheritable(descriptor, True)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise ConfigurationError(
                    f"another upload service runs on {configuration.folder}; stop it, or give this one a folder of"
                    " its own with UPLOADS_FOLDER"
                ) from None
            time.sleep(0.1)
        else:
            return


def sweep(configuration: Configuration) -> None:
    """Remove what a worker that is gone had begun to write; there is only one at a time."""
    removed = storage.sweep(configuration.files)
    if removed:
        log.info("%d unfinished uploads removed", removed)


def reconcile(configuration: Configuration) -> None:
    """Make the database and the folder say the same: a file needs a row, and a row a file."""
    from uploads.models import Upload

    known = set(Upload.objects.values_list("id", flat=True))
    there = set(storage.ids(configuration.files))
    for identifier in there - known:
        storage.remove(configuration.files, identifier)
    for identifier in known - there:
        Upload.objects.filter(id=identifier).delete()
    if there != known:
        log.warning("%d files without a row, %d rows without a file removed", len(there - known), len(known - there))


def take_over(configuration: Configuration) -> None:
    """What a new worker does: it clears away what the one before has left, should that have been killed.

    Its database connection stays open, which keeps SQLite's shared memory in place: on a full disk it could not be
    made again, and nothing could be deleted.
    """
    sweep(configuration)
    reconcile(configuration)
    storage.lay_ballast(configuration.folder)
