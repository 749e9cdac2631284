"""What can be done with the hub's peers. The scripts parse, call this, and print."""

from __future__ import annotations

import os
import time
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, NamedTuple, Self

from vpn.lib.errors import DeviceError, DeviceMissing, Refused, Unproven
from vpn.lib.hub import assigning, peer_config, proof, state
from vpn.lib.registry.peer import Peer
from vpn.lib.registry.store import LogEntry
from vpn.lib.registry.tree import Tree
from vpn.lib.wireguard.keys import PresharedKey
from vpn.lib.wireguard.plan import Plan
from vpn.lib.wireguard.types import WantedPeer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.audit import Chain, Record
    from vpn.lib.registry.peer import PeerName
    from vpn.lib.registry.store import Registry, Transaction
    from vpn.lib.wireguard.device import Device
    from vpn.lib.wireguard.keys import PublicKey
    from vpn.lib.wireguard.types import ObservedDevice


class Configured(NamedTuple):
    """Of ``genconf``: the peer, and whether it is new."""

    peer: Peer
    new: bool


class Added(NamedTuple):
    """Of ``add``: whether anything changed, the key that was replaced, and whether wg0 has it now.

    ``applied`` is None where there is no wg0: the hub applies it when it starts.
    """

    peer: Peer
    changed: bool
    replaced: PublicKey | None
    applied: bool | None


class Removed(NamedTuple):
    """Of ``remove`` and ``removeconf``: what was there, and whether wg0 is proven to be without the key.

    ``proven`` is None where there is no wg0, ``leaked`` where no key was to be marked so.
    """

    peer: Peer | None
    removed_key: PublicKey | None
    proven: bool | None
    leaked: PublicKey | None = None


def wanted_peer(peer: Peer) -> WantedPeer | None:
    """What wg0 holds for a registered peer: its own address and nothing else; None before it has a key."""
    if peer.public_key is None:
        return None
    return WantedPeer(peer.public_key, peer.preshared_key, frozenset((IPv4Network((int(peer.address), 32)),)))


class Hub:
    """The hub's peers. Each method is one command: checked, committed, then projected.

    ``device`` is wg0, or what stands for it; ``clock`` gives Unix time; ``notify`` hears what happened to
    the state on opening. ``command`` and ``login`` go into the audit log. Use as a context manager.
    """

    def __init__(
        self,
        settings: Settings,
        device: Device,
        *,
        command: str = "library",
        login: int | None = None,
        notify: Callable[[state.Notice], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self._device = device
        self._command = command
        self._login = login
        self._clock = clock
        self._tree = Tree(settings.folder, settings.owner)
        state.make_folders(settings)
        self._lock = state.command_lock(settings)
        with self._lock:
            self._registry: Registry = state.open_registry(settings, notify, clock)
        self._hub_key = self._registry.public_key()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._registry.close()

    def public_key(self) -> PublicKey:
        """The hub's public key."""
        return self._hub_key

    def peers(self) -> Iterator[Peer]:
        """All registered peers, by type and id."""
        return self._registry.peers()

    def peer(self, name: PeerName) -> Peer:
        """The registered peer. Raises Refused when there is none."""
        peer = self._registry.peer(name)
        if peer is None:
            raise _unknown(name)
        return peer

    def back_up(self, save: Callable[[bytes], None], what: str) -> None:
        """Hand an image of the registry to ``save``, and log it as ``what``; if that raises, nothing is logged."""
        with self._lock, self._registry.transaction() as transaction:
            self._log(transaction, None, what, transaction.now(self._clock()))
            save(transaction.image())

    def chain(self) -> Chain:
        """How the audit log's chain begins and ends."""
        return self._registry.chain()

    def records(self) -> Iterator[Record]:
        """The audit log, oldest first."""
        return self._registry.records()

    def observe(self) -> ObservedDevice:
        """What wg0 holds now. Raises DeviceError."""
        return self._device.read()

    def config_path(self, name: PeerName) -> Path:
        """Where the peer's config.env is."""
        return self._tree.path(name)

    def genconf(self, name: PeerName) -> Configured:
        """Register the peer, unless it is, and write its config.env.

        Raises Refused when another id differs only by case, or no address is left; InvalidInput when the
        hub's public address is not set.
        """
        (configured,) = self.genconf_all([name])
        return configured

    def genconf_all(self, names: Iterable[PeerName], keys: dict[PeerName, PublicKey] | None = None) -> list[Configured]:
        """``genconf`` of many in one transaction, all or none; with ``keys``, ``add`` of them too.

        wg0 gets the keys in batches.
        """
        _ = self.settings.endpoint  # raises before anything is changed
        wanted_names = list(names)
        with self._lock:
            self._tree.check_all(wanted_names)
            with self._registry.transaction() as transaction:
                registered = [self._register(transaction, name, (keys or {}).get(name)) for name in wanted_names]
            texts = [(peer.name, peer_config.text(peer, self.settings, self._hub_key)) for peer, _ in registered]
            if len(texts) == 1:
                self._tree.write(*texts[0])
            else:
                self._tree.write_all(texts)
            self._let_in(registered)
        return [Configured(peer, before is None) for peer, before in registered]

    def _let_in(self, registered: list[tuple[Peer, Peer | None]]) -> None:
        """Bring wg0 up to date with peers of which some have another key than before."""
        changed = [
            (peer, before)
            for peer, before in registered
            if peer.public_key != (None if before is None else before.public_key)
        ]
        if changed:
            former = tuple(before.public_key for _, before in changed if before is not None and before.public_key)
            fresh = tuple(wanted for peer, _ in changed if (wanted := wanted_peer(peer)) is not None)
            try:
                self._apply(Plan(remove=former, update=fresh))
            except DeviceError as error:
                raise Unproven(f"all is saved, but wg0 did not take it, which the hub mends: {error}") from error

    def add(self, name: PeerName, key: PublicKey) -> Added:
        """Give the registered peer this public key, and let it in. Its former key is out at once.

        Raises Refused for a peer that is not registered, the hub's own key and another peer's key;
        Unproven when wg0 did not take it, or did not lose the former key.
        """
        with self._lock:
            with self._registry.transaction() as transaction:
                peer = transaction.peer(name)
                if peer is None:
                    raise _unknown(name, transaction.similar(name))
                if peer.public_key == key:
                    return Added(peer, False, None, None)
                self._check_key(transaction, name, key)
                former = peer.public_key
                now = transaction.now(self._clock())
                peer = peer._replace(public_key=key, changed=now)
                transaction.put(peer)
                self._log(transaction, name, f"add {key}" if former is None else f"add {key} in place of {former}", now)
            wanted = wanted_peer(peer)
            assert wanted is not None
            try:
                applied = self._apply(Plan(remove=() if former is None else (former,), update=(wanted,)))
                if former is not None and applied and self._device.holds(former):
                    raise Unproven(f"wg0 still holds the former key of {name}; restart the hub")
            except DeviceError as error:
                raise Unproven(f"the key of {name} is saved, but wg0 did not take it: {error}") from error
        return Added(peer, True, former, applied or None)

    def remove(self, name: PeerName, *, leaked: bool = False) -> Removed:
        """Take the peer's key away: its address and config.env stay. Proven by reading wg0 back.

        With ``leaked``, that key, or the one that was taken away last, is refused for ever, for everybody.
        Raises Refused for a peer that is not registered, or never had a key that could have leaked; Unproven when wg0
        cannot be shown to be without the key; the registry forbids it all the same.
        """
        with self._lock:
            with self._registry.transaction() as transaction:
                peer = transaction.peer(name)
                if peer is None:
                    raise _unknown(name, transaction.similar(name))
                key, now = peer.public_key, transaction.now(self._clock())
                if key is not None:
                    transaction.take_key(peer, now)
                    self._log(transaction, name, f"remove {key}", now)
                marked = self._mark_leaked(transaction, name, now) if leaked else None
            return self._removed(name, peer, key, marked)

    def removeconf(self, name: PeerName, *, leaked: bool = False) -> Removed:
        """Forget the peer: key, address and config.env. Its address is handed out again last.

        A peer that is not registered is no error. Raises Unproven, and Refused with ``leaked``, as ``remove`` does,
        and StateError, with nothing changed, where something else stands in the place of its files; ``remove`` works
        all the same.
        """
        with self._lock:
            self._tree.check(name)
            with self._registry.transaction() as transaction:
                peer = transaction.peer(name)
                now = transaction.now(self._clock())
                if peer is not None:
                    transaction.delete(name, now)
                    self._log(transaction, name, f"removeconf {peer.address}", now)
                marked = self._mark_leaked(transaction, name, now) if leaked else None
            # The tunnel first: a tree that cannot be changed must not keep a peer in.
            try:
                return self._removed(name, peer, None if peer is None else peer.public_key, marked)
            finally:
                self._tree.delete(name)

    def _removed(self, name: PeerName, peer: Peer | None, key: PublicKey | None, marked: PublicKey | None) -> Removed:
        """What is true after a removal, proven; the leaked key goes to its file as well."""
        try:
            if key is None:
                proven = proof.no_strangers(self._device, name, self._registry)
            else:
                proven = proof.gone(self._device, name, key)
        finally:
            if marked is not None:
                from vpn.lib.hub import leaked

                leaked.write(self.settings, self._registry)
        return Removed(peer, key, proven, marked)

    def _mark_leaked(self, transaction: Transaction, name: PeerName, now: float) -> PublicKey:
        key = transaction.former_key(name)
        if key is None:
            raise Refused(f"{name} never had a key that could have leaked; look at `list` for the right one")
        holder = transaction.holder(key)
        if holder is not None:
            raise Refused(f"that key is the one of {holder.name} now; `remove {holder.name} --leaked` takes it away")
        if transaction.leaked_at(key) is None:
            transaction.mark_leaked(key, now)
            self._log(transaction, name, f"leaked {key}", now)
        return key

    def _register(self, transaction: Transaction, name: PeerName, key: PublicKey | None) -> tuple[Peer, Peer | None]:
        """The peer as it is registered now, with the key if one is given, and as it was before, if it was."""
        before = transaction.similar(name)
        if before is not None and before.name != name:
            raise Refused(f"{name} differs from {before.name} only by case; choose another id")
        now = transaction.now(self._clock())
        if before is None:
            peer = Peer(
                name,
                assigning.next_address(transaction, name, self.settings, now),
                PresharedKey.generate(),
                None,
                now,
                now,
            )
            self._log(transaction, name, f"genconf {peer.address}", now)
        else:
            peer = before
            misplaced = self.settings.plan.misplaced(name, peer.address)
            if misplaced is not None:
                raise Refused(f"{name} is registered, but {misplaced}; put the settings back, or `removeconf` it first")
        if key is not None and key != peer.public_key:
            self._check_key(transaction, name, key)
            peer = peer._replace(public_key=key, changed=now)
            self._log(transaction, name, f"add {key}", now)
        if peer != before:
            transaction.put(peer)
        return peer, before

    def _check_key(self, transaction: Transaction, name: PeerName, key: PublicKey) -> None:
        if key == self._hub_key:
            raise Refused(f"that is the hub's own public key; give the one that {name} prints")
        holder = transaction.holder(key)
        if holder is not None and holder.name != name:
            raise Refused(f"that public key belongs to {holder.name}; each component makes its own")
        if transaction.leaked_at(key) is not None:
            raise Refused(f"that public key was marked as leaked and is refused for ever; make {name} a new one")

    def _log(self, transaction: Transaction, name: PeerName | None, what: str, now: float) -> None:
        transaction.log(LogEntry(now, os.getuid(), self._command, name, what, self._login))

    def _apply(self, plan: Plan) -> bool:
        """Whether wg0 is there and took the plan."""
        try:
            self._device.apply(plan)
        except DeviceMissing:
            return False
        return True


def _unknown(name: PeerName, similar: Peer | None = None) -> Refused:
    if similar is not None:
        return Refused(f"{name} is not registered, but {similar.name} is; ids are case-sensitive")
    return Refused(f"{name} is not registered; run `genconf {name}` first, or look at `list`")
