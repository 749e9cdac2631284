"""The table of a component: its applications answer in the VPN only, and nothing for the VPN leaves by another way.

Pure. It stands here and not with the hub's policy because a component's machine has nothing of the hub.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vpn.lib.nft.table import base_chain, chain, replacement

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network, IPv6Network

IN, OUT, THROUGH = "denied_in", "denied_out", "denied_through"
"""The table's counters of what it dropped: from outside, to the VPN past the tunnel, and through this machine."""


def component_table(
    interface: str,
    networks: Iterable[IPv4Network | IPv6Network],
    wireguard_port: int,
    published: Iterable[int] = (),
) -> str:
    """The text for ``nft -f -``.

    ``networks`` are the VPN's, as the component's allowed IPs name them. ``wireguard_port`` is the UDP port
    that its WireGuard listens on: the hub speaks first after a restart, and WireGuard proves everything that
    comes. ``published`` are TCP ports that are open on other interfaces as well.
    """
    ordered = sorted(networks, key=lambda network: (network.version, network))
    ports = sorted(set(published))
    vpn = [("ip6" if network.version == 6 else "ip", network) for network in ordered]
    own = f'{{ "lo", "{interface}" }}'
    incoming = [
        f"iifname {own} accept",
        # Linux answers for any of its addresses on any interface.
        *(f"{family} {side} {network} goto {IN}" for family, network in vpn for side in ("saddr", "daddr")),
        "ct state established,related accept",
        # ICMP and ICMPv6: the errors that paths depend on, neighbour discovery, and echo. By number, since nft looks
        # the names up in /etc/protocols, which small images have not.
        "meta l4proto { 1, 58 } accept",
        f"udp dport {wireguard_port} accept",
        *([f"tcp dport {{ {', '.join(map(str, ports))} }} accept"] if ports else []),
        f"goto {IN}",
    ]
    outgoing = [f"oifname {own} accept", *(f"{family} daddr {network} goto {OUT}" for family, network in vpn)]
    through = [f'iifname "{interface}" goto {THROUGH}', f'oifname "{interface}" goto {THROUGH}']
    return replacement(
        [
            *(f"counter {name} {{ }}" for name in (IN, OUT, THROUGH)),
            *(line for name in (IN, OUT, THROUGH) for line in chain(name, f"counter name {name} drop")),
            *base_chain("input", *incoming),
            # A component is no router: who is beside it has no way into the VPN through it.
            *base_chain("forward", *through),
            *base_chain("output", *outgoing),
        ]
    )
