"""The cross-platform userspace protocol as text (www.wireguard.com/xplatform/). Pure.

A request is ``get=1`` or ``set=1`` and a block of ``key=value`` lines, ended by an empty line. Keys are
lower-case hexadecimal. An answer ends in ``errno=N`` and an empty line.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_network
from typing import TYPE_CHECKING

from vpn.lib.errors import DeviceError, DeviceRefused
from vpn.lib.wireguard.keys import PresharedKey, PrivateKey, PublicKey
from vpn.lib.wireguard.types import Endpoint, IPNetwork, ObservedDevice, ObservedPeer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vpn.lib.wireguard.types import WantedPeer

GET = b"get=1\n\n"
END = b"\n\n"
_NO_PRESHARED_KEY = "0" * 64


def encode_interface(private_key: PrivateKey | None, listen_port: int | None) -> bytes:
    """A ``set`` of the interface itself. The private key goes first: boringtun hangs on a peer before it."""
    lines = ["set=1"]
    if private_key is not None:
        lines.append(f"private_key={private_key.hex()}")
    if listen_port is not None:
        lines.append(f"listen_port={listen_port}")
    return "\n".join(lines).encode() + END


def encode_remove(keys: Iterable[PublicKey]) -> bytes:
    """A ``set`` that removes peers and does nothing else. Keys that are not there do no harm."""
    return "\n".join(["set=1", *(f"public_key={key.hex()}\nremove=true" for key in keys)]).encode() + END


def encode_peers(peers: Iterable[WantedPeer]) -> bytes:
    """A ``set`` that states each peer whole.

    boringtun lets a field of one peer leak into the next that does not state it: put only peers with
    the same ``stated_fields`` into one request.
    """
    lines = ["set=1"]
    for peer in peers:
        lines.append(f"public_key={bytes(peer.public_key).hex()}")
        if peer.preshared_key is not None:
            lines.append(f"preshared_key={bytes(peer.preshared_key).hex()}")
        if peer.endpoint is not None:
            lines.append(f"endpoint={peer.endpoint}")
        if peer.persistent_keepalive:
            lines.append(f"persistent_keepalive_interval={peer.persistent_keepalive}")
        lines.append("replace_allowed_ips=true")
        lines += [f"allowed_ip={network}" for network in peer.allowed_ips]
    return "\n".join(lines).encode() + END


def encode_update(peer: WantedPeer) -> bytes:
    """A ``set`` that brings one peer, there or not, to the wanted state: what is not wanted is stated as none."""
    preshared = _NO_PRESHARED_KEY if peer.preshared_key is None else peer.preshared_key.hex()
    lines = ["set=1", f"public_key={peer.public_key.hex()}", f"preshared_key={preshared}"]
    if peer.endpoint is not None:
        lines.append(f"endpoint={peer.endpoint}")
    lines.append(f"persistent_keepalive_interval={peer.persistent_keepalive}")
    lines.append("replace_allowed_ips=true")
    lines += [f"allowed_ip={network}" for network in peer.allowed_ips]
    return "\n".join(lines).encode() + END


def stated_fields(peer: WantedPeer) -> tuple[bool, bool, bool]:
    """Which of the fields that leak on boringtun ``encode_peers`` states for this peer."""
    return (peer.preshared_key is not None, peer.endpoint is not None, peer.persistent_keepalive > 0)


def check_errno(answer: bytes, doing: str) -> None:
    """Raise DeviceRefused unless the answer ends in ``errno=0``; ``doing`` says what was tried.

    An empty answer is gotatun's way of refusing a line that it does not know.
    """
    # Its last line, without a copy of what may be megabytes.
    last = answer[-40:].rstrip(b"\n").rpartition(b"\n")[2]
    if last == b"errno=0":
        return
    try:
        # wireguard-go writes the number with a minus sign.
        number = abs(int(last.removeprefix(b"errno=")))
    except ValueError:
        number = 22  # EINVAL
    raise DeviceRefused(f"the WireGuard daemon refused to {doing} (errno {number}); look at its log", number)


def parse_device(answer: bytes, *, handshake_is_age: bool, now: float) -> ObservedDevice:
    """The device in the answer to ``get=1``.

    ``handshake_is_age``: the daemon gives seconds since the handshake, not Unix time. ``now`` is Unix
    time. Lines that are not known here are passed over, as the protocol asks. Raises DeviceError for an
    answer that breaks the protocol, DeviceRefused for an error number.
    """
    check_errno(answer, "show its state")
    try:
        return _parse_device(answer.decode("ascii"), handshake_is_age, now)
    except (ValueError, OverflowError) as error:
        raise DeviceError("the WireGuard daemon's answer cannot be read; restart it") from error


def _parse_device(text: str, handshake_is_age: bool, now: float) -> ObservedDevice:
    head, *blocks = text.split("public_key=")
    if head.endswith("own_"):
        # boringtun never shows its private key, but `own_public_key` in its place.
        blocks[0] = "own=" + blocks[0]
        head, *blocks = [head[:-4] + blocks[0], *blocks[1:]]
    interface = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
    public_key = None
    if interface.get("own"):
        public_key = PublicKey.from_hex(interface["own"])
    elif interface.get("private_key", _NO_PRESHARED_KEY) != _NO_PRESHARED_KEY:
        public_key = _public_of(interface["private_key"])
    peers = {}
    for block in blocks:
        peer = _parse_peer(block, handshake_is_age, now)
        peers[peer.public_key] = peer
    return ObservedDevice(public_key, int(interface.get("listen_port", "0")), peers)


def _parse_peer(block: str, handshake_is_age: bool, now: float) -> ObservedPeer:
    key, *lines = block.split("\n")
    fields: dict[str, str] = {}
    allowed: list[IPNetwork] = []
    for line in lines:
        name, _, value = line.partition("=")
        if name == "allowed_ip":
            allowed.append(_network(value))
        else:
            fields[name] = value
    preshared = fields.get("preshared_key", _NO_PRESHARED_KEY)
    endpoint = fields.get("endpoint")
    seconds, nanoseconds = fields.get("last_handshake_time_sec"), fields.get("last_handshake_time_nsec", "0")
    handshake = None
    if seconds is not None:
        moment = int(seconds) + int(nanoseconds) / 1e9
        if handshake_is_age:
            handshake = now - moment
        elif moment:
            handshake = moment
    return ObservedPeer(
        PublicKey.observed(bytes.fromhex(key)),
        None if preshared == _NO_PRESHARED_KEY else PresharedKey.from_hex(preshared),
        frozenset(allowed),
        None if endpoint is None else Endpoint.parse(endpoint),
        int(fields.get("persistent_keepalive_interval", "0")),
        handshake,
        int(fields.get("rx_bytes", "0")),
        int(fields.get("tx_bytes", "0")),
    )


@lru_cache(maxsize=1 << 17)
def _network(text: str) -> IPNetwork:
    return ip_network(text)


@lru_cache(maxsize=4)
def _public_of(private_hex: str) -> PublicKey:
    return PrivateKey.from_hex(private_hex).public_key()
