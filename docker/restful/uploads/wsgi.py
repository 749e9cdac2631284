"""The application, as gunicorn wants it."""

from __future__ import annotations

import importlib
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "uploads.settings")

application = get_wsgi_application()

# Now, so that what is wrong there stops the start, and the first request does not wait.
importlib.import_module("uploads.urls")
