"""The life of a peer after its registration: disabled and enabled, expired, renamed, asked for new keys."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from vpn.lib.errors import DeviceError, Refused, Unproven
from vpn.lib.hub import proof, state
from vpn.lib.hub.invitations import shown
from vpn.lib.hub.outcomes import Added, Removed
from vpn.lib.hub.wanted import wanted_peer
from vpn.lib.registry.peer import PeerName, Standing, parse_name
from vpn.lib.registry.store import LogEntry
from vpn.lib.wireguard.plan import Plan

if TYPE_CHECKING:
    from vpn.lib.hub.service import Change, Hub
    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.peer import Peer
    from vpn.lib.registry.store import Registry


def disable(hub: Hub, name: PeerName, *, dry_run: bool = False) -> Removed:
    """Take the peer out of wg0, proven; its key, address and config.env stay. An invitation is withdrawn.

    Raises Refused for a peer that is not registered, Unproven as ``Hub.remove`` does.
    """
    with hub.locked():
        with hub.changing(dry_run=dry_run) as change:
            peer = change.registered(name)
            invitation = change.transaction.invitation(name)
            change.transaction.withdraw(name)
            if peer.standing is not Standing.DISABLED:
                change.transaction.put(peer._replace(standing=Standing.DISABLED, changed=change.now))
                change.log(name, "disable")
        if dry_run:
            return Removed(peer, peer.public_key, None, withdrawn=invitation is not None)
        if invitation is not None:
            hub.write_config(peer)
            proof.gone(hub.device, name, invitation.public_key)
        proven = None if peer.public_key is None else proof.gone(hub.device, name, peer.public_key)
    return Removed(peer, peer.public_key, proven, withdrawn=invitation is not None)


def enable(hub: Hub, name: PeerName, *, dry_run: bool = False) -> Added:
    """Let a disabled peer in again. Raises Refused for one that has expired, Unproven when wg0 did not take it."""
    with hub.locked():
        with hub.changing(dry_run=dry_run) as change:
            peer = change.registered(name)
            if peer.standing is Standing.EXPIRED or (peer.until is not None and peer.until <= change.now):
                raise Refused(f"{name} has expired; `genconf {name} --until DATE` gives it more time")
            fresh = peer._replace(standing=Standing.ENABLED, changed=change.now)
            if peer.standing is Standing.ENABLED:
                return Added(peer, False, None, None)
            change.transaction.put(fresh)
            change.log(name, "enable")
        wanted = wanted_peer(fresh)
        if dry_run or wanted is None:
            return Added(fresh, True, None, None)
        try:
            applied = hub.apply(Plan(update=(wanted,)))
        except DeviceError as error:
            raise Unproven(f"{name} is enabled, but wg0 did not take it, which the hub mends: {error}") from error
    return Added(fresh, True, None, applied or None)


def limit(change: Change, peer: Peer, until: float) -> Peer:
    """The peer with another end (infinity for none), noted. Raises Refused for an end that has passed."""
    end = None if until == math.inf else until
    if end == peer.until and peer.standing is not Standing.EXPIRED:
        return peer
    if until <= change.now:
        raise Refused(f"--until is {shown(until)}, which is over; give a later date, or `disable {peer.name}`")
    standing = Standing.ENABLED if peer.standing is Standing.EXPIRED else peer.standing
    change.log(peer.name, "until further notice" if end is None else f"until {shown(end)}")
    return peer._replace(until=end, standing=standing, changed=change.now)


def rename(hub: Hub, name: PeerName, new_id: str, *, dry_run: bool = False) -> Peer:
    """Give the peer another id; its address and keys stay, so that its traffic does not notice.

    Raises Refused for a service, an unknown peer, and an id that is taken, InvalidInput for what is no id.
    """
    fresh_name = parse_name(name.type, new_id)
    for one in (name, fresh_name):
        if hub.settings.plan.reserved(one) is not None:
            raise Refused(f"{one} is found by its name; it keeps it")
    with hub.locked():
        hub.tree.check_all([name, fresh_name])
        with hub.changing(dry_run=dry_run) as change:
            taken = change.transaction.similar(fresh_name)
            if taken is not None and taken.name == fresh_name and change.transaction.peer(name) is None:
                # One that was killed after its commit: what is left is done below.
                fresh = taken
            else:
                peer = change.registered(name)
                if fresh_name == name:
                    return peer
                if taken is not None and taken.name != name:
                    raise Refused(f"{taken.name} is registered already; choose another id")
                change.transaction.rename(name, new_id)
                change.log(name, f"rename to {new_id}")
                fresh = peer._replace(name=fresh_name)
        if not dry_run:
            hub.write_config(fresh)
            hub.tree.delete(name)
    return fresh


def ask_rotation(hub: Hub, name: PeerName, *, dry_run: bool = False) -> Peer:
    """Ask the component for new keys; it makes them when it looks next. Raises Refused where there is none to ask."""
    with hub.locked(), hub.changing(dry_run=dry_run) as change:
        peer = change.registered(name)
        if peer.public_key is None or peer.standing is not Standing.ENABLED:
            what = "has no key yet" if peer.public_key is None else f"is {peer.standing.value}"
            raise Refused(f"{name} {what}; there is nothing to rotate")
        fresh = peer._replace(rotation=change.now)
        change.transaction.put(fresh)
        change.log(name, "rotate: asked for new keys")
    return fresh


def note_version(hub: Hub, name: PeerName, version: str) -> None:
    """Remember which release the component says it runs."""
    with hub.locked(), hub.changing() as change:
        peer = change.transaction.peer(name)
        if peer is not None and peer.version != version:
            change.transaction.put(peer._replace(version=version))


def expire(settings: Settings, registry: Registry, clock: float) -> list[PeerName]:
    """End what is due by registry time: peers and invitations; their names. For the daemon, which then looks at wg0."""
    import os

    with state.command_lock(settings, state.DAEMON_PATIENCE), registry.transaction() as transaction:
        now = transaction.now(clock)
        names = []
        for peer in transaction.due(now):
            transaction.put(peer._replace(standing=Standing.EXPIRED, changed=now))
            transaction.withdraw(peer.name)
            transaction.log(LogEntry(now, os.getuid(), "vpn_server", peer.name, "expire"))
            names.append(peer.name)
        for invitation in transaction.due_invitations(now):
            transaction.invite(invitation._replace(expired=True))
            transaction.log(LogEntry(now, os.getuid(), "vpn_server", invitation.name, "invitation expired"))
            names.append(invitation.name)
    return names


def wait_for_rotation(hub: Hub, name: PeerName, before: Peer, patience: float) -> Peer | None:
    """The peer with its new keys, None when it has not made any within ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while True:
        peer = hub.find(name)
        if peer is None or peer.public_key != before.public_key:
            return peer
        if time.monotonic() > deadline:
            return None
        time.sleep(0.1)
