"""Requests to a UAPI socket as bytes, around the library that would never send them."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SILENCE = "(silence)"
CLOSED = "(closed)"


def ask(path: Path | str, request: str, *, patience: float = 1.0) -> str:
    """The answer without its empty line; SILENCE after ``patience`` seconds, CLOSED for an end without an answer."""
    answer = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(patience)
        try:
            connection.connect(str(path))
            connection.sendall(request.encode() + b"\n\n")
            while not answer.endswith(b"\n\n"):
                chunk = connection.recv(1 << 20)
                if not chunk:
                    return CLOSED
                answer += chunk
        except (TimeoutError, BlockingIOError):
            return SILENCE
        except ConnectionError:
            return CLOSED
    return answer.decode().removesuffix("\n\n")
