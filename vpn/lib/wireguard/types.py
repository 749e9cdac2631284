"""What is wanted of a WireGuard device, and what is observed of it.

The two are different types: counters, handshakes and learnt endpoints are observations, and never
take part in deciding whether a device is as it should be.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vpn.lib.wireguard.keys import PresharedKey, PrivateKey, PublicKey

IPNetwork = IPv4Network | IPv6Network

MTU = 1420
"""Bytes: 1500 less 80 of IPv6, UDP and WireGuard headers, as wg-quick(8) sets it."""

KEEPALIVE = 25
"""Seconds; keeps the mapping of most NATs alive (wg(8), PersistentKeepalive)."""


class Endpoint(NamedTuple):
    """Where a peer's packets are sent: a numeric address, never a name, and a UDP port."""

    address: IPv4Address | IPv6Address
    port: int

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """From ``192.0.2.1:51820`` or ``[2001:db8::1]:51820``. Raises InvalidInput."""
        host, colon, port = text.rpartition(":")
        try:
            address = ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
            if not colon or (address.version == 6) != host.startswith("["):
                raise ValueError
            return cls(address, parse_port(port))
        except ValueError as error:
            raise InvalidInput("not an endpoint: write 192.0.2.1:51820 or [2001:db8::1]:51820") from error

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


def parse_port(text: str) -> int:
    """A UDP port, 1 to 65535. Raises InvalidInput."""
    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 5 and 1 <= int(text) <= 65535):
        raise InvalidInput("not a port: a number from 1 to 65535 is due")
    return int(text)


class WantedPeer(NamedTuple):
    """A peer as it should be.

    ``endpoint`` is where to find it at first; None leaves it to the peer to show itself, and an
    endpoint that the device has learnt since is never overwritten with it. ``persistent_keepalive``
    is in seconds, 0 for none.
    """

    public_key: PublicKey
    preshared_key: PresharedKey | None
    allowed_ips: frozenset[IPNetwork]
    endpoint: Endpoint | None = None
    persistent_keepalive: int = 0


class WantedDevice(NamedTuple):
    """A device as it should be: exactly these peers. ``listen_port`` 0 leaves the port to the device."""

    private_key: PrivateKey
    listen_port: int
    peers: Mapping[PublicKey, WantedPeer]


class ObservedPeer(NamedTuple):
    """A peer as the device shows it.

    ``latest_handshake`` is Unix time in seconds, None when there was none. ``received`` and ``sent``
    count bytes of encrypted traffic since the peer was added.
    """

    public_key: PublicKey
    preshared_key: PresharedKey | None
    allowed_ips: frozenset[IPNetwork]
    endpoint: Endpoint | None
    persistent_keepalive: int
    latest_handshake: float | None
    received: int
    sent: int


class ObservedDevice(NamedTuple):
    """A device as it shows itself. ``public_key`` is None before it has a private key."""

    public_key: PublicKey | None
    listen_port: int
    peers: Mapping[PublicKey, ObservedPeer]
