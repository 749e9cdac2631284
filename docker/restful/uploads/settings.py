"""Django's settings, from the environment. Nothing is installed that the service does not use."""

from __future__ import annotations

import os
from typing import Any

from uploads import secret_key
from uploads.configuration import Configuration

UPLOADS = Configuration.from_environment(os.environ)

SECRET_KEY = secret_key.read(UPLOADS.folder)
DEBUG = False
ALLOWED_HOSTS = [UPLOADS.address, "localhost", *UPLOADS.hosts]
INSTALLED_APPS = ["uploads"]
MIDDLEWARE = ["uploads.middleware.Finish"]
ROOT_URLCONF = "uploads.urls"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"

DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": UPLOADS.database,
        "OPTIONS": {
            "timeout": 10,
            "transaction_mode": "IMMEDIATE",
            # A small cache, since every thread has its own; a short log, since a full disk is where it hurts.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-256;"
            "PRAGMA wal_autocheckpoint=64; PRAGMA journal_size_limit=262144",
        },
    }
}

# Fields beside the file: nobody needs them.
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 << 10
DATA_UPLOAD_MAX_NUMBER_FIELDS = 20

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_PARSER_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "uploads.errors.answer",
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
    "URL_FORMAT_OVERRIDE": None,
}

# Django's own lines name the address of a request, and who knows that may read the file: the service says itself
# what went wrong, without it.
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "uploads": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "django": {"handlers": [], "level": "CRITICAL", "propagate": False},
    },
}
