"""The state behind a fake UAPI socket: wireguard-go as the protocol has it, boringtun and gotatun with their traps.

What each does was measured on the programs; ``tests/contract/test_fakes_are_true.py`` compares again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING

from vpn.lib.errors import InvalidInput
from vpn.lib.wireguard.keys import PrivateKey
from vpn.lib.wireguard.types import Endpoint, parse_port

if TYPE_CHECKING:
    from collections.abc import Callable

EADDRINUSE, EINVAL, EIO, EPROTO = 98, 22, 5, 71
ZERO = "0" * 64
Network = IPv4Network | IPv6Network


class Closed(Exception):
    """The daemon ends the connection without an answer."""


class Panicked(Exception):
    """The daemon ends the connection without an answer, and never answers again."""


class Rejected(Exception):
    """The daemon answers with this error number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass
class Peer:
    """A peer as the daemon keeps it."""

    preshared_key: str | None = None
    endpoint: str | None = None
    keepalive: int | None = None
    allowed: dict[Network, None] = field(default_factory=dict)
    handshake: float | None = None
    received: int = 0
    sent: int = 0


@dataclass
class Stated:
    """What a request states of one peer, in the fields of the request."""

    public_key: str
    lines: list[tuple[str, str]] = field(default_factory=list)

    def says(self, name: str) -> bool:
        """Whether a flag is given."""
        return (name, "true") in self.lines


class WireguardGo:
    """A device as www.wireguard.com/xplatform/ describes it. Error numbers have a minus sign."""

    serial = False
    """Whether one open connection keeps all others waiting."""
    one_request = False
    """Whether a connection is reset at its second request."""
    error_sign = -1

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.private_key: PrivateKey | None = None
        self.listen_port = 40001
        self.peers: dict[str, Peer] = {}
        self.routes: dict[Network, str] = {}
        """Which peer a network's packets go to; what ``get`` shows may differ."""
        self.ports_in_use: set[int] = set()

    def answer(self, request: str) -> str:
        """The answer to one request, without the empty line at its end."""
        first, *lines = request.split("\n")
        try:
            if first == "get=1" and not lines:
                return self.get() + "errno=0\n"
            if first != "set=1":
                self.refuse_command()
            self.set([self.split(line) for line in lines])
        except Rejected as error:
            return f"errno={self.error_sign * error.number}\n"
        return "errno=0\n"

    def refuse_command(self) -> None:
        """What happens to a request that is neither get nor set."""
        raise Closed

    @staticmethod
    def split(line: str) -> tuple[str, str]:
        """The two sides of a line."""
        name, equals, value = line.partition("=")
        if not equals:
            raise Rejected(EPROTO)
        return name, value

    def handshake(self, public_key: str, endpoint: str, received: int = 148, sent: int = 92) -> None:
        """Let the peer have shaken hands now."""
        peer = self.peers[public_key]
        peer.handshake, peer.endpoint = self.clock(), endpoint
        peer.received += received
        peer.sent += sent

    # -- get

    def get(self) -> str:
        """The device's state, a line each."""
        lines = self.show_interface()
        for key, peer in self.peers.items():
            lines += [f"public_key={key}", *self.show_peer(peer)]
        return "".join(f"{line}\n" for line in lines)

    def show_interface(self) -> list[str]:
        """The lines before the first peer."""
        key = [] if self.private_key is None else [f"private_key={self.private_key.hex()}"]
        return [*key, *([f"listen_port={self.listen_port}"] if self.listen_port else [])]

    def show_peer(self, peer: Peer) -> list[str]:
        """A peer's lines after its key."""
        moment = peer.handshake or 0.0
        return [
            f"preshared_key={peer.preshared_key or ZERO}",
            "protocol_version=1",
            *([] if peer.endpoint is None else [f"endpoint={peer.endpoint}"]),
            f"last_handshake_time_sec={int(moment)}",
            f"last_handshake_time_nsec={int(moment % 1 * 1e9)}",
            f"tx_bytes={peer.sent}",
            f"rx_bytes={peer.received}",
            f"persistent_keepalive_interval={peer.keepalive or 0}",
            *(f"allowed_ip={network}" for network in peer.allowed),
        ]

    # -- set

    def set(self, lines: list[tuple[str, str]]) -> None:
        """Line by line; what came before a line that is refused stays."""
        current: str | None = None
        new = False
        for name, value in lines:
            if name == "public_key":
                current = _hex_key(value)
                new = current not in self.peers
                if self.private_key is None or current != self.private_key.public_key().hex():
                    self.peers.setdefault(current, Peer())
            elif current is None:
                self.set_interface(name, value)
            elif current in self.peers:
                if (name, value) != ("update_only", "true"):
                    self.set_peer(current, name, value)
                elif new:
                    self.drop(current)

    def set_interface(self, name: str, value: str) -> None:
        """One line before the first peer."""
        if name == "private_key":
            self.private_key = PrivateKey.from_hex(_hex_key(value))
            self.drop(self.private_key.public_key().hex())
        elif name == "listen_port":
            port = _number(value, 65535)
            if port in self.ports_in_use:
                self.listen_port = 0
                raise Rejected(EADDRINUSE)
            self.listen_port = port
        elif (name, value) == ("replace_peers", "true"):
            for key in tuple(self.peers):
                self.drop(key)
        else:
            raise Rejected(EINVAL)

    def set_peer(self, key: str, name: str, value: str) -> None:
        """One line of a peer that is there."""
        peer = self.peers[key]
        if (name, value) == ("remove", "true"):
            self.drop(key)
        elif name == "preshared_key":
            peer.preshared_key = _hex_key(value)
        elif name == "endpoint":
            peer.endpoint = _endpoint(value)
        elif name == "persistent_keepalive_interval":
            peer.keepalive = _number(value, 65535)
        elif (name, value) == ("replace_allowed_ips", "true"):
            for network in tuple(peer.allowed):
                self.unroute(key, network)
            peer.allowed.clear()
        elif name == "allowed_ip":
            self.allow(key, _network(value))
        else:
            raise Rejected(EINVAL)

    def allow(self, key: str, network: Network) -> None:
        """Route a network to a peer; here, it leaves its former holder."""
        for holder, peer in self.peers.items():
            if holder != key:
                peer.allowed.pop(network, None)
        self.peers[key].allowed[network] = None
        self.routes[network] = key

    def unroute(self, key: str, network: Network) -> None:
        """Take a peer's route away, unless another has taken it over."""
        if self.routes.get(network) == key:
            del self.routes[network]

    def drop(self, key: str) -> None:
        """Remove a peer, there or not."""
        peer = self.peers.pop(key, None)
        for network in () if peer is None else peer.allowed:
            self.unroute(key, network)

    def _read_peer(self, stated: Stated) -> Peer:
        """A new peer from one block. Raises Rejected; flags are left to the caller."""
        peer = Peer()
        for name, value in stated.lines:
            if name == "preshared_key":
                peer.preshared_key = _hex_key(value)
            elif name == "endpoint":
                peer.endpoint = _endpoint(value)
            elif name == "persistent_keepalive_interval":
                peer.keepalive = _number(value, 65535)
            elif name == "allowed_ip":
                peer.allowed[_network(value)] = None
            elif (name, value) not in {("remove", "true"), ("replace_allowed_ips", "true"), ("update_only", "true")}:
                raise Rejected(EINVAL)
        return peer

    def _share(self, key: str, network: Network) -> None:
        """Route a network to a peer; ``get`` goes on showing it at its former holder too."""
        self.peers[key].allowed[network] = None
        self.routes[network] = key


class Boringtun(WireguardGo):
    """boringtun 0.7.1: hangs for good on an update, and lets fields of a peer leak into the next."""

    serial = True
    one_request = True
    error_sign = 1

    LEAKING = ("preshared_key", "endpoint", "persistent_keepalive_interval", "remove")

    def refuse_command(self) -> None:
        """It answers with EIO."""
        raise Rejected(EIO)

    def show_interface(self) -> list[str]:
        """It never shows its private key."""
        own = [] if self.private_key is None else [f"own_public_key={self.private_key.public_key().hex()}"]
        return [*own, f"listen_port={self.listen_port}"]

    def show_peer(self, peer: Peer) -> list[str]:
        """The time of the handshake is an age, and absent where there was none."""
        age = None if peer.handshake is None else self.clock() - peer.handshake
        return [
            *([] if peer.preshared_key is None else [f"preshared_key={peer.preshared_key}"]),
            *([f"persistent_keepalive_interval={peer.keepalive}"] if peer.keepalive else []),
            *([] if peer.endpoint is None else [f"endpoint={peer.endpoint}"]),
            *(f"allowed_ip={network}" for network in peer.allowed),
            *([] if age is None else [f"last_handshake_time_sec={int(age)}"]),
            *([] if age is None else [f"last_handshake_time_nsec={int(age % 1 * 1e9)}"]),
            f"rx_bytes={peer.received}",
            f"tx_bytes={peer.sent}",
        ]

    def set(self, lines: list[tuple[str, str]]) -> None:
        """Peer by peer: one is applied when the next begins, so a refused line loses its own peer only."""
        stated: Stated | None = None
        leaked: dict[str, str] = {}
        for name, value in lines:
            if name == "public_key":
                if stated is not None:
                    self.add(stated, leaked)
                stated = Stated(_hex_key(value))
            elif stated is None:
                self.set_interface(name, value)
            elif name == "update_only":
                raise Rejected(EINVAL)
            else:
                if (name, value) != ("replace_allowed_ips", "false"):
                    self._read_peer(Stated("", [(name, value)]))
                if name in self.LEAKING:
                    leaked[name] = value
                stated.lines.append((name, value))
        if stated is not None:
            self.add(stated, leaked)

    def set_interface(self, name: str, value: str) -> None:
        """A port that is taken leaves the old one; no peer is dropped for being the device itself."""
        if name == "private_key":
            self.private_key = PrivateKey.from_hex(_hex_key(value))
        elif name == "listen_port" and _number(value, 65535) in self.ports_in_use:
            raise Rejected(EADDRINUSE)
        else:
            super().set_interface(name, value)

    def add(self, stated: Stated, leaked: dict[str, str]) -> None:
        """Add one peer with whatever the peers before it in the request have left behind."""
        if "remove" in leaked:
            self.drop(stated.public_key)
            return
        if self.private_key is None or stated.public_key in self.peers:
            raise Panicked
        allowed = [line for line in stated.lines if line[0] == "allowed_ip"]
        peer = self._read_peer(Stated(stated.public_key, [*leaked.items(), *allowed]))
        self.peers[stated.public_key] = peer
        for network in peer.allowed:
            self._share(stated.public_key, network)


class Gotatun(WireguardGo):
    """gotatun 0.10.2: reads a request whole before it does anything, and closes on what it cannot read."""

    error_sign = 1

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock)
        self.listen_port = 0
        self.bound = False
        self.dead = False

    def answer(self, request: str) -> str:
        """Once its task has died, every connection is closed without an answer."""
        if self.dead:
            raise Closed
        return super().answer(request)

    def show_interface(self) -> list[str]:
        """The port is shown whatever it is."""
        return [
            *([] if self.private_key is None else [f"private_key={self.private_key.hex()}"]),
            f"listen_port={self.listen_port}",
        ]

    def show_peer(self, peer: Peer) -> list[str]:
        """What is not set is not shown."""
        moment = peer.handshake
        preshared = peer.preshared_key if peer.preshared_key != ZERO else None
        return [
            *([] if preshared is None else [f"preshared_key={preshared}"]),
            *([] if peer.endpoint is None else [f"endpoint={peer.endpoint}"]),
            *([f"persistent_keepalive_interval={peer.keepalive}"] if peer.keepalive else []),
            *([] if moment is None else [f"last_handshake_time_sec={int(moment)}"]),
            *([] if moment is None else [f"last_handshake_time_nsec={int(moment % 1 * 1e9)}"]),
            f"rx_bytes={peer.received}",
            f"tx_bytes={peer.sent}",
            *(f"allowed_ip={network}" for network in peer.allowed),
        ]

    def set(self, lines: list[tuple[str, str]]) -> None:
        """All or nothing where the request cannot be read; a refused key or port is taken all the same."""
        interface: list[tuple[str, str]] = []
        blocks: list[Stated] = []
        try:
            for name, value in lines:
                if name == "public_key":
                    blocks.append(Stated(_hex_key(value)))
                else:
                    (blocks[-1].lines if blocks else interface).append((name, value))
            for block in blocks:
                self._read_peer(block)
            scratch = WireguardGo()
            for name, value in interface:
                scratch.set_interface(name, value)
        except Rejected as error:
            raise Closed from error
        if len({block.public_key for block in blocks}) != len(blocks):
            raise Rejected(EINVAL)
        for name, value in interface:
            self.set_interface(name, value)
        self.bound = self.private_key is not None
        for block in blocks:
            self.set_block(block)

    @staticmethod
    def split(line: str) -> tuple[str, str]:
        """A line that is none closes the connection."""
        try:
            return WireguardGo.split(line)
        except Rejected as error:
            raise Closed from error

    def set_interface(self, name: str, value: str) -> None:
        """Another key is refused and taken; another port may be the end of it (here, it always is)."""
        if name == "private_key":
            before, self.private_key = self.private_key, PrivateKey.from_hex(value)
            self.listen_port = self.listen_port or 40001
            if before not in (None, self.private_key):
                raise Rejected(EINVAL)
        elif name == "listen_port":
            before_port, self.listen_port = self.listen_port, int(value)
            if self.listen_port in self.ports_in_use:
                raise Rejected(EINVAL)
            if self.bound and before_port != self.listen_port:
                self.dead = True
                raise Closed
        else:
            super().set_interface(name, value)

    def set_block(self, block: Stated) -> None:
        """Add, update or remove one peer."""
        key = block.public_key
        if block.says("remove"):
            self.drop(key)
            return
        if block.says("update_only") and key not in self.peers:
            return
        if self.private_key is None:
            self.dead = True
            raise Closed
        self.peers.setdefault(key, Peer())
        for name, value in sorted(block.lines, key=lambda line: line[0] != "replace_allowed_ips"):
            if name != "update_only":
                self.set_peer(key, name, value)

    def allow(self, key: str, network: Network) -> None:
        """The former holder goes on being shown."""
        self._share(key, network)


FAKE_DAEMONS: dict[str, type[WireguardGo]] = {
    "boringtun": Boringtun,
    "gotatun": Gotatun,
    "wireguard-go": WireguardGo,
}


def _hex_key(value: str) -> str:
    try:
        raw = bytes.fromhex(value)
    except ValueError as error:
        raise Rejected(EINVAL) from error
    if len(raw) != 32 or len(value) != 64:
        raise Rejected(EINVAL)
    return raw.hex()


def _number(value: str, limit: int) -> int:
    if not (value.isascii() and value.isdecimal() and int(value) <= limit):
        raise Rejected(EINVAL)
    return int(value)


def _endpoint(value: str) -> str:
    try:
        endpoint = Endpoint.parse(value)
        parse_port(str(endpoint.port))
    except InvalidInput as error:
        raise Rejected(EINVAL) from error
    return str(endpoint)


def _network(value: str) -> Network:
    try:
        return ip_network(value, strict=False)
    except ValueError as error:
        raise Rejected(EINVAL) from error
