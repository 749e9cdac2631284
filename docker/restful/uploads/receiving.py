"""An upload, from the connection to the storage folder: no copy, and no more memory than a chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadhandler import FileUploadHandler
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from django.utils.http import parse_header_parameters
from gunicorn.http.errors import ParseException

from uploads import names, storage
from uploads.errors import BadUpload, Incomplete, NotMultipart, TooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from django.core.files.uploadedfile import UploadedFile

CHUNK = 64 << 10
FIELD = "file"

_NO_FILE = "there is no field `file`; send the file in it, as `curl -F file=@NAME` does"

_FRAMING = 128 << 10
"""Bytes that a body may have beside the file: the boundaries, the headers of the parts, small fields."""

_LONGEST_ENDING = 512
"""How far from the end of the body its last boundary is looked for."""


class Readable(Protocol):
    """What a body is read from."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""


class Upload:
    """One file in a multipart body. As a context manager: gone at the end unless ``keep`` was called.

    ``declared`` is the Content-Length, or None for a chunked body. ``receive`` and ``keep`` raise an APIException
    that says what is wrong with the request, or storage.NoRoom.
    """

    def __init__(self, content_type: str, declared: int | None, folder: Path, max_bytes: int) -> None:
        self._content_type = content_type
        self._declared = declared
        self._folder = folder
        self._max_bytes = max_bytes
        self._handler = _ToStorage(folder, max_bytes)

    def refuse_early(self) -> None:
        """Raise what the headers alone tell: no multipart, too large, or more than there is room for."""
        kind, parameters = parse_header_parameters(self._content_type)
        if kind in ("", "application/x-www-form-urlencoded"):
            raise BadUpload(_NO_FILE)
        if kind != "multipart/form-data":
            raise NotMultipart
        if not parameters.get("boundary"):
            raise BadUpload("the Content-Type has no boundary; leave this header to the HTTP client")
        if self._declared is None:
            return
        if self._declared > self._max_bytes + _FRAMING:
            raise TooLarge(self._max_bytes)
        if self._declared > storage.free_bytes(self._folder) + _FRAMING:
            raise storage.NoRoom

    def receive(self, source: Readable) -> None:
        """Read the body to its end."""
        self.refuse_early()
        body = _Body(source, self._declared, self._max_bytes)
        # Django's parser takes a body without a length for an empty one.
        meta = {"CONTENT_TYPE": self._content_type, "CONTENT_LENGTH": str(self._declared or 1)}
        try:
            parser = _Parser(meta, body, [self._handler])  # type: ignore[arg-type]  # it only reads
            fields, _ = parser.parse()
        except SuspiciousOperation as error:
            raise BadUpload("the fields beside the file are too large or too many; send the file alone") from error
        except (MultiPartParserError, LookupError, ValueError) as error:
            raise BadUpload(f"the body is no multipart/form-data that can be read: {error}") from error
        _, parameters = parse_header_parameters(self._content_type)
        if body.taken and not body.ends_with(f"--{parameters['boundary']}--".encode("latin-1", "replace")):
            raise Incomplete
        if self._handler.partial is None:
            if FIELD in fields:
                raise BadUpload("the field `file` has no file name; send it as a file, as `curl -F file=@NAME` does")
            raise BadUpload(_NO_FILE)

    @property
    def partial(self) -> storage.Partial:
        """The file, once it was received."""
        assert self._handler.partial is not None
        return self._handler.partial

    @property
    def name(self) -> str:
        """The cleaned name that it came with."""
        return self._handler.name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handler.partial is not None:
            self._handler.partial.__exit__(kind, error, trace)


class _Body:
    """A request's body that is neither longer nor shorter than it may be."""

    def __init__(self, source: Readable, declared: int | None, max_bytes: int) -> None:
        self.taken = 0
        self._source = source
        self._declared = declared
        self._max_bytes = max_bytes
        self._ending = b""

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes. Raises TooLarge, and Incomplete when the caller is gone or waits too long."""
        try:
            data = self._source.read(size)
        except (OSError, ParseException) as error:
            raise Incomplete from error
        self.taken += len(data)
        if self.taken > self._max_bytes + _FRAMING:
            raise TooLarge(self._max_bytes)
        if not data and self._declared is not None and self.taken < self._declared:
            raise Incomplete
        self._ending = (self._ending + data[-_LONGEST_ENDING:])[-_LONGEST_ENDING:]
        return data

    def ends_with(self, boundary: bytes) -> bool:
        """Whether the closing boundary was there. Without it a part may have been cut off."""
        return boundary in self._ending


class _Parser(MultiPartParser):
    """Django's parser, with names cleaned as the service does it: none is so bad that its file is ignored."""

    def sanitize_file_name(self, file_name: str) -> str:
        """The name for display."""
        return names.clean(file_name)


class _ToStorage(FileUploadHandler):
    """Writes the one file to the storage folder as it comes."""

    chunk_size = CHUNK

    def __init__(self, folder: Path, max_bytes: int) -> None:
        super().__init__()
        self.partial: storage.Partial | None = None
        self.name = names.NAMELESS
        self._folder = folder
        self._max_bytes = max_bytes

    def new_file(
        self,
        field_name: str,
        file_name: str,
        content_type: str,
        content_length: int | None,
        charset: str | None = None,
        content_type_extra: Mapping[str, bytes | str] | None = None,
    ) -> None:
        """Open the file. Raises BadUpload for any but the first in the field ``file``."""
        if field_name != FIELD:
            raise BadUpload("there is a file in another field than `file`; send one file, in the field `file`")
        if self.partial is not None:
            raise BadUpload("there is more than one file; send each in a request of its own")
        self.name = file_name
        self.partial = storage.Partial(self._folder)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Append to the file."""
        assert self.partial is not None
        if self.partial.size + len(raw_data) > self._max_bytes:
            raise TooLarge(self._max_bytes)
        self.partial.write(raw_data)

    def file_complete(self, file_size: int) -> UploadedFile[bytes] | None:
        """Nothing for Django to hold: the service has it."""
        return None
