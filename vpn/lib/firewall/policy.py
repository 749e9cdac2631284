"""Who may reach whom: roles, and the rules between them. Pure.

A role is told by address alone: the two services own their places, the others have a range each. What no rule
names is denied. Nobody reaches the hub itself but with ICMP echo, and that is no setting.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from vpn.lib.errors import InvalidInput
from vpn.lib.registry.addressing import MQTT, RESTFUL
from vpn.lib.registry.peer import PeerType

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address

    from vpn.lib.registry.addressing import AddressPlan

TCP, UDP = "tcp", "udp"


class Role(Enum):
    """What an address stands for. ``management`` is who has an address of that range and is neither service."""

    MQTT = "mqtt"
    RESTFUL = "restful"
    MANAGEMENT = "management"
    NODE = "node"
    RESEARCHER = "researcher"


NEVER = ((Role.NODE, Role.NODE), (Role.RESEARCHER, Role.RESEARCHER))
"""What no policy can allow: a hospital is never reached by another, nor a researcher."""

_TYPES = {
    PeerType.MANAGEMENT: Role.MANAGEMENT,
    PeerType.NODE: Role.NODE,
    PeerType.RESEARCHER: Role.RESEARCHER,
}
_SERVICES = {Role.MQTT: MQTT, Role.RESTFUL: RESTFUL}


class Rule(NamedTuple):
    """``source`` may begin to talk to the ports ``first`` to ``last`` of ``target``; ``protocol`` is tcp or udp."""

    source: Role
    target: Role
    protocol: str
    first: int
    last: int

    @property
    def ports(self) -> str:
        """``1883``, or ``5000-5010``."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    def __str__(self) -> str:
        return f"{self.source.value} -> {self.target.value} {self.protocol} {self.ports}"


class Policy(NamedTuple):
    """The rules in force, ordered, without overlaps; see ``make``."""

    rules: tuple[Rule, ...]

    def between(self, source: Role, target: Role) -> tuple[Rule, ...]:
        """The rules from one role to another."""
        return tuple(rule for rule in self.rules if (rule.source, rule.target) == (source, target))

    def allowing(self, source: Role, target: Role, protocol: str, port: int) -> Rule | None:
        """The rule that lets ``source`` begin to talk to this port of ``target``, None when there is none."""
        for rule in self.between(source, target):
            if rule.protocol == protocol and rule.first <= port <= rule.last:
                return rule
        return None

    def talk(self, one: Role, other: Role) -> bool:
        """Whether one of the two may begin to talk to the other: then both may echo."""
        return bool(self.between(one, other) or self.between(other, one))


def make(rules: Iterable[Rule]) -> Policy:
    """A policy of these rules. Raises InvalidInput for what is never allowed, and for ports that are none."""
    merged: list[Rule] = []
    for rule in sorted(rules, key=_order):
        refuse(rule)
        before = merged[-1] if merged else None
        if before is not None and before[:3] == rule[:3] and rule.first <= before.last + 1:
            # nft takes no overlapping ranges.
            merged[-1] = before._replace(last=max(before.last, rule.last))
        else:
            merged.append(rule)
    return Policy(tuple(merged))


def refuse(rule: Rule) -> None:
    """Raise InvalidInput when no policy may hold this rule."""
    if (rule.source, rule.target) in NEVER:
        raise InvalidInput(
            f"{rule.source.value} -> {rule.target.value} is never allowed; let them meet at mqtt or restful"
        )
    if rule.protocol not in (TCP, UDP) or not 1 <= rule.first <= rule.last <= 65535:
        raise InvalidInput(f"{rule.protocol} {rule.first}-{rule.last} are no ports; use 1 to 65535 of tcp or udp")


def _order(rule: Rule) -> tuple[int, int, str, int, int]:
    roles = list(Role)
    return roles.index(rule.source), roles.index(rule.target), rule.protocol, rule.first, rule.last


DEFAULT = make(
    [
        *(
            Rule(source, target, TCP, port, port)
            for source in (Role.NODE, Role.RESEARCHER)
            for target, port in ((Role.MQTT, 1883), (Role.RESTFUL, 8000))
        ),
        Rule(Role.NODE, Role.RESEARCHER, TCP, 50051, 50051),
    ]
)
"""What Fed-BioMed needs: the broker, the upload service, and (from version 5 on) the researcher's gRPC server."""

NOTHING = Policy(())


def intervals(plan: AddressPlan) -> dict[Role, list[tuple[IPv4Address, IPv4Address]]]:
    """The addresses of each role, first and last of each stretch: no two roles share one, the hub's is in none."""
    services = {role: address for role, name in _SERVICES.items() if (address := plan.reserved(name)) is not None}
    taken = sorted({plan.hub.ip, *services.values()})
    found = {role: [(address, address)] for role, address in services.items()}
    for peer_type, role in _TYPES.items():
        network = plan.ranges[peer_type]
        stretches, start = [], network.network_address
        for address in (address for address in taken if address in network):
            if start < address:
                stretches.append((start, address - 1))
            start = address + 1
        if start <= network.broadcast_address:
            stretches.append((start, network.broadcast_address))
        found[role] = stretches
    return found


def role_of(plan: AddressPlan, address: IPv4Address) -> Role | None:
    """The role that an address has, None when it has none: nothing is allowed to or from it."""
    for role, stretches in intervals(plan).items():
        if any(first <= address <= last for first, last in stretches):
            return role
    return None
