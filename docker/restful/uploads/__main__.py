"""``python -m uploads``: prepares the folder, then becomes gunicorn."""

from __future__ import annotations

import logging
import os
import sys

from uploads.configuration import Configuration, ConfigurationError

# The threads' buffers come and go: with these glibc gives them back, and does not keep a heap for each thread.
_FRUGAL = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "131072"}


def main() -> int:
    """Become the service, or return 1 after one line that says what is wrong."""
    os.umask(0o077)
    os.environ["DJANGO_SETTINGS_MODULE"] = "uploads.settings"
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)

    from django.db import DatabaseError

    from uploads import preparation

    try:
        configuration = Configuration.from_environment(os.environ)
        preparation.prepare(configuration)
    except ConfigurationError as error:
        return _failed(str(error))
    except DatabaseError as error:
        return _failed(f"{configuration.database}: {error}; make room or move the file away, then try again")
    except OSError as error:
        return _failed(
            f"{error.filename or configuration.folder}: {error.strerror}; the service needs to write there as"
            f" uid {os.getuid()}"
        )
    os.environ.update(_FRUGAL)
    return os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "--config", "python:uploads.gunicorn_conf"])


def _failed(line: str) -> int:
    sys.stderr.write(f"uploads: {line}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
