"""What is to be said of a hub, from what was observed. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.findings import Verdict, failed, ok, skipped, warning
from vpn.lib.hub.listing import ACTIVE
from vpn.lib.probes.judging import listed, span
from vpn.lib.registry.peer import PeerType, Standing

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from vpn.lib.hub.listing import View
    from vpn.lib.probes.machine import Holder
    from vpn.lib.registry.addressing import AddressPlan
    from vpn.lib.registry.audit import Record
    from vpn.lib.registry.peer import Peer
    from vpn.lib.wireguard.plan import Plan

FEW, FEWEST = 0.05, 2
"""The part of a range, and the number of addresses, below which its end is told."""

OLD_BACKUP = 7 * 86400.0
SILENT = 86400.0
"""Seconds without a handshake after which a component is named."""


def public_address(host: str, found: Sequence[str]) -> Verdict:
    """Of the address that components are told; ``found`` is what it resolves to here."""
    addresses: list[IPv4Address | IPv6Address] = [ip_address(text) for text in found]
    shown = host if [host] == list(found) else f"{host} ({', '.join(found)})"
    if any(address.is_loopback for address in addresses):
        return warning(
            f"{shown} is this machine itself: components elsewhere cannot reach it; set VPN_SERVER_PUBLIC_ADDR to what"
            " others reach the hub at, then `genconf` again"
        )
    if any(address.is_link_local for address in addresses):
        return warning(f"{shown} means something on this network segment only; set VPN_SERVER_PUBLIC_ADDR to another")
    if addresses and all(address.is_private for address in addresses):
        return warning(
            f"{shown} is a private address: components on other networks cannot reach it; if there are any, set"
            " VPN_SERVER_PUBLIC_ADDR to the public one, then `genconf` again"
        )
    return ok(f"components are told {shown}")


class Left(NamedTuple):
    """How many addresses a type's range can hand out at all, and how many are left."""

    type: PeerType
    all: int
    left: int


def left(plan: AddressPlan, peers: Sequence[Peer]) -> list[Left]:
    """The addresses of each range that nobody has."""
    found = []
    for peer_type, network in plan.ranges.items():
        if network.prefixlen > 24:
            usable = sum(plan.usable(peer_type, address) for address in network)
        else:
            # A /24 has 254 that do not end in .0 or .255; the ranges' own ends are among those that do.
            usable = 254 << (24 - network.prefixlen)
            own = [plan.hub.ip, *(network.network_address + offset for offset in (2, 3))]
            if peer_type is not PeerType.MANAGEMENT:
                own = own[:1]
            usable -= sum(address in network and int(address) & 0xFF not in (0, 255) for address in set(own))
        used = sum(peer.name.type is peer_type and plan.usable(peer_type, peer.address) for peer in peers)
        found.append(Left(peer_type, usable, usable - used))
    return found


def addresses(ranges: Sequence[Left]) -> Verdict:
    """Of what is left of the ranges."""
    shown = ", ".join(f"{item.left} for {item.type.value}" for item in ranges)
    repair = "`removeconf` what is gone for good, or widen the range in config.env"
    if none := [item.type.value for item in ranges if item.left <= 0]:
        return failed(f"no address is left for {', '.join(none)} ({shown}); {repair}")
    if few := [item.type.value for item in ranges if item.left < max(FEW * item.all, FEWEST)]:
        return warning(f"few addresses are left for {', '.join(few)} ({shown}); {repair}")
    return ok(f"left: {shown}")


def backup(records: Sequence[Record], now: float) -> Verdict:
    """Of the last backup, which the audit log tells."""
    last = max((place for place, record in enumerate(records) if record.entry.command == "backup"), default=None)
    advice = "`configure_peer.py backup FILE`, and keep it on another machine"
    if last is None:
        if not records:
            return skipped("nothing is registered yet")
        return warning(f"there was never one: what is lost here cannot be made again; {advice}")
    age, since = max(0.0, now - records[last].entry.at), len(records) - last - 1
    if since and age > OLD_BACKUP:
        return warning(f"the last one is {span(age)} old, and {since} changes are not in it; {advice}")
    return ok(f"{span(age)} ago, {since} changes since")


def drift(plan: Plan) -> Verdict:
    """Of what differs between wg0 and the registry, at a second look."""
    if plan.empty:
        return ok("wg0 is as the registry says")
    parts = [
        f"{len(peers)} {what}"
        for peers, what in ((plan.remove, "too many"), (plan.update, "with other settings"), (plan.add, "missing"))
        if peers
    ]
    if plan.private_key is not None:
        parts = ["another key than the hub's"]
    elif plan.listen_port is not None:
        parts.append("another UDP port")
    return failed(
        f"wg0 differs from the registry: {', '.join(parts)}; the hub's daemon does not repair it: look at its log,"
        " restart it"
    )


def port(number: int, holders: Collection[Holder], ours: Mapping[int, int], *, runs: bool, kernel: bool) -> Verdict:
    """Of the UDP port; ``ours`` are the processes of the WireGuard daemon, with whose they are."""
    repair = "stop it, or set another VPN_SERVER_PORT"
    others = [holder for holder in holders if holder.pid not in ours]
    # Of a process that cannot be seen into, only the user is known.
    unseen = [holder for holder in others if holder.pid == 0 and not kernel and holder.user not in ours.values()]
    named = sorted({f"{holder.program} ({holder.pid})" for holder in others if holder.pid != 0})
    strangers = ", ".join(named + sorted({f"a program of user {holder.user}" for holder in unseen}))
    if not runs:
        if holders:
            return failed(f"UDP port {number} is taken by {strangers or 'the kernel'}; {repair}")
        return ok(f"UDP port {number} is free")
    if strangers:
        return failed(f"UDP port {number} is shared with {strangers}, which gets some of the packets; {repair}")
    if not holders:
        return failed(f"nobody listens on UDP port {number}, though the hub runs; look at its log, restart it")
    return ok(f"UDP port {number} is held by the hub's WireGuard alone")


def control(place: str, error: int) -> Verdict:
    """Of the hub's control endpoint, which components use inside the VPN."""
    if error == 0:
        return ok(f"components can hand over keys at {place}")
    return failed(
        f"nobody answers at {place} (TCP), where components use invitations and hand over new keys; the hub starts it"
        " again within a minute, else look at its log"
    )


def reachable(views: Sequence[View], number: int, host: str) -> Verdict:
    """Whether components reach the hub: their handshakes prove it, and nothing else here can."""
    added = [view for view in views if view.peer.public_key is not None and view.peer.standing is Standing.ENABLED]
    if not added:
        return skipped("no component has been added yet, so none can prove it")
    active = sum(view.state == "active" for view in added)
    if active:
        return ok(f"{active} of {len(added)} components have a handshake younger than {ACTIVE} s")
    arrived = any(view.observed is not None and view.observed.received for view in added)
    if arrived or any(view.age is not None for view in added):
        return warning("components have reached it before and none does now; look at the network and at their side")
    return warning(
        f"no component has got through since the hub was started: let UDP port {number} in through the firewall, let a"
        f" NAT forward it to this machine, and see whether {host} is what others reach it at"
    )


def misfits(views: Sequence[View]) -> list[str]:
    """Whose packets arrive, though no handshake completes."""
    return [
        str(view.peer.name)
        for view in views
        if view.observed is not None and view.observed.received and view.observed.latest_handshake is None
    ]


def peers(views: Sequence[View]) -> Verdict:
    """Who is not in, as information; and whose packets arrive but do not fit, which is wrong."""
    if not views:
        return ok("none is registered yet; `configure_peer.py genconf TYPE ID`")
    if names := misfits(views):
        return warning(
            f"{listed(names)}: packets arrive and no handshake completes, so its config.env is not the latest; copy"
            " the one of `genconf` again"
        )
    groups = {
        "active": [str(view.peer.name) for view in views if view.state == "active"],
        "without a key": [str(view.peer.name) for view in views if view.peer.public_key is None],
        "not joined since the hub was started": [
            str(view.peer.name)
            for view in views
            if view.peer.public_key is not None and view.age is None and view.peer.standing is Standing.ENABLED
        ],
        **{
            standing.value: [str(view.peer.name) for view in views if view.peer.standing is standing]
            for standing in (Standing.DISABLED, Standing.EXPIRED)
        },
        "silent for more than a day": [
            str(view.peer.name) for view in views if view.age is not None and view.age > SILENT
        ],
    }
    said = [f"{len(groups.pop('active'))} active"]
    said += [f"{len(names)} {what} ({listed(names)})" for what, names in groups.items() if names]
    return ok(f"{len(views)} registered: {'; '.join(said)}")
