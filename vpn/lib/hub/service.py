"""What can be done with the hub's peers. The scripts parse, call this, and print."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Self

from vpn.lib.errors import DeviceError, DeviceMissing, Refused, Unproven
from vpn.lib.hub import life, peer_config, proof, registering, state
from vpn.lib.hub.outcomes import Added, Removed
from vpn.lib.hub.wanted import wanted_peer
from vpn.lib.registry.store import LogEntry
from vpn.lib.registry.tree import Tree
from vpn.lib.wireguard.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from vpn.lib.hub.outcomes import Configured, Terms
    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.audit import Chain, Record
    from vpn.lib.registry.peer import Invitation, Peer, PeerName
    from vpn.lib.registry.store import Registry, Transaction
    from vpn.lib.wireguard.device import Device
    from vpn.lib.wireguard.keys import PublicKey
    from vpn.lib.wireguard.types import ObservedDevice


class Change(NamedTuple):
    """A transaction on the registry, as a command makes it: ``now`` is registry time."""

    transaction: Transaction
    now: float
    by: tuple[str, int | None]

    def log(self, name: PeerName | None, what: str) -> None:
        """Note a change."""
        command, login = self.by
        self.transaction.log(LogEntry(self.now, os.getuid(), command, name, what, login))

    def registered(self, name: PeerName) -> Peer:
        """The peer. Raises Refused when there is none."""
        peer = self.transaction.peer(name)
        if peer is None:
            raise _unknown(name, self.transaction.similar(name))
        return peer


class _Rehearsed(Exception):
    """Ends a transaction that was only tried."""


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
        self.device = device
        self._command = command
        self._login = login
        self._clock = clock
        self.tree = Tree(settings.folder, settings.owner)
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

    def find(self, name: PeerName) -> Peer | None:
        """The registered peer, None when there is none."""
        return self._registry.peer(name)

    def invitations(self) -> Iterable[Invitation]:
        """All invitations, by type and id, also those that have expired."""
        return self._registry.invitations()

    def invitation(self, name: PeerName) -> Invitation | None:
        """The peer's invitation, also one that has expired."""
        return self._registry.invitation(name)

    def locked(self) -> AbstractContextManager[object]:
        """Hold the command lock: for changes and what follows from them."""
        return self._lock

    @contextmanager
    def changing(self, *, dry_run: bool = False) -> Iterator[Change]:
        """A change of the registry, with the command lock held; with ``dry_run`` it is taken back at its end."""
        try:
            with self._registry.transaction() as transaction:
                yield Change(transaction, transaction.now(self._clock()), (self._command, self._login))
                if dry_run:
                    raise _Rehearsed
        except _Rehearsed:
            pass

    def write_config(self, peer: Peer) -> None:
        """Write the peer's config.env into ``config_peers``. Raises InvalidInput without a public address."""
        invitation = self._registry.invitation(peer.name)
        self.tree.write(peer.name, peer_config.text(peer, self.settings, self._hub_key, invitation))

    def back_up(self, save: Callable[[bytes], None], what: str) -> None:
        """Hand an image of the registry to ``save``, and log it as ``what``; if that raises, nothing is logged."""
        with self._lock, self.changing() as change:
            change.log(None, what)
            save(change.transaction.image())

    def chain(self) -> Chain:
        """How the audit log's chain begins and ends."""
        return self._registry.chain()

    def records(self) -> Iterator[Record]:
        """The audit log, oldest first."""
        return self._registry.records()

    def observe(self) -> ObservedDevice:
        """What wg0 holds now. Raises DeviceError."""
        return self.device.read()

    def config_path(self, name: PeerName) -> Path:
        """Where the peer's config.env is."""
        return self.tree.path(name)

    def genconf(self, name: PeerName, terms: Terms | None = None, *, dry_run: bool = False) -> Configured:
        """Register the peer, unless it is, and write its config.env.

        Raises Refused when another id differs only by case, or no address is left; InvalidInput when the
        hub's public address is not set.
        """
        (configured,) = self.genconf_all([name], terms=None if terms is None else {name: terms}, dry_run=dry_run)
        return configured

    def genconf_all(
        self,
        names: Iterable[PeerName],
        keys: Mapping[PeerName, PublicKey] | None = None,
        terms: Mapping[PeerName, Terms] | None = None,
        *,
        dry_run: bool = False,
    ) -> list[Configured]:
        """``genconf`` of many in one transaction, all or none; with ``keys``, ``add`` of them too.

        wg0 gets the keys in batches. With ``dry_run`` nothing is changed.
        """
        return registering.genconf_all(self, names, keys or {}, terms or {}, dry_run=dry_run)

    def add(self, name: PeerName, key: PublicKey, *, until: float | None = None, dry_run: bool = False) -> Added:
        """Give the registered peer this public key, and let it in. Its former key is out at once, and its invitation.

        Raises Refused for a peer that is not registered, the hub's own key and another peer's key;
        Unproven when wg0 did not take it, or did not lose the former key.
        """
        with self._lock:
            with self.changing(dry_run=dry_run) as change:
                before = change.registered(name)
                peer = before if until is None else life.limit(change, before, until)
                if peer.public_key != key:
                    self.check_key(change.transaction, name, key)
                    former = before.public_key
                    peer = peer._replace(public_key=key, changed=change.now)
                    change.log(name, f"add {key}" if former is None else f"add {key} in place of {former}")
                invitation = change.transaction.invitation(name)
                change.transaction.withdraw(name)
                if peer != before:
                    change.transaction.put(peer)
            replaced = before.public_key if before.public_key != key else None
            if peer == before and invitation is None:
                return Added(peer, False, None, None)
            if dry_run:
                return Added(peer, True, replaced, None)
            if invitation is not None:
                self.write_config(peer)
            out = tuple(filter(None, (replaced, None if invitation is None else invitation.public_key)))
            wanted = wanted_peer(peer)
            try:
                applied = self.apply(Plan(remove=out, update=() if wanted is None else (wanted,)))
                if applied and any(self.device.holds(one) for one in out):
                    raise Unproven(f"wg0 still holds the former key of {name}; restart the hub")
            except DeviceError as error:
                raise Unproven(f"the key of {name} is saved, but wg0 did not take it: {error}") from error
        return Added(peer, True, replaced, applied or None)

    def remove(self, name: PeerName, *, leaked: bool = False, dry_run: bool = False) -> Removed:
        """Take the peer's key away, and its invitation: its address and config.env stay. Proven by reading wg0 back.

        With ``leaked``, that key, or the one that was taken away last, is refused for ever, for everybody.
        Raises Refused for a peer that is not registered, or never had a key that could have leaked; Unproven when wg0
        cannot be shown to be without the key; the registry forbids it all the same.
        """
        with self._lock:
            with self.changing(dry_run=dry_run) as change:
                peer = change.registered(name)
                key, invitation = peer.public_key, change.transaction.invitation(name)
                if key is not None:
                    change.transaction.take_key(peer, change.now)
                    change.log(name, f"remove {key}")
                if invitation is not None:
                    change.transaction.withdraw(name)
                    change.log(name, "withdraw the invitation")
                marked = self._mark_leaked(change, name) if leaked else None
            if dry_run:
                return Removed(peer, key, None, marked, invitation is not None)
            if invitation is not None:
                self.write_config(peer)
            return self._removed(name, peer, key, marked, invitation)

    def removeconf(self, name: PeerName, *, leaked: bool = False, dry_run: bool = False) -> Removed:
        """Forget the peer: key, address and config.env. Its address is handed out again last.

        A peer that is not registered is no error. Raises Unproven, and Refused with ``leaked``, as ``remove`` does,
        and StateError, with nothing changed, where something else stands in the place of its files; ``remove`` works
        all the same.
        """
        with self._lock:
            self.tree.check(name)
            with self.changing(dry_run=dry_run) as change:
                peer = change.transaction.peer(name)
                invitation = change.transaction.invitation(name)
                if peer is not None:
                    change.transaction.delete(name, change.now)
                    change.log(name, f"removeconf {peer.address}")
                marked = self._mark_leaked(change, name) if leaked else None
            key = None if peer is None else peer.public_key
            if dry_run:
                return Removed(peer, key, None, marked, invitation is not None)
            # The tunnel first: a tree that cannot be changed must not keep a peer in.
            try:
                return self._removed(name, peer, key, marked, invitation)
            finally:
                self.tree.delete(name)

    def _removed(
        self,
        name: PeerName,
        peer: Peer | None,
        key: PublicKey | None,
        marked: PublicKey | None,
        invitation: Invitation | None,
    ) -> Removed:
        """What is true after a removal, proven; the leaked key goes to its file as well."""
        try:
            if invitation is not None:
                proof.gone(self.device, name, invitation.public_key)
            if key is None:
                proven = proof.no_strangers(self.device, name, self._registry)
            else:
                proven = proof.gone(self.device, name, key)
        finally:
            if marked is not None:
                from vpn.lib.hub import leaked

                leaked.write(self.settings, self._registry)
        return Removed(peer, key, proven, marked, invitation is not None)

    def _mark_leaked(self, change: Change, name: PeerName) -> PublicKey:
        key = change.transaction.former_key(name)
        if key is None:
            raise Refused(f"{name} never had a key that could have leaked; look at `list` for the right one")
        holder = change.transaction.holder(key)
        if holder is not None:
            raise Refused(f"that key is the one of {holder.name} now; `remove {holder.name} --leaked` takes it away")
        if change.transaction.leaked_at(key) is None:
            change.transaction.mark_leaked(key, change.now)
            change.log(name, f"leaked {key}")
        return key

    def check_key(self, transaction: Transaction, name: PeerName, key: PublicKey) -> None:
        """Raise Refused for a key that this peer cannot have."""
        if key == self._hub_key:
            raise Refused(f"that is the hub's own public key; give the one that {name} prints")
        holder = transaction.holder(key)
        if holder is not None and holder.name != name:
            raise Refused(f"that public key belongs to {holder.name}; each component makes its own")
        if transaction.leaked_at(key) is not None:
            raise Refused(f"that public key was marked as leaked and is refused for ever; make {name} a new one")

    def apply(self, plan: Plan) -> bool:
        """Whether wg0 is there and took the plan. Raises DeviceError."""
        try:
            self.device.apply(plan)
        except DeviceMissing:
            return False
        return True


def _unknown(name: PeerName, similar: Peer | None = None) -> Refused:
    if similar is not None:
        return Refused(f"{name} is not registered, but {similar.name} is; ids are case-sensitive")
    return Refused(f"{name} is not registered; run `genconf {name}` first, or look at `list`")
