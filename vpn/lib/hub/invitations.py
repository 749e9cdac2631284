"""Invitations: temporary keys that let a component in just far enough to hand over its own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.errors import Refused
from vpn.lib.registry.peer import Invitation, Standing
from vpn.lib.wireguard.keys import PresharedKey, PrivateKey
from vpn.lib.wireguard.plan import Plan

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network

    from vpn.lib.hub.service import Hub
    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.peer import Peer, PeerName
    from vpn.lib.registry.store import Transaction
    from vpn.lib.wireguard.keys import PublicKey


class Agreed(NamedTuple):
    """Of an enrolment or a rotation: the peer with its new keys, and the key of wg0 that they replace.

    ``new`` is False for a repetition: all was done before.
    """

    peer: Peer
    former: tuple[PublicKey, ...]
    new: bool


def make(
    transaction: Transaction, peer: Peer, before: Invitation | None, valid: float, now: float, settings: Settings
) -> Invitation:
    """A new invitation for the peer, at the address of the one ``before``. Raises Refused."""
    if peer.standing is not Standing.ENABLED:
        raise Refused(f"{peer.name} is {peer.standing.value}; `enable` it, or give it another --until first")
    network = settings.plan.invited
    if network is None:
        raise Refused(
            f"the VPN {settings.plan.hub.network} has no addresses left for invitations; set VPN_INVITATION_IP_ASSIGN,"
            " or register it with `genconf` and `add`"
        )
    key = PrivateKey.generate()
    if before is not None and before.address in network:
        address = before.address
    else:
        address = _next_address(transaction, network)
    invitation = Invitation(peer.name, key, key.public_key(), PresharedKey.generate(), address, now, now + valid)
    transaction.invite(invitation)
    return invitation


def _next_address(transaction: Transaction, network: IPv4Network) -> IPv4Address:
    first, last = network.network_address, network.broadcast_address
    highest = transaction.highest_invited(first, last)
    if highest is not None and highest + 1 < last:
        return highest + 1
    taken = transaction.invited_addresses()
    for address in network.hosts():
        if address not in taken:
            return address
    raise Refused(f"all addresses of {network} are given to invitations; `remove` one, or wait until one expires")


def enrol(hub: Hub, address: IPv4Address, key: PublicKey, preshared_key: PresharedKey) -> Agreed:
    """Take the component's own key for the invitation whose temporary address it asks from: once, for one.

    The temporary key is still in wg0, so that the answer can be sent through it: ``settle`` has to follow.
    Raises Refused.
    """
    with hub.locked():
        with hub.changing() as change:
            transaction = change.transaction
            invitation = transaction.invited_at(address)
            if invitation is None:
                raise Refused("there is no such invitation any more; ask for a new one")
            name = invitation.name
            peer = change.registered(name)
            if invitation.expired or change.now >= invitation.expires:
                raise Refused(f"the invitation of {name} has expired; ask for a new one")
            if peer.standing is not Standing.ENABLED:
                raise Refused(f"{name} is {peer.standing.value}; whoever runs the hub can `enable` it")
            if key == invitation.public_key:
                raise Refused("that is the invitation's own key; a component makes a key of its own")
            hub.check_key(transaction, name, key)
            former = (invitation.public_key, *(() if peer.public_key is None else (peer.public_key,)))
            if peer.public_key is not None:
                transaction.take_key(peer, change.now)
            fresh = peer._replace(public_key=key, preshared_key=preshared_key, changed=change.now, rotation=None)
            transaction.put(fresh)
            transaction.withdraw(name)
            change.log(name, f"enrol {key}")
        hub.write_config(fresh)
    return Agreed(fresh, former, True)


def rotate(hub: Hub, address: IPv4Address, key: PublicKey, preshared_key: PresharedKey) -> Agreed:
    """Take new keys of the component that was asked for them. ``settle`` has to follow. Raises Refused."""
    with hub.locked():
        with hub.changing() as change:
            transaction = change.transaction
            peer = transaction.occupant(address)
            if peer is None or peer.public_key is None:
                raise Refused("no component is registered with this address")
            if (peer.public_key, peer.preshared_key) == (key, preshared_key):
                return Agreed(peer, (), False)
            if peer.rotation is None:
                raise Refused(f"{peer.name} is not asked to make new keys; `rotate {peer.name}` asks it")
            hub.check_key(transaction, peer.name, key)
            transaction.take_key(peer, change.now)
            fresh = peer._replace(public_key=key, preshared_key=preshared_key, changed=change.now, rotation=None)
            transaction.put(fresh)
            change.log(peer.name, f"rotate {peer.public_key} to {key}")
        hub.write_config(fresh)
    return Agreed(fresh, (peer.public_key,), True)


def settle(hub: Hub, name: PeerName, former: tuple[PublicKey, ...]) -> None:
    """Bring wg0 up to date with what was agreed on, as it is registered now: it may have changed meanwhile."""
    from vpn.lib.hub.wanted import wanted_peer

    with hub.locked():
        peer = hub.find(name)
        wanted = None if peer is None else wanted_peer(peer)
        gone = tuple(key for key in former if wanted is None or key != wanted.public_key)
        hub.apply(Plan(remove=gone, update=() if wanted is None else (wanted,)))


def shown(moment: float) -> str:
    """A moment for people, such as ``2026-11-27 21:37 UTC``."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))
