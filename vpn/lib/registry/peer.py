"""Peers as the registry knows them: type, id, and what belongs to them."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.errors import InvalidInput

if TYPE_CHECKING:
    from ipaddress import IPv4Address

    from vpn.lib.wireguard.keys import PresharedKey, PrivateKey, PublicKey

ID_LENGTH = 63
_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_OTHERS = _FIRST | frozenset("._-")


class PeerType(Enum):
    """What a peer is in the consortium. Its value is the folder's name in ``config_peers``."""

    MANAGEMENT = "management"
    NODE = "node"
    RESEARCHER = "researcher"


class PeerName(NamedTuple):
    """A peer's name: unique by type and id, where ids that differ only by case count as the same."""

    type: PeerType
    id: str

    def __str__(self) -> str:
        return f"{self.type.value} {self.id}"


class Standing(Enum):
    """Whether a peer may be in wg0. ``expired``: its time was over, and nobody has given it more."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    EXPIRED = "expired"


class Peer(NamedTuple):
    """A registered peer. ``public_key`` is None until ``add``. Times are Unix time in seconds.

    ``until`` is when it expires, None for never; ``rotation`` since when it is asked to make new keys, None when it
    is not; ``version`` is the release that it said it runs.
    """

    name: PeerName
    address: IPv4Address
    preshared_key: PresharedKey
    public_key: PublicKey | None
    created: float
    changed: float
    standing: Standing = Standing.ENABLED
    until: float | None = None
    rotation: float | None = None
    version: str | None = None


class Invitation(NamedTuple):
    """A peer's invitation: temporary keys and a temporary address, until it is used, or ``expires`` (Unix time)."""

    name: PeerName
    private_key: PrivateKey
    public_key: PublicKey
    preshared_key: PresharedKey
    address: IPv4Address
    created: float
    expires: float
    expired: bool = False


def parse_type(text: str) -> PeerType:
    """From ``management``, ``node`` or ``researcher``. Raises InvalidInput."""
    try:
        return PeerType(text)
    except ValueError as error:
        known = ", ".join(peer_type.value for peer_type in PeerType)
        raise InvalidInput(f"unknown type {_shown(text)}; choose one of {known}") from error


def parse_name(peer_type: PeerType, text: str) -> PeerName:
    """A validated name. Ids become folder names and lines of files that a shell sources.

    Raises InvalidInput unless the id matches ``[A-Za-z0-9][A-Za-z0-9._-]{0,62}``.
    """
    if not text or len(text) > ID_LENGTH or text[0] not in _FIRST or not _OTHERS.issuperset(text):
        raise InvalidInput(
            f"{_shown(text)} is no id: use 1 to {ID_LENGTH} ASCII letters, digits, dots, underscores and hyphens,"
            " beginning with a letter or a digit"
        )
    return PeerName(peer_type, text)


def _shown(text: str) -> str:
    """The text for an error message: short, and without anything that acts on a terminal."""
    return ascii(text if len(text) <= 40 else text[:37] + "...")
