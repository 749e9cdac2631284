"""The hub's table: a policy as nftables rules. Pure.

Its size depends on the policy alone, never on the number of peers: it holds ranges. A packet of the VPN is looked up
twice, by its source's role and its target's, and meets the few rules of these two; see nft(8), "Verdict maps".

Not a word of it concerns what is not of the VPN: chains accept by default, and no other table is touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpn.lib.control import PORT
from vpn.lib.firewall.policy import TCP, UDP, Policy, Role, intervals
from vpn.lib.nft.table import base_chain, chain, replacement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ipaddress import IPv4Address

    from vpn.lib.registry.addressing import AddressPlan

HUB, OUTSIDE, SPOOFED, INVITED, ANY = "hub", "outside", "spoofed", "invited", "any"
"""Ends of denied packets that are no roles: the hub itself, what is not of the VPN, a source that is no peer's, and one
that is only invited."""

LOG_PREFIX = "fedbiomed-vpn denied"
LOG_RATE = "10/minute burst 5 packets"
"""Of the kernel's log, for each pair."""

DISCARD = 9
"""The UDP port of the packets that only make the tunnel work (RFC 863): components send them to the hub."""

_ERRORS = "icmp type { destination-unreachable, time-exceeded, parameter-problem }"


def hub_table(policy: Policy, plan: AddressPlan, interface: str, management_ports: Sequence[int] = ()) -> str:
    """The text for ``nft -f -`` that puts the policy in force on the hub's ``interface``.

    ``management_ports`` are TCP ports of the hub itself that type management may reach, on the VPN address.
    """
    places = {role: stretches for role, stretches in intervals(plan).items() if stretches}
    chains = [line for source in Role for line in _from(source, policy, plan, places, interface, management_ports)]
    known = _map("saddr", {role: f"from_{role.value}" for role in places}, places)
    to_hub = _map("saddr", {role: _name(role.value, HUB) for role in places}, places)
    control = f"ip daddr {plan.hub.ip} tcp dport {PORT}"
    invited = [] if plan.invited is None else [f"ip saddr {plan.invited} goto {_name(INVITED, ANY)}"]
    body = [
        *(f"counter {_name(*pair)} {{ }}" for pair in denials()),
        *chain(_name(SPOOFED, ANY), *_deny(SPOOFED, ANY)),
        *chain(_name(OUTSIDE, ANY), *_deny(OUTSIDE, ANY)),
        *chain(_name(INVITED, ANY), *_deny(INVITED, ANY)),
        *chains,
        *chain("forward_vpn", known, *invited, f"goto {_name(SPOOFED, ANY)}"),
        *chain(
            "input_vpn",
            to_hub,
            # An invitation reaches one thing: where it is used.
            *([] if plan.invited is None else [f"ip saddr {plan.invited} {control} accept", *invited]),
            f"goto {_name(SPOOFED, ANY)}",
        ),
        *base_chain(
            "forward",
            f'iifname "{interface}" goto forward_vpn',
            # Addresses of the VPN come from nowhere else.
            f"ip saddr {plan.hub.network} goto {_name(SPOOFED, ANY)}",
            f'oifname "{interface}" goto {_name(OUTSIDE, ANY)}',
        ),
        *base_chain(
            "input",
            f'iifname "{interface}" goto input_vpn',
            'iifname "lo" accept',
            f"ip saddr {plan.hub.network} goto {_name(SPOOFED, ANY)}",
            # Linux answers for any of its addresses on any interface.
            f"ip daddr {plan.hub.ip} goto {_name(OUTSIDE, ANY)}",
        ),
    ]
    return replacement(body)


def denials() -> list[tuple[str, str]]:
    """Every pair, source and target, that denied packets are counted by."""
    targets = [*(role.value for role in Role), HUB, OUTSIDE]
    pairs = [(role.value, target) for role in Role for target in targets]
    return [*pairs, (OUTSIDE, ANY), (SPOOFED, ANY), (INVITED, ANY)]


def denied(counters: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The pair of each of these counters' names; names that are not the table's are passed over."""
    pairs = {_name(*pair): pair for pair in denials()}
    return {name: pairs[name] for name in counters if name in pairs}


def _from(
    source: Role,
    policy: Policy,
    plan: AddressPlan,
    places: dict[Role, list[tuple[IPv4Address, IPv4Address]]],
    interface: str,
    management_ports: Sequence[int],
) -> list[str]:
    """The chains of what comes from one role."""
    outside = _name(source.value, OUTSIDE)
    lines = [
        *chain(outside, *_deny(source.value, OUTSIDE)),
        *chain(_name(source.value, HUB), *_to_hub(source, plan, management_ports)),
    ]
    for target in Role:
        lines += chain(_name(source.value, target.value), *_between(source, target, policy))
    by_target = _map("daddr", {role: _name(source.value, role.value) for role in places}, places)
    # Peers are reached through wg0 alone; what would leave by another way is for somebody else.
    return [
        *lines,
        *chain(f"from_{source.value}", f'oifname != "{interface}" goto {outside}', by_target, f"goto {outside}"),
    ]


def _between(source: Role, target: Role, policy: Policy) -> list[str]:
    """What one role may send to another: what it may begin, and answers to what the other may.

    Answers are told by the ports as well as by their connection: a rule that is taken back cuts running
    connections too, in both directions.
    """
    lines = []
    for protocol in (TCP, UDP):
        ports = _ports(policy, source, target, protocol)
        if ports:
            lines.append(f"{protocol} dport {ports} accept")
        ports = _ports(policy, target, source, protocol)
        if ports:
            lines.append(f"{protocol} sport {ports} ct direction reply ct state established accept")
    if policy.talk(source, target):
        lines += [
            "icmp type echo-request accept",
            "icmp type echo-reply ct direction reply ct state established accept",
            f"{_ERRORS} ct state related accept",
        ]
    return [*lines, *_deny(source.value, target.value)]


def _to_hub(source: Role, plan: AddressPlan, management_ports: Sequence[int]) -> list[str]:
    """What reaches the hub itself: echo, control, answers to what it began, and the word that makes tunnels work."""
    ports = [PORT, *(sorted(management_ports) if source is Role.MANAGEMENT else ())]
    return [
        f"ip daddr {plan.hub.ip} tcp dport {{ {', '.join(map(str, ports))} }} accept",
        f"ip daddr {plan.hub.ip} icmp type echo-request accept",
        "ct direction reply ct state established accept",
        f"{_ERRORS} ct state related accept",
        # Answered, so that a component hears from its hub; the kernel has its own limit for such answers, icmp(7).
        f"ip daddr {plan.hub.ip} udp dport {DISCARD} reject with icmp port-unreachable",
        *_deny(source.value, HUB),
    ]


def _deny(source: str, target: str) -> list[str]:
    return [
        f'limit rate {LOG_RATE} log prefix "{LOG_PREFIX} {source}>{target} "',
        f"counter name {_name(source, target)} drop",
    ]


def _ports(policy: Policy, source: Role, target: Role, protocol: str) -> str:
    ports = [rule.ports for rule in policy.between(source, target) if rule.protocol == protocol]
    return f"{{ {', '.join(ports)} }}" if ports else ""


def _map(side: str, chains: dict[Role, str], places: dict[Role, list[tuple[IPv4Address, IPv4Address]]]) -> str:
    elements = [
        f"{first} : goto {name}" if first == last else f"{first}-{last} : goto {name}"
        for role, name in chains.items()
        for first, last in places[role]
    ]
    return f"ip {side} vmap {{ {', '.join(elements)} }}"


def _name(source: str, target: str) -> str:
    return f"{source}_to_{target}"
