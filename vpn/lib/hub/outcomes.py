"""What the hub's commands did, for whoever prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vpn.lib.registry.peer import Invitation, Peer
    from vpn.lib.wireguard.keys import PublicKey


class Terms(NamedTuple):
    """What ``genconf`` is to arrange beside the registration; None leaves it as it is.

    ``until`` is when the peer expires (Unix time); ``valid`` for how many seconds it is invited.
    """

    until: float | None = None
    valid: float | None = None


class Configured(NamedTuple):
    """Of ``genconf``: the peer, whether it is new, and its invitation if its config.env carries one."""

    peer: Peer
    new: bool
    invitation: Invitation | None = None


class Added(NamedTuple):
    """Of ``add`` and ``enable``: whether anything changed, the key that was replaced, and whether wg0 has it now.

    ``applied`` is None where there is no wg0: the hub applies it when it starts.
    """

    peer: Peer
    changed: bool
    replaced: PublicKey | None
    applied: bool | None


class Removed(NamedTuple):
    """Of what takes a peer out: what was there, and whether wg0 is proven to be without the key.

    ``proven`` is None where there is no wg0, ``leaked`` where no key was to be marked so; ``withdrawn`` whether an
    invitation went with it.
    """

    peer: Peer | None
    removed_key: PublicKey | None
    proven: bool | None
    leaked: PublicKey | None = None
    withdrawn: bool = False
