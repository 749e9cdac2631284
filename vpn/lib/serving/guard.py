"""Who may look at the page: checks before each request, and what each answer says to browsers."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL = ("localhost", "127.0.0.1", "::1")
OPEN = "/static/"
"""What is shown to everybody: how the page looks, so that the refusal looks so, too."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


class Guard:
    """Lets a request through that names this host, and has the token or the cookie that was given for it.

    The token comes once, in the address; from then on a cookie stands for it, which is made of it, and is of no use
    for making the address. A page of somebody else's, whose name leads here (DNS rebinding), names another host.
    """

    def __init__(
        self, app: ASGIApp, *, token: str, hosts: Iterable[str], port: int, refuse: Callable[[bool], Response]
    ) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = {*LOCAL, *hosts}
        # Cookies are not told apart by port: two hubs on one machine would take each other's away.
        self._name = f"fedbiomed_vpn_page_{port}"
        self._cookie = hmac.new(self._token, b"the page's cookie", hashlib.sha256).hexdigest()
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer: ASGIApp = self._answer(Request(scope)) or self._app
        await answer(scope, receive, send_with_headers)

    def _answer(self, request: Request) -> Response | None:
        if _host(request) not in self._hosts:
            names = ", ".join(sorted(self._hosts))
            return PlainTextResponse(f"This page answers under its own names only: {names}.\n", 400)
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse(
                "This page is for looking: nothing is changed here.\n", 405, {"Allow": "GET, HEAD"}
            )
        if request.url.path.startswith(OPEN):
            return None
        given = request.query_params.get("token")
        if given is not None:
            return self._enter(request) if _same(given, self._token) else self._refuse(True)
        cookie = request.cookies.get(self._name)
        if cookie is not None and _same(cookie, self._cookie.encode()):
            return None
        return self._refuse(False)

    def _enter(self, request: Request) -> Response:
        """The same address without the token, which is to stay in no history and no log."""
        rest = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
        # Never to another host: `//example.org` would be one.
        path = "/" + request.url.path.lstrip("/")
        response = RedirectResponse(f"{path}?{urlencode(rest)}" if rest else path, 303)
        response.set_cookie(self._name, self._cookie, httponly=True, samesite="strict")
        return response


def _same(given: str, expected: bytes) -> bool:
    """Compared in a time that tells nothing of where they differ."""
    return hmac.compare_digest(given.encode(errors="replace"), expected)


def _host(request: Request) -> str:
    """The host that the request names, without its port."""
    host = request.headers.get("host", "").lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
