"""The application, as gunicorn wants it."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from django.core.wsgi import get_wsgi_application
from django.utils.http import parse_header_parameters

if TYPE_CHECKING:
    from collections.abc import Iterable

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "uploads.settings")

_django = get_wsgi_application()

# Now, so that what is wrong there stops the start, and the first request does not wait.
importlib.import_module("uploads.urls")


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer one request."""
    try:
        parse_header_parameters(environ.get("CONTENT_TYPE", ""))
    except (LookupError, ValueError):
        # Django parses it too, before anything could answer its error.
        environ["CONTENT_TYPE"] = "unreadable"
    return _django(environ, start_response)
