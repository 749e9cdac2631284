"""What wg0 holds for what is registered."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Protocol

from vpn.lib.registry.peer import Standing
from vpn.lib.wireguard.types import WantedPeer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from ipaddress import IPv4Address

    from vpn.lib.registry.peer import Invitation, Peer


def wanted_peer(peer: Peer) -> WantedPeer | None:
    """A registered peer in wg0: its own address and nothing else.

    None before it has a key, and while it is disabled or has expired.
    """
    if peer.public_key is None or peer.standing is not Standing.ENABLED:
        return None
    return WantedPeer(peer.public_key, peer.preshared_key, _only(peer.address))


def wanted_invitation(invitation: Invitation) -> WantedPeer | None:
    """An invitation in wg0: the temporary key with the temporary address; None once it has expired."""
    if invitation.expired:
        return None
    return WantedPeer(invitation.public_key, invitation.preshared_key, _only(invitation.address))


class Registered(Protocol):
    """Whoever knows all that is registered."""

    def peers(self) -> Iterator[Peer]:
        """All registered peers."""
        ...

    def invitations(self) -> Iterable[Invitation]:
        """All invitations."""
        ...


def all_wanted(registry: Registered) -> Iterator[WantedPeer]:
    """Everything that wg0 is to hold."""
    for peer in registry.peers():
        wanted = wanted_peer(peer)
        if wanted is not None:
            yield wanted
    for invitation in registry.invitations():
        wanted = wanted_invitation(invitation)
        if wanted is not None:
            yield wanted


def _only(address: IPv4Address) -> frozenset[IPv4Network]:
    return frozenset((IPv4Network((int(address), 32)),))
