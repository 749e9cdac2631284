"""The hub's control endpoint, for its peers: see ``vpn.lib.control``.

Who asks is told by the address that WireGuard let the request come from.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.routing import Route

from vpn.lib import control
from vpn.lib.errors import InvalidInput, Refused, VpnError
from vpn.lib.hub import invitations, life, settings as hub_settings, state
from vpn.lib.hub.service import Hub
from vpn.lib.hub.status import open_device
from vpn.lib.registry.sqlite import SqliteRegistry
from vpn.lib.wireguard.keys import PresharedKey, PublicKey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

    from vpn.lib.hub.invitations import Agreed

BODY_LIMIT = 4096
"""Bytes of a request."""

AGAIN_AFTER, PEERS_A_SECOND = 10.0, 50.0
"""Seconds until a component asks again: this, or longer where there are more than so many peers a second."""

SETTLE_AFTER = 0.05
"""Seconds between an answer and the change of wg0 that would keep it from leaving."""

VERSION_LENGTH = 40

_LOG = logging.getLogger("vpn_server")


def application(environ: Mapping[str, str]) -> Starlette:
    """The endpoint. Settings and registry are read with each request: both change under it."""

    async def enrol(request: Request) -> JSONResponse:
        return await _agree(request, environ, "enrol", invitations.enrol)

    async def rotate(request: Request) -> JSONResponse:
        return await _agree(request, environ, "rotate", invitations.rotate)

    async def state_(request: Request) -> JSONResponse:
        return await _guarded(lambda: _state(environ, _address(request), request.query_params.get(control.VERSION)))

    return Starlette(
        routes=[
            Route(control.ENROL, enrol, methods=["POST"]),
            Route(control.ROTATE, rotate, methods=["POST"]),
            Route(control.STATE, state_, methods=["GET"]),
        ]
    )


def _open(environ: Mapping[str, str], command: str) -> Hub:
    settings = hub_settings.load(environ)
    return Hub(settings, open_device(settings), command=command)


async def _agree(
    request: Request,
    environ: Mapping[str, str],
    command: str,
    agree: Callable[[Hub, IPv4Address, PublicKey, PresharedKey], Agreed],
) -> JSONResponse:
    try:
        given = await _body(request)
        key = PublicKey.parse(_text(given, control.PUBLIC_KEY))
        preshared_key = PresharedKey.parse(_text(given, control.PRESHARED_KEY))
    except InvalidInput as error:
        return _refusal(400, str(error))
    address = _address(request)

    def work() -> JSONResponse:
        with _open(environ, command) as hub:
            agreed = agree(hub, address, key, preshared_key)
        if agreed.new:
            if command == "enrol":
                _LOG.info("%s: enrolled", agreed.peer.name, extra={"event": "component-enrolled"})
            else:
                _LOG.info("%s: has new keys", agreed.peer.name, extra={"event": "component-rotated"})
        answer = {control.MESSAGE: f"{agreed.peer.name}"}
        return JSONResponse(answer, background=BackgroundTask(_settle, environ, agreed))

    return await _guarded(work)


async def _guarded(work: Callable[[], JSONResponse]) -> JSONResponse:
    try:
        return await run_in_threadpool(work)
    except (Refused, InvalidInput) as error:
        return _refusal(409, str(error))
    except VpnError as error:
        _LOG.warning("%s", error)
        return _refusal(503, "the hub cannot do this now; its log says why")


async def _settle(environ: Mapping[str, str], agreed: Agreed) -> None:
    """The change of wg0, once the answer has left. The daemon would make it too, a little later."""
    await asyncio.sleep(SETTLE_AFTER)

    def work() -> None:
        try:
            with _open(environ, "settle") as hub:
                invitations.settle(hub, agreed.peer.name, agreed.former)
        except VpnError as error:
            _LOG.warning("%s", error)

    await run_in_threadpool(work)


def _state(environ: Mapping[str, str], address: IPv4Address, version: str | None) -> JSONResponse:
    settings = hub_settings.load(environ)
    registry = SqliteRegistry(state.registry_path(settings), owner=settings.owner)
    try:
        peer, count = registry.at(address)
    finally:
        registry.close()
    if peer is None:
        return _refusal(404, "no component is registered with this address")
    if version and version != peer.version and len(version) <= VERSION_LENGTH and version.isprintable():
        with _open(environ, "state") as hub:
            life.note_version(hub, peer.name, version)
    pause = max(AGAIN_AFTER, count / PEERS_A_SECOND)
    return JSONResponse(
        {
            control.ENDPOINT: settings.endpoint,
            control.ROTATION: peer.rotation is not None,
            # Spread, so that those that came back together do not ask together for ever.
            control.AGAIN: round(pause * random.uniform(0.8, 1.2), 1),  # noqa: S311
        }
    )


async def _body(request: Request) -> dict[str, Any]:
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_LIMIT:
            raise InvalidInput("that is no request of this release: it is too long")
    try:
        given = json.loads(raw)
    except ValueError as error:
        raise InvalidInput("that is no request of this release: it is no JSON") from error
    if not isinstance(given, dict):
        raise InvalidInput("that is no request of this release")
    return given


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise InvalidInput("that is no request of this release")
    return value


def _address(request: Request) -> IPv4Address:
    assert request.client is not None
    return IPv4Address(request.client.host)


def _refusal(status: int, message: str) -> JSONResponse:
    return JSONResponse({control.MESSAGE: message}, status_code=status)
