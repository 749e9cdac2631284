"""What a hub's doctor says, where the cause would take days or a large network."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv4Network

import pytest

from tests.hub.peers import node
from tests.registry.stored import peer
from vpn.lib.findings import State
from vpn.lib.hub import judging
from vpn.lib.probes.machine import Holder
from vpn.lib.registry.addressing import AddressPlan
from vpn.lib.registry.audit import Record
from vpn.lib.registry.peer import PeerType
from vpn.lib.registry.store import LogEntry

DAY = 86400.0


@pytest.mark.parametrize(
    ("hub", "management", "nodes"),
    [
        ("10.220.0.1/14", "10.220.0.0/16", "10.221.0.0/16"),
        ("10.221.3.7/14", "10.220.0.0/24", "10.221.0.0/17"),
        ("10.221.0.1/14", "10.220.1.0/25", "10.221.0.0/29"),
        ("10.220.0.255/14", "10.220.0.0/23", "10.221.0.128/30"),
    ],
)
def test_what_is_left_is_what_can_be_handed_out(hub: str, management: str, nodes: str) -> None:
    ranges = {PeerType.MANAGEMENT: IPv4Network(management), PeerType.NODE: IPv4Network(nodes)}
    plan = AddressPlan(IPv4Interface(hub), ranges)
    for item in judging.left(plan, [peer(9, address=str(ranges[PeerType.NODE][2]))]):
        usable = sum(plan.usable(item.type, address) for address in ranges[item.type])
        assert (item.all, item.left) == (usable, usable - (item.type is PeerType.NODE))


@pytest.mark.parametrize(
    ("holders", "runs", "kernel", "said"),
    [
        # In a container, root does not see into the processes of the hub's user.
        ({Holder(0, "", 1000)}, True, False, "is held by the hub's WireGuard alone"),
        ({Holder(0, "", 1000), Holder(0, "", 7)}, True, False, "is shared with a program of user 7, which gets"),
        ({Holder(0, "", 0)}, True, True, "is held by the hub's WireGuard alone"),
        ({Holder(0, "", 0)}, False, False, "is taken by a program of user 0; stop it"),
        (set(), False, False, "is free"),
    ],
)
def test_whose_the_port_is_where_processes_cannot_be_seen(
    holders: set[Holder], runs: bool, kernel: bool, said: str
) -> None:
    assert (
        said
        in judging.port(51820, holders, {77: 1000} if runs and not kernel else {}, runs=runs, kernel=kernel).message
    )


def records(*entries: tuple[str, float]) -> list[Record]:
    return [
        Record(number, LogEntry(at, 0, command, node(1), "", None), bytes(32))
        for number, (command, at) in enumerate(entries, start=1)
    ]


def test_a_backup_that_is_old_counts_only_if_something_has_changed_since() -> None:
    old = records(("genconf", 0.0), ("backup", DAY))
    assert judging.backup(old, 40 * DAY) == (State.OK, "39 days ago, 0 changes since")
    since = records(("genconf", 0.0), ("backup", DAY), ("add", 2 * DAY))
    assert judging.backup(since, 5 * DAY).state is State.OK
    verdict = judging.backup(since, 40 * DAY)
    assert verdict.state is State.WARNING
    assert verdict.message.startswith("the last one is 39 days old, and 1 changes are not in it; ")
    assert judging.backup([], DAY).state is State.SKIPPED
