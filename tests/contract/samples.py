"""Keys, peers and devices to put into one."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Network, ip_network
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from vpn.lib.wireguard.keys import PresharedKey, PrivateKey, PublicKey
from vpn.lib.wireguard.plan import plan
from vpn.lib.wireguard.types import Endpoint, IPNetwork, WantedDevice, WantedPeer

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from vpn.lib.wireguard.device import Device
    from vpn.lib.wireguard.types import ObservedDevice

PORT = 51820


@lru_cache
def private_key(number: int) -> PrivateKey:
    """The private key with this number, always the same."""
    return PrivateKey(sha256(b"private %d" % number).digest())


@lru_cache(maxsize=4096)
def public_key(number: int) -> PublicKey:
    """The public key that belongs to it."""
    return private_key(number).public_key()


def preshared_key(number: int) -> PresharedKey:
    """The preshared key with this number."""
    return PresharedKey(sha256(b"preshared %d" % number).digest())


def address(number: int) -> IPNetwork:
    """The address that peer number ``number`` has by default."""
    return IPv4Network(0x0A000000 + number)


def networks(*texts: str) -> frozenset[IPNetwork]:
    """Networks from their text."""
    return frozenset(map(ip_network, texts))


def wanted_peer(
    number: int,
    *,
    preshared: int | None = None,
    allowed: frozenset[IPNetwork] | None = None,
    endpoint: str | None = None,
    keepalive: int = 0,
) -> WantedPeer:
    """A peer, with its own address unless others are given."""
    return WantedPeer(
        public_key(number),
        None if preshared is None else preshared_key(preshared),
        frozenset({address(number)}) if allowed is None else allowed,
        None if endpoint is None else Endpoint.parse(endpoint),
        keepalive,
    )


def wanted_device(*peers: WantedPeer, key: int = 1, port: int = PORT) -> WantedDevice:
    """A device with these peers."""
    return WantedDevice(private_key(key), port, {peer.public_key: peer for peer in peers})


def bring(device: Device, wanted: WantedDevice) -> ObservedDevice:
    """Bring the device to the wanted state, as every caller does; what it holds afterwards."""
    device.apply(plan(wanted, device.read()))
    return device.read()


def assert_holds(observed: ObservedDevice, wanted: WantedDevice) -> None:
    """Fail unless the device holds exactly what is wanted, compared field by field and not by ``plan``."""
    assert observed.public_key == wanted.private_key.public_key()
    assert wanted.listen_port in (0, observed.listen_port)
    assert observed.peers.keys() == wanted.peers.keys()
    for key, peer in wanted.peers.items():
        seen = observed.peers[key]
        assert seen.public_key == key
        assert seen.preshared_key == peer.preshared_key
        assert seen.allowed_ips == peer.allowed_ips
        assert seen.persistent_keepalive == peer.persistent_keepalive
        assert peer.endpoint is None or seen.endpoint is not None


@st.composite
def wanted_devices(draw: st.DrawFn, *, same_key: bool = False, most: int = 8) -> WantedDevice:
    """Devices over a small world of keys and addresses, so that two of them have much in common.

    No address is given to two peers: the registry keeps them apart.
    """
    numbers = draw(st.lists(st.integers(10, 19), unique=True, max_size=most))
    holders = draw(st.lists(st.sampled_from([*numbers, None]), min_size=12, max_size=12)) if numbers else []
    peers = []
    for number in numbers:
        mine = frozenset(address(index + 1) for index, holder in enumerate(holders) if holder == number)
        peers.append(
            wanted_peer(
                number,
                preshared=draw(st.sampled_from([None, 1, 2])),
                allowed=mine,
                endpoint=draw(st.sampled_from([None, "192.0.2.1:51820", "[2001:db8::1]:51821"])),
                keepalive=draw(st.sampled_from([0, 25, 65535])),
            )
        )
    key = 1 if same_key else draw(st.integers(1, 2))
    return wanted_device(*peers, key=key, port=draw(st.sampled_from([PORT, PORT + 1])))


def walks(length: int) -> SearchStrategy[list[WantedDevice]]:
    """Sequences of wanted devices; the key changes now and then."""
    return st.lists(st.one_of(wanted_devices(same_key=True), wanted_devices()), min_size=2, max_size=length)
