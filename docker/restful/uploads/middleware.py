"""What every answer has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import HttpResponse, StreamingHttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase


class Finish:
    """Refuses unknown Host headers; gives a length, and no body to HEAD; forbids browsers to guess types."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """The answer to one request."""
        request.get_host()  # raises DisallowedHost: a name that somebody pointed here, to use a browser's rights
        response = self._get_response(request)
        response["X-Content-Type-Options"] = "nosniff"
        response["Cache-Control"] = "no-store"
        if isinstance(response, HttpResponse):
            response["Content-Length"] = str(len(response.content))
        if request.method == "HEAD":
            return _without_body(response)
        return response


def _without_body(response: HttpResponseBase) -> HttpResponse:
    bare = HttpResponse(status=response.status_code, headers=dict(response.items()))
    if isinstance(response, StreamingHttpResponse):
        response.close()
    return bare
