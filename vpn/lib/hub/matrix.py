"""``policy`` and ``policy check``: who may reach whom, as it is in force, and what was denied."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vpn.lib import control
from vpn.lib.errors import FirewallError, InvalidInput, StateError
from vpn.lib.firewall.nftables import HUB, denied
from vpn.lib.firewall.policy import NEVER, TCP, UDP, Policy, Role, role_of
from vpn.lib.hub import policy_file, status
from vpn.lib.hub.listing import table
from vpn.lib.registry.peer import parse_name, parse_type
from vpn.lib.wireguard.types import parse_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ipaddress import IPv4Address

    from vpn.lib.hub.settings import Settings
    from vpn.lib.registry.peer import PeerName


class Denial(NamedTuple):
    """What was denied from one end to another since the rules were loaded."""

    source: str
    target: str
    packets: int
    bytes: int


class Matrix(NamedTuple):
    """The policy of the running hub, or of the files where none runs.

    ``notes`` are warnings for the person who looks; ``denials`` is None where no hub runs, or its counters cannot
    be read from here.
    """

    policy: Policy
    running: bool
    notes: tuple[str, ...]
    denials: tuple[Denial, ...] | None


class Answer(NamedTuple):
    """Of ``policy check``: whether it is allowed, and by what it is or is not."""

    allowed: bool
    reason: str


def load(settings: Settings) -> Matrix:
    """What is in force. Raises InvalidInput or StateError for a bad policy file where no hub runs."""
    published = status.load(settings)
    if published is None:
        return Matrix(policy_file.read(settings), False, (), None)
    policy, notes = policy_file.in_force(settings), []
    if policy is None:
        policy = policy_file.read(settings)
        notes.append("what is in force cannot be told; this is what the hub was given. Is the disk full?")
    if published.problem:
        notes.append(f"the hub is unhealthy: {published.problem}")
    try:
        if policy_file.read(settings) != policy:
            notes.append(f"{policy_file.path(settings)} is not in force yet; send the hub SIGHUP, or wait 10 minutes")
    except (InvalidInput, StateError) as error:
        # The status has no single quotes.
        if str(error).replace("'", "`") not in published.problem:
            notes.append(f"this is still in force, but {error}")
    return Matrix(policy, True, tuple(notes), None)


def count(matrix: Matrix, environ: Mapping[str, str]) -> Matrix:
    """With what the running hub has denied. Takes an nft, which needs CAP_NET_ADMIN."""
    if not matrix.running:
        return matrix
    from vpn.lib.nft.loader import Nft

    try:
        counters = Nft(environ).counters()
    except FirewallError as error:
        return matrix._replace(notes=(*matrix.notes, f"what was denied cannot be told: {error}"))
    ends = denied(counters)
    return matrix._replace(denials=tuple(Denial(*ends[name], *counters[name]) for name in counters if name in ends))


def as_json(matrix: Matrix) -> str:
    """One JSON object."""
    import json

    rules = [
        {
            "from": rule.source.value,
            "to": rule.target.value,
            "protocol": rule.protocol,
            "ports": [rule.first, rule.last],
        }
        for rule in matrix.policy.rules
    ]
    denials = matrix.denials
    counted = None
    if denials is not None:
        counted = [{"from": d.source, "to": d.target, "packets": d.packets, "bytes": d.bytes} for d in denials]
    return json.dumps({"running": matrix.running, "rules": rules, "denied": counted}, indent=1)


def as_table(matrix: Matrix) -> str:
    """For people: a row for each source, a column for each target, and what was denied."""
    rows = [("FROM \\ TO", *(role.value for role in Role), HUB)]
    rows += [(source.value, *(cell(matrix.policy, source, target) for target in Role), "echo") for source in Role]
    lines = [
        table(rows),
        "echo: ping, which goes wherever a port is allowed, both ways, and to the hub; all else is denied.",
    ]
    if matrix.denials is not None:
        met = [item for item in matrix.denials if item.packets]
        counts = [(d.source, d.target, str(d.packets), str(d.bytes)) for d in met]
        lines.append(
            "\n" + table([("DENIED FROM", "TO", "PACKETS", "BYTES"), *counts])
            if met
            else "\nNothing was denied since the rules were loaded."
        )
    return "\n".join(lines)


def answer(
    settings: Settings, policy: Policy, ends: tuple[str, str], port: str, find: Callable[[PeerName], IPv4Address]
) -> Answer:
    """Whether one end may begin to talk to a port (``1883``, ``53/udp``) of the other.

    An end is a role, ``hub``, or TYPE/ID of a registered peer, whose address ``find`` gives (raising Refused
    where there is none). Raises InvalidInput for what is none of these.
    """
    number, protocol = _parse_port(port)
    source, target = (_end(settings, text, find) for text in ends)
    for text, end in zip(ends, (source, target), strict=True):
        if end is None:
            return Answer(False, f"the address of {text} is of no role; `removeconf` and `genconf` it")
    if target == HUB:
        if (protocol, number) == (TCP, control.PORT):
            return Answer(True, "every peer may ask the hub what has changed")
        if source is Role.MANAGEMENT and protocol == TCP and number in settings.management_ports:
            return Answer(True, "type management may see what the hub serves (VPN_PAGE, VPN_METRICS)")
        return Answer(False, f"the hub itself answers echo, and TCP port {control.PORT}, and nothing else")
    if source == HUB:
        return Answer(True, "what the hub itself begins is not restricted")
    assert isinstance(source, Role)
    assert isinstance(target, Role)
    rule = policy.allowing(source, target, protocol, number)
    if rule is not None:
        return Answer(True, str(rule))
    wanted = f"{source.value} -> {target.value}"
    if (source, target) in NEVER:
        return Answer(False, f"{wanted} is never allowed")
    return Answer(False, f"no rule allows {wanted} {protocol} {number}")


def cell(policy: Policy, source: Role, target: Role) -> str:
    """What one role may begin with another: ports, ``echo``, ``never``, or ``-`` for nothing."""
    if (source, target) in NEVER:
        return "never"
    rules = policy.between(source, target)
    if not rules:
        return "echo" if policy.talk(source, target) else "-"
    return ", ".join(f"{rule.protocol} {rule.ports}" for rule in rules)


def _end(settings: Settings, text: str, find: Callable[[PeerName], IPv4Address]) -> Role | str | None:
    if text == HUB:
        return HUB
    peer_type, slash, peer_id = text.partition("/")
    if slash:
        return role_of(settings.plan, find(parse_name(parse_type(peer_type), peer_id)))
    try:
        return Role(text)
    except ValueError as error:
        known = ", ".join([*(role.value for role in Role), HUB])
        raise InvalidInput(f"{text[:40]!a} is no role; write one of {known}, or TYPE/ID of a peer") from error


def _parse_port(text: str) -> tuple[int, str]:
    number, slash, protocol = text.partition("/")
    if slash and protocol not in (TCP, UDP):
        raise InvalidInput(f"{text[:40]!a} is no port; write such as 1883 or 53/udp")
    try:
        return parse_port(number), protocol or TCP
    except InvalidInput as error:
        raise InvalidInput(f"{text[:40]!a} is no port; write such as 1883 or 53/udp") from error
