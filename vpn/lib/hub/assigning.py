"""Which address a new peer gets, by the plan and by what the registry remembers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vpn.lib.errors import Refused

if TYPE_CHECKING:
    from ipaddress import IPv4Address

    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.peer import PeerName
    from vpn.lib.registry.store import Transaction


def next_address(transaction: Transaction, name: PeerName, settings: Settings, now: float) -> IPv4Address:
    """The address for a peer that has none: its own place, or one never used, or one released.

    Somebody may still let a released address in, or expect its former owner there: nobody gets it while there is
    another, and then the longest-released first, unless that is in quarantine. ``now`` is registry time. Raises
    Refused when none is left.
    """
    plan = settings.plan
    reserved = plan.reserved(name)
    if reserved is not None:
        occupant = transaction.occupant(reserved)
        if occupant is not None:
            raise Refused(f"{reserved}, the address of {name}, belongs to {occupant.name}; `removeconf` that first")
        return reserved
    network = plan.ranges[name.type]
    first, last = network.network_address, network.broadcast_address
    highest = transaction.highest(first, last)
    address = plan.never_used(name.type, highest, transaction.was_used(first + 1))
    if address is not None:
        return address
    for released in transaction.released(first, last):
        if not plan.usable(name.type, released.address):
            continue
        if now < released.at + settings.quarantine:
            until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(released.at + settings.quarantine))
            raise Refused(
                f"no address is left in {network} for another {name.type.value}: {released.address} is in quarantine"
                f" until {until}; wait, shorten VPN_ADDRESS_QUARANTINE, or widen the range"
            )
        return released.address
    raise Refused(
        f"no address is left in {network} for another {name.type.value}; `removeconf` one, or widen the range"
    )
