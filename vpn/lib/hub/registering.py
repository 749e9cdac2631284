"""``genconf``, of one or of many: registration, address, invitation and config.env, in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpn.lib.errors import DeviceError, Refused, Unproven
from vpn.lib.hub import assigning, peer_config
from vpn.lib.hub.outcomes import Configured, Terms
from vpn.lib.hub.wanted import wanted_invitation, wanted_peer
from vpn.lib.registry.peer import Peer
from vpn.lib.wireguard.keys import PresharedKey
from vpn.lib.wireguard.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from vpn.lib.hub.service import Change, Hub
    from vpn.lib.registry.peer import Invitation, PeerName
    from vpn.lib.wireguard.keys import PublicKey
    from vpn.lib.wireguard.types import WantedPeer

_NO_TERMS = Terms()


def genconf_all(
    hub: Hub,
    names: Iterable[PeerName],
    keys: Mapping[PeerName, PublicKey],
    terms: Mapping[PeerName, Terms],
    *,
    dry_run: bool = False,
) -> list[Configured]:
    """See ``Hub.genconf_all``."""
    _ = hub.settings.endpoint  # raises before anything is changed
    wanted_names = list(names)
    remove: list[PublicKey] = []
    update: list[WantedPeer] = []
    with hub.locked():
        hub.tree.check_all(wanted_names)
        with hub.changing(dry_run=dry_run) as change:
            done = [
                register(hub, change, name, keys.get(name), terms.get(name, _NO_TERMS), remove, update)
                for name in wanted_names
            ]
        if dry_run:
            return done
        write_all(hub, done)
        if remove or update:
            try:
                hub.apply(Plan(remove=tuple(remove), update=tuple(update)))
            except DeviceError as error:
                raise Unproven(f"all is saved, but wg0 did not take it, which the hub mends: {error}") from error
    return done


def write_all(
    hub: Hub, done: Collection[Configured], each: Callable[[Collection[Configured]], Iterable[Configured]] = iter
) -> None:
    """Write the config.env of all of them; ``each`` goes through them, to show how far it is."""
    key = hub.public_key()
    texts = ((peer.name, peer_config.text(peer, hub.settings, key, invitation)) for peer, _, invitation in each(done))
    if len(done) == 1:
        hub.tree.write(*next(texts))
    else:
        hub.tree.write_all(texts)


def register(
    hub: Hub,
    change: Change,
    name: PeerName,
    key: PublicKey | None,
    terms: Terms,
    remove: list[PublicKey],
    update: list[WantedPeer],
) -> Configured:
    """Register one; what wg0 has to lose and to get for it goes to ``remove`` and ``update``."""
    transaction, now = change.transaction, change.now
    before = transaction.similar(name)
    if before is not None and before.name != name:
        raise Refused(f"{name} differs from {before.name} only by case; choose another id")
    if before is None:
        address = assigning.next_address(transaction, name, hub.settings, now)
        peer = Peer(name, address, PresharedKey.generate(), None, now, now)
        change.log(name, f"genconf {peer.address}")
    else:
        peer = before
        misplaced = hub.settings.plan.misplaced(name, peer.address)
        if misplaced is not None:
            raise Refused(f"{name} is registered, but {misplaced}; put the settings back, or `removeconf` it first")
    if terms.until is not None:
        from vpn.lib.hub import life

        peer = life.limit(change, peer, terms.until)
    if key is not None and key != peer.public_key:
        hub.check_key(transaction, name, key)
        peer = peer._replace(public_key=key, changed=now)
        change.log(name, f"add {key}")
    if peer != before:
        transaction.put(peer)
    invitation = None if before is None else transaction.invitation(name)
    if invitation is not None and (key is not None or terms.valid is not None):
        transaction.withdraw(name)
        remove.append(invitation.public_key)
        invitation = None if terms.valid is None else invitation
    if terms.valid is not None:
        invitation = _invite(hub, change, peer, invitation, terms.valid)
        update += filter(None, (wanted_invitation(invitation),))
    wanted, former = wanted_peer(peer), None if before is None else wanted_peer(before)
    if wanted != former:
        if former is not None and (wanted is None or wanted.public_key != former.public_key):
            remove.append(former.public_key)
        update += filter(None, (wanted,))
    return Configured(peer, before is None, invitation)


def _invite(hub: Hub, change: Change, peer: Peer, before: Invitation | None, valid: float) -> Invitation:
    from vpn.lib.hub import invitations

    invitation = invitations.make(change.transaction, peer, before, valid, change.now, hub.settings)
    change.log(peer.name, f"invite until {invitations.shown(invitation.expires)}")
    return invitation
