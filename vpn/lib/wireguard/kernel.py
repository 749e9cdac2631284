"""The kernel's WireGuard device, through generic netlink (linux/wireguard.h) by pyroute2."""

from __future__ import annotations

import errno
from binascii import a2b_base64
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from vpn.lib.errors import DeviceError, DeviceRefused
from vpn.lib.wireguard.keys import PresharedKey, PublicKey
from vpn.lib.wireguard.link import translate
from vpn.lib.wireguard.types import Endpoint, IPNetwork, ObservedDevice, ObservedPeer

if TYPE_CHECKING:
    from vpn.lib.wireguard.plan import Plan
    from vpn.lib.wireguard.types import WantedPeer

Connect = Callable[[], Any]
"""Opens a pyroute2 WireGuard socket, or a fake of it; the result is a context manager."""

_MOST_NETWORKS = 1000
"""How many networks of a peer one request states: with 40 bytes each they fit the 65,535 of a netlink attribute."""

_MOST_READINGS = 20
_INTERRUPTED = 0x10
"""NLM_F_DUMP_INTR (linux/netlink.h): something has changed since the message before."""

_NO_KEY = bytes(32)
_NO_PRESHARED_KEY = PresharedKey(_NO_KEY)


def connect_wireguard() -> Any:
    """A new generic-netlink socket for WireGuard. The import takes 200 ms, so it happens at the first use."""
    from pyroute2 import WireGuard

    return WireGuard()


class KernelDevice:
    """Device over generic netlink. The kernel answers at once or not at all: there is no time limit to set."""

    def __init__(self, interface: str, connect: Connect = connect_wireguard) -> None:
        self._interface = interface
        self._connect = connect

    @property
    def interface(self) -> str:
        """The interface's name."""
        return self._interface

    def read(self) -> ObservedDevice:
        """What the device holds now, put together from all messages of the dump.

        A dump that a change interrupts may lack peers that are there, so it is read again. Raises DeviceError
        where changes never let it end.
        """
        with self._open() as netlink:
            for _ in range(_MOST_READINGS):
                messages = list(netlink.info(self._interface))
                if not any(message["header"]["flags"] & _INTERRUPTED for message in messages):
                    return assemble(messages)
        raise DeviceError(f"{self._interface} changes faster than it can be read; try again")

    def holds(self, public_key: PublicKey) -> bool:
        """Whether the device knows this peer."""
        return public_key in self.read().peers

    def apply(self, plan: Plan) -> None:
        """Carry the plan out. The kernel moves an address to the peer that was given it last."""
        if plan.empty:
            return
        with self._open() as netlink:
            for key in plan.remove:
                netlink.set(self._interface, peer={"public_key": str(key), "remove": True})
            if plan.private_key is not None:
                netlink.set(self._interface, private_key=plan.private_key.reveal())
            if plan.listen_port is not None:
                netlink.set(self._interface, listen_port=plan.listen_port)
            self._add(netlink, (*plan.update, *plan.add))

    def add(self, peers: Iterable[WantedPeer]) -> None:
        """Add peers, or bring them to the wanted state: the kernel makes no difference."""
        with self._open() as netlink:
            self._add(netlink, peers)

    def _add(self, netlink: Any, peers: Iterable[WantedPeer]) -> None:
        for peer in peers:
            for request in _peer_requests(peer):
                netlink.set(self._interface, peer=request)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            with self._connect() as netlink:
                yield netlink
        except NetlinkError as error:
            if error.code in (errno.ENODEV, errno.ENOENT, errno.EPERM, errno.EOPNOTSUPP, errno.EADDRINUSE):
                raise translate(error.code, self._interface) from error
            raise DeviceRefused(
                f"the kernel refused a change of {self._interface} (errno {error.code}); look at `dmesg`", error.code
            ) from error
        except PermissionError as error:
            raise translate(errno.EPERM, self._interface) from error


def _peer_requests(peer: WantedPeer) -> Iterator[dict[str, Any]]:
    """The peer as pyroute2 takes it. It passes over names that it does not know, so they stand here only.

    Networks that do not fit into the first request are added by others.
    """
    networks = [str(network) for network in peer.allowed_ips]
    preshared = peer.preshared_key or _NO_PRESHARED_KEY
    request: dict[str, Any] = {
        "public_key": str(peer.public_key),
        "preshared_key": preshared.reveal(),
        "persistent_keepalive": peer.persistent_keepalive,
        "replace_allowed_ips": True,
        "allowed_ips": networks[:_MOST_NETWORKS],
    }
    if peer.endpoint is not None:
        request["endpoint_addr"] = str(peer.endpoint.address)
        request["endpoint_port"] = peer.endpoint.port
    yield request
    for start in range(_MOST_NETWORKS, len(networks), _MOST_NETWORKS):
        yield {"public_key": request["public_key"], "allowed_ips": networks[start : start + _MOST_NETWORKS]}


def assemble(messages: Iterable[Any]) -> ObservedDevice:
    """One device from the messages of its dump.

    A large device comes in several messages, and a peer whose allowed IPs did not fit into one goes on in
    the next with its public key and the rest of them (linux/wireguard.h). Only the first message of the
    dump has the interface's own attributes.
    """
    public_key: PublicKey | None = None
    listen_port = 0
    peers: dict[PublicKey, ObservedPeer] = {}
    try:
        for message in messages:
            raw = message.get_attr("WGDEVICE_A_PUBLIC_KEY")
            if raw is not None and public_key is None:
                public_key = PublicKey.parse(_text(raw))
            listen_port = message.get_attr("WGDEVICE_A_LISTEN_PORT") or listen_port
            for attributes in message.get_attr("WGDEVICE_A_PEERS") or ():
                peer = _peer(attributes)
                before = peers.get(peer.public_key)
                if before is not None:
                    peer = before._replace(allowed_ips=before.allowed_ips | peer.allowed_ips)
                peers[peer.public_key] = peer
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeviceError("the kernel's answer cannot be read; update pyroute2") from error
    return ObservedDevice(public_key, listen_port, peers)


def _peer(attributes: Any) -> ObservedPeer:
    preshared = attributes.get_attr("WGPEER_A_PRESHARED_KEY")
    preshared_key = None if preshared is None else PresharedKey.parse(_text(preshared))
    endpoint = attributes.get_attr("WGPEER_A_ENDPOINT")
    handshake = attributes.get_attr("WGPEER_A_LAST_HANDSHAKE_TIME")
    moment = 0.0 if handshake is None else handshake["tv_sec"] + handshake["tv_nsec"] / 1e9
    return ObservedPeer(
        PublicKey.observed(a2b_base64(attributes.get_attr("WGPEER_A_PUBLIC_KEY"))),
        None if preshared_key == _NO_PRESHARED_KEY else preshared_key,
        frozenset(_networks(attributes)),
        None if endpoint is None else Endpoint(ip_address(endpoint["addr"]), endpoint["port"]),
        attributes.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") or 0,
        moment or None,
        attributes.get_attr("WGPEER_A_RX_BYTES") or 0,
        attributes.get_attr("WGPEER_A_TX_BYTES") or 0,
    )


def _networks(attributes: Any) -> Iterator[IPNetwork]:
    for allowed in attributes.get_attr("WGPEER_A_ALLOWEDIPS") or ():
        yield ip_network(allowed["addr"])


def _text(key: bytes) -> str:
    """A key as pyroute2 decodes it: base64, in bytes."""
    return key.decode("ascii")
