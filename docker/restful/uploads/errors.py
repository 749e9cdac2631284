"""What a caller is told when something cannot be done: a status, and one line of JSON that says what to do."""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING, Any

from django.core.exceptions import DisallowedHost
from django.db import DatabaseError
from django.http import Http404, JsonResponse
from rest_framework.exceptions import APIException, MethodNotAllowed
from rest_framework.response import Response

from uploads.storage import NoRoom

if TYPE_CHECKING:
    from django.http import HttpRequest

log = logging.getLogger("uploads")


class BadUpload(APIException):
    """The request is not one file in the field ``file``."""

    status_code = 400


class Incomplete(APIException):
    """The body ended, or stopped coming, before it was complete."""

    status_code = 400
    default_detail = "the upload ended before it was complete; send it again"


class NotMultipart(APIException):
    """The body is something else than multipart/form-data."""

    status_code = 415
    default_detail = "send the file as multipart/form-data in the field `file`, as `curl -F file=@NAME` does"


class TooLarge(APIException):
    """The file is larger than the service takes."""

    status_code = 413

    def __init__(self, max_bytes: int) -> None:
        super().__init__(
            f"more than the {max_bytes} bytes that this service takes; send less,"
            " or have UPLOADS_MAX_BYTES of the service raised"
        )


class StorageFull(APIException):
    """The disk of the service is full."""

    status_code = 507
    default_detail = "the disk of the upload service is full; delete uploads that are no longer needed, then try again"


class Unavailable(APIException):
    """The database does not answer."""

    status_code = 503
    default_detail = "the database of the upload service does not answer; try again in a moment"


class NoSuchUpload(APIException):
    """Not there, or not the caller's."""

    status_code = 404
    default_detail = "no such upload of yours; GET /upload/ lists what you have uploaded"


_FULL = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_SHMOPEN")


def _translated(error: Exception) -> APIException | None:
    """What the caller is told about ``error``; None when it is the service's own fault."""
    if isinstance(error, MethodNotAllowed | Http404):
        return None
    if isinstance(error, APIException):
        return error
    if isinstance(error, NoRoom):
        return StorageFull()
    if isinstance(error, DatabaseError):
        log.error("the database: %s", error)
        cause = error.__cause__
        full = isinstance(cause, sqlite3.Error) and getattr(cause, "sqlite_errorname", "") in _FULL
        return StorageFull() if full else Unavailable()
    return None


def answer(error: Exception, context: dict[str, Any]) -> Response:
    """The response to an exception in a view; Django REST framework calls it."""
    request = context["request"]
    caller, method = request.META.get("REMOTE_ADDR", ""), request.method
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(m for m in context["view"].allowed_methods if m != "HEAD")
        return Response({"detail": f"not possible here; use {allowed}"}, 405)
    problem = _translated(error)
    if problem is None:
        # Without the address: who knows it may read the file.
        log.error("%s from %s failed", method, caller, exc_info=error)
        return Response({"detail": "the upload service failed; its log tells why"}, 500)
    if not isinstance(problem, NoSuchUpload):
        log.info("%s from %s: %d, %s", method, caller, problem.status_code, problem.detail)
    return Response({"detail": problem.detail}, problem.status_code)


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    """What is refused before any view sees it."""
    if isinstance(exception, DisallowedHost):
        line = (
            "this service does not know the name in the Host header; use its VPN address, or have the name"
            " added to UPLOADS_HOSTS"
        )
    else:
        line = "this is no request that the service understands; see GET /upload/"
    return JsonResponse({"detail": line}, status=400)


def not_found(request: HttpRequest, exception: Exception) -> JsonResponse:
    """No view has this address."""
    return JsonResponse({"detail": "nothing is here; uploads are at /upload/"}, status=404)


def failed(request: HttpRequest) -> JsonResponse:
    """An error outside of the views."""
    log.exception("%s from %s failed", request.method, request.META.get("REMOTE_ADDR", ""))
    return JsonResponse({"detail": "the upload service failed; its log tells why"}, status=500)
