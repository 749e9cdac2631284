"""Names and keys to test with."""

from __future__ import annotations

from vpn.lib.registry.peer import PeerName, PeerType
from vpn.lib.wireguard.keys import PublicKey


def key(number: int) -> PublicKey:
    """A public key, another one for each number."""
    return PublicKey(bytes([9, *number.to_bytes(4, "big"), *range(5, 32)]))


def node(peer_id: str | int) -> PeerName:
    """A node's name."""
    return PeerName(PeerType.NODE, f"node{peer_id}" if isinstance(peer_id, int) else peer_id)
