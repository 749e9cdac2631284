"""The service, request by request. A caller is its VPN address: WireGuard lets nobody use another's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import DatabaseError
from django.http import FileResponse
from rest_framework import serializers
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from uploads import receiving, storage
from uploads.errors import NoSuchUpload
from uploads.models import Upload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rest_framework.renderers import BaseRenderer
    from rest_framework.request import Request

    from uploads.configuration import Configuration

log = logging.getLogger("uploads")


def _configuration() -> Configuration:
    configuration: Configuration = settings.UPLOADS
    return configuration


class OnlyJson(BaseContentNegotiation):
    """Whatever a client says that it accepts, it gets JSON, or the file."""

    def select_parser(self, request: Request, parsers: Iterable[Any]) -> None:
        """None: the views read bodies themselves."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The first, which is the only one."""
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)


class Pages(LimitOffsetPagination):
    """A plain list. A very long one is cut, with the address of the rest in a Link header."""

    default_limit = 1000
    max_limit = 1000

    def get_paginated_response(self, data: Any) -> Response:
        """The list itself."""
        following = self.get_next_link()
        return Response(data, headers={"Link": f'<{following}>; rel="next"'} if following else None)


class UploadJson(serializers.ModelSerializer[Upload]):
    """What is told of an upload. Its addresses begin with the name by which the caller has reached the service."""

    url = serializers.SerializerMethodField()
    file = serializers.SerializerMethodField()

    class Meta:
        """The parts, in the order of the answer."""

        model = Upload
        fields = ("url", "id", "file", "name", "size", "created_at")

    def get_url(self, upload: Upload) -> str:
        """The resource, for its uploader."""
        return reverse("upload", args=[upload.id], request=self.context["request"])

    def get_file(self, upload: Upload) -> str:
        """The bytes, for whoever is given this address."""
        return reverse("file", args=[upload.id], request=self.context["request"])


class View(APIView):
    """What all views have in common."""

    content_negotiation_class = OnlyJson


class Uploads(View):
    """``/upload/``: the caller's own uploads, and the place to send one to."""

    http_method_names = ("get", "head", "post")

    def get(self, request: Request) -> Response:
        """The caller's uploads, newest first."""
        own = Upload.objects.filter(uploader=request.META["REMOTE_ADDR"])
        pages = Pages()
        page = pages.paginate_queryset(own, request, view=self)
        return pages.get_paginated_response(UploadJson(page, many=True, context={"request": request}).data)

    def post(self, request: Request) -> Response:
        """Take one file; 201 once it is on the disk and in the database."""
        meta, configuration = request.META, _configuration()
        length = meta.get("CONTENT_LENGTH")
        declared = int(length) if length else (None if "HTTP_TRANSFER_ENCODING" in meta else 0)
        content_type = meta.get("CONTENT_TYPE", "")
        with receiving.Upload(content_type, declared, configuration.files, configuration.max_bytes) as received:
            received.receive(meta["wsgi.input"])
            partial = received.partial
            partial.keep()
            try:
                upload = Upload.objects.create(
                    id=partial.id, uploader=meta["REMOTE_ADDR"], name=received.name, size=partial.size
                )
            except BaseException:
                storage.remove(configuration.files, partial.id)
                raise
        log.info("upload of %d bytes from %s", upload.size, upload.uploader)
        answer = UploadJson(upload, context={"request": request}).data
        return Response(answer, 201, headers={"Location": answer["url"]})


class OneUpload(View):
    """``/upload/ID/``: for the uploader alone; for others it is not there."""

    http_method_names = ("get", "head", "delete")

    def get(self, request: Request, identifier: str) -> Response:
        """What is known of it."""
        return Response(UploadJson(self._own(request, identifier), context={"request": request}).data)

    def delete(self, request: Request, identifier: str) -> Response:
        """Remove it."""
        upload = self._own(request, identifier)
        configuration = _configuration()
        # The file first: on a full disk the database may need the room.
        storage.remove(configuration.files, upload.id)
        row = Upload.objects.filter(id=upload.id)
        try:
            row.delete()
        except DatabaseError:
            # Somebody may still be reading the file, which holds its room.
            storage.drop_ballast(configuration.folder)
            row.delete()
        storage.lay_ballast(configuration.folder)
        log.info("upload of %d bytes deleted by %s", upload.size, upload.uploader)
        return Response(status=204)

    def _own(self, request: Request, identifier: str) -> Upload:
        try:
            return Upload.objects.get(id=identifier, uploader=request.META["REMOTE_ADDR"])
        except Upload.DoesNotExist:
            raise NoSuchUpload from None


class File(View):
    """``/upload/ID/file``: the bytes."""

    http_method_names = ("get", "head")

    def get(self, request: Request, identifier: str) -> FileResponse:
        """The bytes, to be saved and not to be looked at."""
        try:
            name = Upload.objects.values_list("name", flat=True).get(id=identifier)
            file = (_configuration().files / identifier).open("rb")
        except (Upload.DoesNotExist, FileNotFoundError):
            raise NoSuchUpload("no such upload; ask the one who has uploaded it for its address") from None
        return FileResponse(file, as_attachment=True, filename=name, content_type="application/octet-stream")


class Health(View):
    """``/health/``: that the database can be read."""

    http_method_names = ("get", "head")

    def get(self, request: Request) -> Response:
        """``ok``, or an error."""
        Upload.objects.exists()
        return Response({"status": "ok"})
