"""Registries and peers to test with."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from vpn.lib.registry import sqlite
from vpn.lib.registry.peer import Peer, PeerName, PeerType
from vpn.lib.registry.sqlite import SqliteRegistry
from vpn.lib.wireguard.keys import PresharedKey, PrivateKey, PublicKey

if TYPE_CHECKING:
    from pathlib import Path

HUB = PrivateKey(bytes(range(32)))


def key(number: int) -> PublicKey:
    """A public key, another one for each number."""
    return PublicKey(bytes([9, *number.to_bytes(4, "big"), *range(5, 32)]))


def peer(number: int, *, public_key: PublicKey | None = None, peer_id: str = "", address: str = "") -> Peer:
    """A node, another one for each number."""
    return Peer(
        PeerName(PeerType.NODE, peer_id or f"node{number}"),
        IPv4Address(address or f"10.221.0.{number}"),
        PresharedKey(bytes([number] * 32)),
        public_key,
        1000.0,
        1000.0,
    )


def made(path: Path, *peers: Peer) -> SqliteRegistry:
    """A new registry, open."""
    sqlite.create(path, HUB, peers, (), None)
    return SqliteRegistry(path)
