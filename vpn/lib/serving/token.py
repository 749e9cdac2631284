"""The page's token: who has it may look. Kept in ``wireguard/page.token``, made when it is first asked for."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from vpn.lib import files
from vpn.lib.errors import InvalidInput, Refused
from vpn.lib.hub import state
from vpn.lib.hub.settings import FILE as SETTINGS_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from vpn.lib.hub.settings import Settings

FILE = "page.token"
SHORTEST = 32
"""Characters; those that are made have 43, of 256 random bits."""


def load_or_make(settings: Settings) -> str:
    """The token. Raises InvalidInput for a file that holds none, StateError where it cannot be read or written."""
    state.make_folders(settings)
    token = _read(settings)
    if token is None:
        # Two that find none must end up with the same.
        with state.command_lock(settings):
            token = _read(settings)
            if token is None:
                token = secrets.token_urlsafe(32)
                files.write(path(settings), f"{token}\n".encode(), owner=settings.owner)
    return token


def url(settings: Settings) -> str:
    """The page's address with the token in it. Raises Refused where the page is off."""
    if settings.page is None:
        raise Refused(
            f"the page is off; write `export VPN_PAGE=127.0.0.1:8080` into {settings.folder / SETTINGS_FILE}, send the"
            " hub SIGHUP, then run this again"
        )
    return f"http://{settings.page}/?token={load_or_make(settings)}"


def path(settings: Settings) -> Path:
    """Where the token is kept."""
    return settings.folder / state.WIREGUARD_FOLDER / FILE


def _read(settings: Settings) -> str | None:
    where = path(settings)
    try:
        token = files.read_text(where).strip()
    except FileNotFoundError:
        return None
    with suppress(OSError):
        files.tighten(where, files.FILE_MODE)
    if len(token) < SHORTEST or not token.isascii() or not token.replace("-", "a").replace("_", "a").isalnum():
        raise InvalidInput(f"{where} holds no token; delete it and restart the hub, which makes a new one")
    return token
