"""A fake kernel behind pyroute2's IPRoute and WireGuard, as far as link.py and kernel.py use them.

Answers are pyroute2's own messages, encoded and decoded as on the way through the kernel. Any call,
keyword or field that is not known here is an AssertionError: the real ``WireGuard.set`` passes over
what it does not know.
"""

from __future__ import annotations

import errno
import os
import time
from base64 import b64decode
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network, IPv6Network, ip_address, ip_network
from socket import AF_INET
from typing import TYPE_CHECKING, Any

from pyroute2.netlink import NLM_F_DUMP_INTR
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic.wireguard import wgmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from tests.fakes.netlink_messages import allowed_ips, as_received, demand_fit, peer_attributes
from vpn.lib.wireguard.keys import PresharedKey, PrivateKey, PublicKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Network = IPv4Network | IPv6Network
IFF_UP = 1
NO_KEY = bytes(32)


@dataclass
class Peer:
    """A peer as the kernel keeps it; it always has a preshared key, of zeros for none."""

    preshared_key: bytes = NO_KEY
    endpoint: tuple[str, int] | None = None
    keepalive: int = 0
    allowed: dict[Network, None] = field(default_factory=dict)
    handshake: float = 0.0
    received: int = 0
    sent: int = 0


@dataclass
class Interface:
    """A network interface; the last four mean something for kind ``wireguard``."""

    index: int
    kind: str
    mtu: int = 1500
    up: bool = False
    addresses: list[IPv4Interface] = field(default_factory=list)
    routes: set[Network] = field(default_factory=set)
    private_key: PrivateKey | None = None
    listen_port: int = 0
    peers: dict[PublicKey, Peer] = field(default_factory=dict)
    generation: int = 0


class FakeKernel:
    """One network namespace. ``iproute`` and ``wireguard`` are what ``connect`` arguments take.

    - ``has_wireguard``: whether the kernel knows WireGuard
    - ``permitted``: whether this process has CAP_NET_ADMIN
    - ``message_peers``, ``message_networks``: how much fits into one message of a dump
    - ``ports_in_use``: UDP ports that something else listens on
    - ``between_messages``: called before each message of a dump but the first, as others may change things then
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.interfaces: dict[str, Interface] = {}
        self.has_wireguard = True
        self.permitted = True
        self.message_peers = 30
        self.message_networks = 40
        self.ports_in_use: set[int] = set()
        self.between_messages: Callable[[], None] = lambda: None
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.open_sockets = 0
        self._next_index = 2

    def add_interface(self, name: str, kind: str = "veth") -> Interface:
        """A new interface, as another program makes one."""
        interface = self.interfaces[name] = Interface(self._next_index, kind)
        self._next_index += 1
        return interface

    def handshake(self, name: str, public_key: PublicKey, endpoint: tuple[str, int]) -> None:
        """Let a peer have shaken hands now."""
        peer = self.interfaces[name].peers[public_key]
        peer.handshake, peer.endpoint = self.clock(), endpoint
        peer.received += 148
        peer.sent += 92

    @contextmanager
    def iproute(self) -> Iterator[FakeIPRoute]:
        """In place of ``IPRoute()``."""
        self.open_sockets += 1
        try:
            yield FakeIPRoute(self)
        finally:
            self.open_sockets -= 1

    @contextmanager
    def wireguard(self) -> Iterator[FakeWireGuard]:
        """In place of ``WireGuard()``, which looks its protocol up at once."""
        if not self.has_wireguard:
            raise refusal(errno.ENOENT)
        self.open_sockets += 1
        try:
            yield FakeWireGuard(self)
        finally:
            self.open_sockets -= 1

    def demand_permission(self) -> None:
        """Raise EPERM where this process may not."""
        if not self.permitted:
            raise refusal(errno.EPERM)


class FakeIPRoute:
    """The calls of IPRoute that are known here."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the fake IPRoute knows no {name}")

    def link_lookup(self, *, ifname: str) -> list[int]:
        """The index of an interface, or nothing."""
        return [interface.index for name, interface in self._kernel.interfaces.items() if name == ifname]

    def link(self, command: str, **arguments: Any) -> None:
        """add, del and set."""
        kernel = self._kernel
        kernel.calls.append((f"link {command}", arguments))
        kernel.demand_permission()
        if command == "add":
            known(arguments, {"ifname", "kind"})
            if arguments["ifname"] in kernel.interfaces:
                raise refusal(errno.EEXIST)
            if arguments["kind"] != "wireguard" or not kernel.has_wireguard:
                raise refusal(errno.EOPNOTSUPP)
            kernel.add_interface(arguments["ifname"], "wireguard")
        elif command == "del":
            known(arguments, {"index"})
            name, _ = self._find(arguments["index"])
            del kernel.interfaces[name]
        elif command == "set":
            known(arguments, {"index"}, {"mtu", "state"})
            _, interface = self._find(arguments["index"])
            if "mtu" in arguments:
                if arguments["mtu"] < 68:
                    raise refusal(errno.EINVAL)
                interface.mtu = arguments["mtu"]
            if "state" in arguments:
                assert arguments["state"] in ("up", "down")
                if arguments["state"] == "up" and interface.listen_port in kernel.ports_in_use:
                    raise refusal(errno.EADDRINUSE)
                interface.up = arguments["state"] == "up"
        else:
            raise AssertionError(f"unknown: link {command}")

    def get_links(self, index: int) -> list[Any]:
        """The message of one interface."""
        _, interface = self._find(index)
        header = {"index": index, "flags": IFF_UP if interface.up else 0}
        return [as_received(ifinfmsg, header, [("IFLA_MTU", interface.mtu)])]

    def get_addr(self, *, family: int, index: int) -> list[Any]:
        """The messages of an interface's IPv4 addresses; none for an interface that is not there."""
        assert family == AF_INET
        return [
            as_received(
                ifaddrmsg,
                {"family": AF_INET, "index": index, "prefixlen": address.network.prefixlen},
                [("IFA_ADDRESS", str(address.ip)), ("IFA_LOCAL", str(address.ip))],
            )
            for interface in self._kernel.interfaces.values()
            if interface.index == index
            for address in interface.addresses
        ]

    def addr(self, command: str, **arguments: Any) -> None:
        """add and del."""
        kernel = self._kernel
        kernel.calls.append((f"addr {command}", arguments))
        kernel.demand_permission()
        known(arguments, {"index", "address", "prefixlen"})
        _, interface = self._find(arguments["index"])
        address = IPv4Interface((arguments["address"], arguments["prefixlen"]))
        if command == "add":
            if address in interface.addresses:
                raise refusal(errno.EEXIST)
            interface.addresses.append(address)
        elif command == "del":
            if address not in interface.addresses:
                raise refusal(errno.EADDRNOTAVAIL)
            # With the first address of a network go the others of it (net.ipv4.conf.*.promote_secondaries=0).
            alike = [other for other in interface.addresses if other.network == address.network]
            gone = alike if alike[0] == address else [address]
            interface.addresses = [other for other in interface.addresses if other not in gone]
        else:
            raise AssertionError(f"unknown: addr {command}")

    def route(self, command: str, **arguments: Any) -> None:
        """replace."""
        kernel = self._kernel
        kernel.calls.append((f"route {command}", arguments))
        kernel.demand_permission()
        assert command == "replace", f"unknown: route {command}"
        known(arguments, {"dst", "oif", "scope"})
        _, interface = self._find(arguments["oif"])
        if not interface.up:
            raise refusal(errno.ENETDOWN)
        interface.routes.add(ip_network(arguments["dst"]))

    def _find(self, index: int) -> tuple[str, Interface]:
        for name, interface in self._kernel.interfaces.items():
            if interface.index == index:
                return name, interface
        raise refusal(errno.ENODEV)


class FakeWireGuard:
    """``info`` and ``set`` of pyroute2's WireGuard."""

    PEER_FIELDS = frozenset(
        {
            "public_key",
            "remove",
            "update_only",
            "preshared_key",
            "endpoint_addr",
            "endpoint_port",
            "persistent_keepalive",
            "replace_allowed_ips",
            "allowed_ips",
        }
    )

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the fake WireGuard knows no {name}")

    def info(self, interface: str) -> Iterator[Any]:
        """The messages of the dump; only the first has the interface's own attributes."""
        self._kernel.demand_permission()
        device = self._find(interface)
        attributes: list[tuple[str, Any]] = [
            ("WGDEVICE_A_IFINDEX", device.index),
            ("WGDEVICE_A_IFNAME", interface),
            ("WGDEVICE_A_LISTEN_PORT", device.listen_port),
            ("WGDEVICE_A_FWMARK", 0),
        ]
        if device.private_key is not None:
            attributes += [
                ("WGDEVICE_A_PRIVATE_KEY", device.private_key.reveal()),
                ("WGDEVICE_A_PUBLIC_KEY", str(device.private_key.public_key())),
            ]
        generation = device.generation
        for peers in self._fitting(device):
            # What has changed since the message before makes the dump one of two states, and is said.
            flags = NLM_F_DUMP_INTR if device.generation != generation else 0
            generation = device.generation
            yield as_received(wgmsg, {"cmd": 0, "version": 1}, [*attributes, ("WGDEVICE_A_PEERS", peers)], flags)
            attributes = [("WGDEVICE_A_IFNAME", interface)]
            self._kernel.between_messages()

    def _fitting(self, device: Interface) -> Iterator[list[dict[str, Any]]]:
        """The peers, as many as fit into a message each time; at least one, empty if need be.

        A dump whose next peer is removed meanwhile ends there.
        """
        fit = self._kernel.message_networks
        batch: list[dict[str, Any]] = []
        for key, peer in list(device.peers.items()):
            if key not in device.peers:
                break
            networks = list(peer.allowed)
            batch.append(peer_attributes(key, peer, networks[:fit]))
            for start in range(fit, len(networks), fit):
                # The kernel ends the message at the network that does not fit, and goes on with the key.
                yield batch
                batch = [{"attrs": [("WGPEER_A_PUBLIC_KEY", str(key)), allowed_ips(networks[start : start + fit])]}]
            if len(batch) >= self._kernel.message_peers:
                yield batch
                batch = []
        yield batch

    def set(
        self,
        interface: str,
        listen_port: int | None = None,
        private_key: str | None = None,
        peer: dict[str, Any] | None = None,
    ) -> None:
        """One request: the port, the key, then at most one peer."""
        kernel = self._kernel
        kernel.calls.append(("wireguard set", {"listen_port": listen_port, "peer": peer}))
        kernel.demand_permission()
        device = self._find(interface)
        device.generation += 1
        if listen_port is not None:
            # An interface that is down has no socket yet: its port is not looked at.
            if device.up and listen_port in kernel.ports_in_use:
                raise refusal(errno.EADDRINUSE)
            device.listen_port = listen_port
        if private_key is not None:
            device.private_key = PrivateKey.parse(private_key)
            # The kernel drops a peer that turns out to be the interface itself.
            device.peers.pop(device.private_key.public_key(), None)
        if peer is not None:
            self._set_peer(device, peer)

    def _set_peer(self, device: Interface, request: dict[str, Any]) -> None:
        known(request, {"public_key"}, self.PEER_FIELDS)
        demand_fit(request)
        key = PublicKey.observed(b64decode(request["public_key"]))
        if request.get("remove"):
            device.peers.pop(key, None)
            return
        if device.private_key is not None and key == device.private_key.public_key():
            return
        if request.get("update_only") and key not in device.peers:
            return
        peer = device.peers.setdefault(key, Peer())
        if "preshared_key" in request:
            peer.preshared_key = bytes(PresharedKey.parse(request["preshared_key"]))
        assert ("endpoint_addr" in request) == ("endpoint_port" in request), "one without the other is passed over"
        if "endpoint_addr" in request:
            peer.endpoint = str(ip_address(request["endpoint_addr"])), request["endpoint_port"]
        if "persistent_keepalive" in request:
            assert 0 <= request["persistent_keepalive"] < 65536
            peer.keepalive = request["persistent_keepalive"]
        if request.get("replace_allowed_ips"):
            peer.allowed.clear()
        for text in request.get("allowed_ips", ()):
            network = ip_network(text)
            for other in device.peers.values():
                other.allowed.pop(network, None)
            peer.allowed[network] = None

    def _find(self, name: str) -> Interface:
        interface = self._kernel.interfaces.get(name)
        if interface is None:
            raise refusal(errno.ENODEV)
        if interface.kind != "wireguard":
            raise refusal(errno.EOPNOTSUPP)
        return interface


def refusal(number: int) -> NetlinkError:
    """What pyroute2 raises for an error number."""
    return NetlinkError(number, os.strerror(number))


def known(arguments: dict[str, Any], due: set[str], allowed: set[str] | frozenset[str] = frozenset()) -> None:
    """Fail on a name that pyroute2 would pass over, or one that is missing."""
    assert due <= arguments.keys() <= due | allowed, f"names are not known or missing: {sorted(arguments)}"
