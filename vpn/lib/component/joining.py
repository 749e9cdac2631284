"""The component's tunnel: wg0 with one peer, the hub."""

from __future__ import annotations

import socket
import threading
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING

from vpn.lib.component.link_state import DATAGRAM, ECHO, Pace
from vpn.lib.errors import DeviceError
from vpn.lib.wireguard.plan import Plan, plan
from vpn.lib.wireguard.tunnel import Tunnel
from vpn.lib.wireguard.types import KEEPALIVE, Endpoint, ObservedPeer, WantedDevice, WantedPeer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vpn.lib.component.settings import Settings
    from vpn.lib.wireguard.keys import PresharedKey, PrivateKey, PublicKey

TRY_EACH = 6.0
"""Seconds for the hub to answer at one of two places, or to one of two keys: a handshake that is lost is repeated
after 5 (whitepaper, REKEY_TIMEOUT)."""

DISCARD = 9
"""The UDP port of the packets that only make the tunnel work (RFC 863)."""

ECHO_REQUEST = bytes([8, 0, 0, 0, 0, 0, 0, 0])
"""ICMP type 8 (RFC 792); the system fills in the checksum and the identifier."""


class Joining:
    """wg0 of a component. Raises DeviceError."""

    def __init__(self, settings: Settings, private_key: PrivateKey, interface: str, environ: Mapping[str, str]) -> None:
        self.settings = settings
        self._private_key = private_key
        self.tunnel = Tunnel(interface, settings.implementation, environ)
        self._endpoint: Endpoint | None = None
        # 0 where the hub is by its latest word, 1 where it was before.
        self._place = 0
        self._place_at = time.monotonic()
        self._protocol = _question_protocol()

    @property
    def public_key(self) -> PublicKey:
        """The component's, as the hub has to know it."""
        return self._private_key.public_key()

    def rekey(self, private_key: PrivateKey, preshared_key: PresharedKey) -> None:
        """Speak to the hub with other keys. The interface stays, and connections with it."""
        self._private_key = private_key
        self.settings = self.settings._replace(preshared_key=preshared_key)
        device = self.tunnel.device
        device.apply(plan(self._wanted(), device.read()))

    def follow(self, settings: Settings) -> None:
        """Look for the hub at another place. The interface stays."""
        self.settings = settings
        self._place, self._place_at = 0, time.monotonic()
        self.resolve_again()

    def try_elsewhere(self, now: float) -> None:
        """Where the hub has moved and does not answer: look for it at either place, some seconds each."""
        if self.settings.before is not None and now - self._place_at >= TRY_EACH:
            self._place, self._place_at = 1 - self._place, now
            self.resolve_again()

    def start(self) -> None:
        """Bring wg0 up. A hub name that does not resolve yet is looked up again later."""
        try:
            self.tunnel.start()
            self._endpoint = resolve(*self._where())
            device = self.tunnel.device
            device.apply(plan(self._wanted(), device.read()))
            self.tunnel.configure(self.settings.address, self.settings.allowed_ips)
        except BaseException:
            self.tunnel.stop(patience=0)
            raise

    def look(self) -> ObservedPeer | None:
        """Read wg0 and repair what differs; the hub as it is observed."""
        if not self.tunnel.alive:
            raise DeviceError(f"{self.tunnel.implementation.value} has ended")
        observed = self.tunnel.device.read()
        drift = plan(self._wanted(), observed)
        if not drift.empty:
            self.tunnel.device.apply(drift)
        return observed.peers.get(self.settings.hub_key)

    def check_link(self) -> None:
        """Raise DeviceError when the interface is not there, down, or without its address."""
        if not self.tunnel.configured(self.settings.address):
            raise DeviceError(f"{self.tunnel.interface} has lost its address, or is gone or down")

    def resolve_again(self) -> Endpoint | None:
        """Look the hub's name up, and send to its new address if it has one; that address, else None."""
        fresh = resolve(*self._where())
        if fresh is None or fresh == self._endpoint:
            return None
        self._endpoint = fresh
        self.tunnel.device.apply(Plan(update=tuple(self._wanted().peers.values())))
        return fresh

    @property
    def resolved(self) -> bool:
        """Whether it is known where the hub is."""
        return self._endpoint is not None

    @property
    def pace(self) -> Pace:
        """How the hub is asked for a sign of life: by echo where the system lets us (icmp(7), ping_group_range)."""
        return ECHO if self._protocol == socket.IPPROTO_ICMP else DATAGRAM

    def ask(self) -> None:
        """Send one small packet to the hub, inside the tunnel."""
        echo = self._protocol == socket.IPPROTO_ICMP
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, self._protocol) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(ECHO_REQUEST if echo else b"\0", (self.settings.hub_address, 0 if echo else DISCARD))
            except OSError as error:
                raise DeviceError(f"{self.tunnel.interface} takes no packets ({error.strerror})") from error

    def renew(self) -> None:
        """Forget the session with the hub; the next packet asks for a new one, at the endpoint of the settings."""
        key = self.settings.hub_key
        self.tunnel.device.apply(Plan(remove=(key,), add=tuple(self._wanted().peers.values())))

    def age(self, peer: ObservedPeer | None) -> float | None:
        """Seconds since the handshake with the hub, None when there was none."""
        if peer is None or peer.latest_handshake is None:
            return None
        return max(0.0, time.time() - peer.latest_handshake)

    def _where(self) -> tuple[str, int]:
        before = self.settings.before
        return (self.settings.hub_host, self.settings.hub_port) if before is None or not self._place else before

    def _wanted(self) -> WantedDevice:
        settings = self.settings
        hub = WantedPeer(settings.hub_key, settings.preshared_key, settings.allowed_ips, self._endpoint, KEEPALIVE)
        return WantedDevice(self._private_key, 0, {settings.hub_key: hub})


def _question_protocol() -> int:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).close()
    except OSError:
        return socket.IPPROTO_UDP
    return socket.IPPROTO_ICMP


def resolve(host: str, port: int, patience: float = 2.0) -> Endpoint | None:
    """Where the hub is now, None while its name does not resolve. A numeric address is itself.

    A name server that does not answer holds a look-up for much longer than a component may take to stop:
    after ``patience`` seconds the answer is None, and the look-up ends by itself.
    """
    try:
        return Endpoint(ip_address(host), port)
    except ValueError:
        pass
    found: list[Endpoint] = []
    lookup = threading.Thread(target=lambda: found.extend(_look_up(host, port)), daemon=True)
    lookup.start()
    lookup.join(patience)
    return found[0] if found else None


def _look_up(host: str, port: int) -> list[Endpoint]:
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return []
    # A link-local result has a scope that no WireGuard daemon takes.
    return [Endpoint(ip_address(address[0]), port) for *_, address in answers if "%" not in str(address[0])]
