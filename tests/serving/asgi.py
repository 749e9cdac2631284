"""Asking an ASGI application in process, as a peer with an address."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message


class Answer(NamedTuple):
    """Status, headers and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which is JSON."""
        return json.loads(self.body)


def ask(
    app: ASGIApp, method: str, path: str, body: bytes = b"", *, address: str = "10.221.0.2", query: str = ""
) -> Answer:
    """One request, to the end of what the application does after it."""
    sent: list[Message] = []
    pieces = [body[start : start + 1000] for start in range(0, len(body), 1000)] or [b""]

    async def receive() -> Message:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"hub")],
        "client": (address, 40000),
        "server": ("10.220.0.1", 51821),
    }
    asyncio.run(_call(app, scope, receive, send))
    head = sent[0]
    headers = {name.decode(): value.decode() for name, value in head["headers"]}
    return Answer(head["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))


async def _call(app: ASGIApp, *arguments: Any) -> None:
    await app(*arguments)
