"""Which address a peer gets. Pure.

Each type has a range inside the VPN's network. Addresses are handed out upwards from the range's
second host; the first comes last, since older installations never use it. Never handed out: the hub's
own, the network's and the ranges' network and broadcast addresses, and addresses ending in .0 or .255,
which some firewalls drop. ``mqtt`` and ``restful`` of type management own their places.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.errors import InvalidInput
from vpn.lib.registry.peer import PeerName, PeerType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MQTT = PeerName(PeerType.MANAGEMENT, "mqtt")
RESTFUL = PeerName(PeerType.MANAGEMENT, "restful")
_RESERVED = {MQTT: 2, RESTFUL: 3}
_FIRST_OFFSET = 2


class AddressPlan(NamedTuple):
    """The hub's address with its network's prefix, and a range for each type; see ``check``.

    ``invited`` is the range of the temporary addresses of invitations, None where there is no room for one.
    """

    hub: IPv4Interface
    ranges: Mapping[PeerType, IPv4Network]
    invited: IPv4Network | None = None

    def reserved(self, name: PeerName) -> IPv4Address | None:
        """The address that this peer owns whatever the order of commands, or None."""
        offset = _RESERVED.get(name)
        return None if offset is None else self.ranges[name.type].network_address + offset

    def misplaced(self, name: PeerName, address: IPv4Address) -> str | None:
        """Why this peer cannot be reached at its address under this plan, None when it can.

        It happens when the hub's settings change after the peer was registered.
        """
        reserved = self.reserved(name)
        if reserved is not None and address != reserved:
            return f"its address {address} is not {reserved}, where the others look for it"
        if address not in self.hub.network or address == self.hub.ip:
            return f"its address {address} is not one for a peer of the VPN {self.hub}"
        return None

    def usable(self, peer_type: PeerType, address: IPv4Address) -> bool:
        """Whether the address may be handed out to any peer of the type that owns no place."""
        network = self.ranges[peer_type]
        return (
            address in network
            and int(address) & 0xFF not in (0, 255)
            and address not in (self.hub.ip, network.network_address, network.broadcast_address)
            and not (peer_type is PeerType.MANAGEMENT and address in [self.reserved(name) for name in _RESERVED])
        )

    def capacity(self, peer_type: PeerType) -> int:
        """How many addresses of the type's range are ``usable``."""
        network = self.ranges[peer_type]
        first, last = int(network.network_address), int(network.broadcast_address)
        ends = last // 256 - (first - 1) // 256 + (last + 1) // 256 - first // 256
        taken = {self.hub.ip, network.network_address, network.broadcast_address}
        if peer_type is PeerType.MANAGEMENT:
            taken |= {address for name in _RESERVED if (address := self.reserved(name)) is not None}
        others = sum(address in network and int(address) & 0xFF not in (0, 255) for address in taken)
        return network.num_addresses - ends - others

    def never_used(self, peer_type: PeerType, highest: IPv4Address | None, first_used: bool) -> IPv4Address | None:
        """The next address of the range that was never used, or None when there is none left.

        ``highest`` is the highest one of the range that was ever handed out, ``first_used`` whether the
        range's first host was. The work does not depend on how many are in use.
        """
        network = self.ranges[peer_type]
        start = network.network_address + _FIRST_OFFSET
        candidate = start if highest is None or highest < start else highest + 1
        while candidate < network.broadcast_address:
            if self.usable(peer_type, candidate):
                return candidate
            candidate += 1
        first = network.network_address + 1
        return first if not first_used and self.usable(peer_type, first) else None


def free_range(hub: IPv4Interface, ranges: Iterable[IPv4Network]) -> IPv4Network | None:
    """The last stretch of the VPN's network that is in no range, a /16 at most, None where there is none of 16."""
    free = [hub.network]
    for taken in (*ranges, IPv4Network((int(hub.ip), 32))):
        free = [
            rest
            for network in free
            for rest in (
                network.address_exclude(taken)
                if taken.subnet_of(network)
                else ()
                if network.subnet_of(taken)
                else (network,)
            )
        ]
    roomy = [network for network in free if network.prefixlen <= 28]
    if not roomy:
        return None
    widest = min(network.prefixlen for network in roomy)
    last = max(network for network in roomy if network.prefixlen == widest)
    return last if widest >= 16 else list(last.subnets(new_prefix=16))[-1]


def check(plan: AddressPlan, names: Mapping[PeerType, str]) -> list[str]:
    """What is wrong with the plan, one sentence each; ``names`` are the settings to name in them."""
    problems = []
    vpn = plan.hub.network
    if plan.hub.ip in (vpn.network_address, vpn.broadcast_address):
        problems.append(f"VPN_IP={plan.hub.ip} is the network or broadcast address of {vpn}")
    types = list(plan.ranges)
    for position, peer_type in enumerate(types):
        network = plan.ranges[peer_type]
        setting = f"{names[peer_type]}={network}"
        if network.prefixlen > 30:
            problems.append(f"{setting} is too small: /30 is the smallest range")
        if not network.subnet_of(vpn):
            problems.append(f"{setting} is outside of the VPN's network {vpn} (VPN_IP, VPN_SUBNET_PREFIX)")
        problems += [
            f"{setting} overlaps {names[other]}={plan.ranges[other]}"
            for other in types[position + 1 :]
            if network.overlaps(plan.ranges[other])
        ]
    if plan.invited is not None:
        problems += _check_invited(plan, plan.invited, names)
    for name in _RESERVED:
        address = plan.reserved(name)
        network = plan.ranges[name.type]
        if network.prefixlen <= 30 and (address not in network or address == network.broadcast_address):
            problems.append(f"{names[name.type]}={network} has no room for {name.id} at {address}")
        elif address == plan.hub.ip:
            problems.append(f"VPN_IP={plan.hub.ip} is the address of {name.id} in {names[name.type]}={network}")
    return problems


def _check_invited(plan: AddressPlan, invited: IPv4Network, names: Mapping[PeerType, str]) -> Iterator[str]:
    setting = f"VPN_INVITATION_IP_ASSIGN={invited}"
    if not invited.subnet_of(plan.hub.network):
        yield f"{setting} is outside of the VPN's network {plan.hub.network} (VPN_IP, VPN_SUBNET_PREFIX)"
    if invited.prefixlen > 30:
        yield f"{setting} is too small: /30 is the smallest range"
    if plan.hub.ip in invited:
        yield f"{setting} holds the hub's own address (VPN_IP)"
    for peer_type, network in plan.ranges.items():
        if invited.overlaps(network):
            yield f"{setting} overlaps {names[peer_type]}={network}"


def parse_range(text: str) -> IPv4Network:
    """A range such as ``10.221.0.0/16``, without host bits. Raises InvalidInput."""
    try:
        return IPv4Network(text)
    except ValueError as error:
        if ":" in text:
            raise InvalidInput("IPv6 is not supported inside the VPN; write an IPv4 range") from error
        if "host bits" in str(error):
            raise InvalidInput(f"host bits are set; did you mean {IPv4Network(text, strict=False)}?") from error
        raise InvalidInput("not an IPv4 range; write one such as 10.221.0.0/16") from error
