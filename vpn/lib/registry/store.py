"""The interface to the registry. Nothing above it knows how, or where, it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from ipaddress import IPv4Address

    from vpn.lib.registry.audit import Chain, Record
    from vpn.lib.registry.peer import Invitation, Peer, PeerName, PeerType
    from vpn.lib.wireguard.keys import PrivateKey, PublicKey
    from vpn.lib.wireguard.types import Endpoint


class LogEntry(NamedTuple):
    """A change: when (registry time, seconds), by whom, to whom, and what. Without secrets.

    ``uid`` is the process's, ``login`` that of who logged in and became it, None where it is not known.
    """

    at: float
    uid: int
    command: str
    peer: PeerName | None
    what: str
    login: int | None = None


class Released(NamedTuple):
    """An address that is free again, since when (registry time, seconds)."""

    address: IPv4Address
    at: float


class Transaction(Protocol):
    """Reads and changes that become durable together, or not at all.

    Uniqueness of addresses, keys and names is enforced by the store: what breaks it raises Refused.
    """

    def attempt(self) -> AbstractContextManager[None]:
        """Changes that are taken back by themselves when the block raises; the others stay."""
        ...

    def peer(self, name: PeerName) -> Peer | None:
        """The peer of exactly this name."""
        ...

    def similar(self, name: PeerName) -> Peer | None:
        """The peer of this type whose id is the same, whatever its case."""
        ...

    def holder(self, public_key: PublicKey) -> Peer | None:
        """The peer that has this key."""
        ...

    def occupant(self, address: IPv4Address) -> Peer | None:
        """The peer that has this address."""
        ...

    def highest(self, first: IPv4Address, last: IPv4Address) -> IPv4Address | None:
        """The highest address from first to last that was ever used."""
        ...

    def was_used(self, address: IPv4Address) -> bool:
        """Whether a peer has the address, or had it."""
        ...

    def released(self, first: IPv4Address, last: IPv4Address) -> Iterator[Released]:
        """The released addresses from first to last, the one that was released first at the front."""
        ...

    def former_key(self, name: PeerName) -> PublicKey | None:
        """The key that was taken away from this name last."""
        ...

    def leaked_at(self, public_key: PublicKey) -> float | None:
        """When the key was marked as leaked, None when it was not."""
        ...

    def mark_leaked(self, public_key: PublicKey, at: float) -> None:
        """Refuse this key for ever: a peer that is put with it raises Refused."""
        ...

    def now(self, clock: float) -> float:
        """Registry time: ``clock``, but never earlier than the latest time in the log."""
        ...

    def put(self, peer: Peer) -> None:
        """Register the peer, or replace what is registered under its name."""
        ...

    def take_key(self, peer: Peer, at: float) -> None:
        """Register the peer without its key, and remember that as its former one."""
        ...

    def delete(self, name: PeerName, at: float) -> None:
        """Forget the peer, and remember its address as released, and its key as its former one."""
        ...

    def rename(self, name: PeerName, new_id: str) -> None:
        """Give the peer another id: all that belongs to it stays."""
        ...

    def due(self, now: float) -> list[Peer]:
        """The enabled peers whose time is over."""
        ...

    def invitation(self, name: PeerName) -> Invitation | None:
        """The peer's invitation, also one that has expired."""
        ...

    def invited_at(self, address: IPv4Address) -> Invitation | None:
        """The invitation with this temporary address."""
        ...

    def invites(self, public_key: PublicKey) -> Invitation | None:
        """The invitation with this temporary key."""
        ...

    def invite(self, invitation: Invitation) -> None:
        """Keep the invitation, in the place of the peer's former one."""
        ...

    def withdraw(self, name: PeerName) -> bool:
        """Forget the peer's invitation; whether there was one."""
        ...

    def due_invitations(self, now: float) -> list[Invitation]:
        """The invitations whose time is over and that have not expired yet."""
        ...

    def highest_invited(self, first: IPv4Address, last: IPv4Address) -> IPv4Address | None:
        """The highest temporary address from first to last that is in use."""
        ...

    def invited_addresses(self) -> set[IPv4Address]:
        """All temporary addresses in use."""
        ...

    def release(self, addresses: Iterable[IPv4Address], at: float) -> None:
        """Remember addresses as used once, and free."""
        ...

    def image(self) -> bytes:
        """The whole registry as it is in this transaction, to be kept: it holds every secret."""
        ...

    def log(self, entry: LogEntry) -> None:
        """Append to the log, and to its chain."""
        ...


class Registry(Protocol):
    """The registry. Reading methods see the last committed state."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """A transaction: committed, durably, when its block ends well, rolled back when it raises."""
        ...

    def private_key(self) -> PrivateKey:
        """The hub's private key."""
        ...

    def public_key(self) -> PublicKey:
        """The hub's public key, without touching the private one."""
        ...

    def peer(self, name: PeerName) -> Peer | None:
        """The peer of exactly this name."""
        ...

    def peers(self, peer_type: PeerType | None = None) -> Iterator[Peer]:
        """All peers, or those of a type, by type and id, as they are when the first one is asked for."""
        ...

    def invitations(self) -> Iterable[Invitation]:
        """All invitations, by type and id, also those that have expired."""
        ...

    def invitation(self, name: PeerName) -> Invitation | None:
        """The peer's invitation, also one that has expired."""
        ...

    def deadline(self) -> float | None:
        """When the next peer or invitation expires (Unix time), None when none does."""
        ...

    def now(self, clock: float) -> float:
        """Registry time: ``clock``, but never earlier than the latest time in the log."""
        ...

    def version(self) -> int:
        """A number that changes whenever another process commits a change."""
        ...

    def replaced(self) -> bool:
        """Whether another registry stands in the place of this one, or none: what is read here is the past."""
        ...

    def endpoints(self) -> Mapping[PublicKey, Endpoint]:
        """The last known endpoints."""
        ...

    def save_endpoints(self, endpoints: Mapping[PublicKey, Endpoint]) -> None:
        """Remember endpoints of registered keys; others are passed over."""
        ...

    def leaked(self) -> Iterable[PublicKey]:
        """All keys that were marked as leaked."""
        ...

    def chain(self) -> Chain:
        """Where the log's chain begins, and how it ends."""
        ...

    def records(self) -> Iterator[Record]:
        """The log, oldest first."""
        ...

    def latest(self, count: int, before: int | None = None, command: str | None = None) -> list[Record]:
        """The last entries of the log, newest first: of those before a number, and of a command, where one is given."""
        ...

    def released(self, since: float) -> list[IPv4Address]:
        """The addresses that were released after a time."""
        ...

    def pending(self) -> Mapping[str, bytes | None]:
        """What a restore has still to write: contents by name, None for what has to go."""
        ...

    def settle(self, name: str) -> None:
        """It is written; nothing is pending of this name."""
        ...

    def check(self) -> None:
        """Read everything and raise StateError when it is damaged."""
        ...

    def close(self) -> None:
        """Let go of the registry."""
        ...
