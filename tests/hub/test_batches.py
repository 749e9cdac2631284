"""Tables of peers: all or nothing, and what wg0 gets of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.hub.peers import key, node
from vpn.lib.errors import Unproven
from vpn.lib.hub import batches, life, listing
from vpn.lib.hub.outcomes import Terms
from vpn.lib.hub.peer_table import Entry, Problem, Table
from vpn.lib.registry.peer import PeerName, PeerType

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from tests.hub.memory_device import MemoryDevice
    from vpn.lib.hub.service import Hub

_Item = TypeVar("_Item")
NOW = 1_000_000.0


def names(*ids: str | int) -> Table:
    return Table([Entry(line, node(peer_id)) for line, peer_id in enumerate(ids, start=2)], [])


def keys(*pairs: tuple[int, int]) -> Table:
    return Table([Entry(line, node(peer), key(of)) for line, (peer, of) in enumerate(pairs, start=2)], [])


def log(hub: Hub) -> list[str]:
    return [f"{record.entry.peer}: {record.entry.what}" for record in hub.records()]


def registered(hub: Hub) -> list[str]:
    return [item.peer.name.id for item in listing.view(hub)]


def test_a_table_is_registered_with_its_terms(hub: Hub) -> None:
    table = Table(
        [
            Entry(2, node(1)),
            Entry(3, node(2), until=NOW + 5),
            Entry(4, PeerName(PeerType.RESEARCHER, "r"), invite=60.0),
        ],
        [],
    )
    done, problems = batches.genconf(hub, table)
    assert problems == []
    assert [(str(one.peer.name), one.new, one.peer.until) for one in done] == [
        ("node node1", True, None),
        ("node node2", True, NOW + 5),
        ("researcher r", True, None),
    ]
    assert [one.invitation.expires if one.invitation else None for one in done] == [None, None, NOW + 60]
    for one in done:
        assert f"VPN_IP={one.peer.address}\n" in hub.config_path(one.peer.name).read_text()
    assert "VPN_INVITATION_KEY=" in hub.config_path(done[2].peer.name).read_text()


def test_a_table_again_changes_nothing_and_mends_what_is_missing(hub: Hub) -> None:
    batches.genconf(hub, names(1, 2, 3))
    before = {number: hub.config_path(node(number)).stat().st_ino for number in (1, 2, 3)}
    entries = log(hub)
    hub.config_path(node(2)).write_text("damaged")
    done, _ = batches.genconf(hub, names(1, 2, 3))
    assert [one.new for one in done] == [False] * 3
    assert log(hub) == entries
    assert "VPN_IP=" in hub.config_path(node(2)).read_text()
    assert {number: hub.config_path(node(number)).stat().st_ino for number in (1, 3)} == {1: before[1], 3: before[3]}


def test_one_bad_line_keeps_all_out_and_all_bad_lines_are_told(hub: Hub) -> None:
    hub.genconf(node(9))
    entries = log(hub)
    table = names(1, "NODE9", 2, "Node9")
    table.problems.append(Problem(7, "no id"))
    with pytest.raises(batches.BadLines, match=r"nothing is changed: 3 of 5 lines are bad; correct them, or --keep"):
        batches.genconf(hub, table)
    assert registered(hub) == ["node9"]
    assert log(hub) == entries
    assert not hub.config_path(node(1)).exists()
    with pytest.raises(batches.BadLines) as caught:
        batches.genconf(hub, table)
    assert caught.value.problems == [
        Problem(3, "node NODE9 differs from node node9 only by case; choose another id"),
        Problem(5, "node Node9 differs from node node9 only by case; choose another id"),
        Problem(7, "no id"),
    ]


def test_keep_going_does_the_others_and_leaves_no_trace_of_the_bad(hub: Hub) -> None:
    hub.genconf(node(9))
    # Its time is over: it is registered and logged before that is noticed.
    table = Table([*names(1, "NODE9").entries, Entry(4, node(2), until=NOW - 1), Entry(5, node(3))], [])
    done, problems = batches.genconf(hub, table, batches.How(keep_going=True))
    assert [one.peer.name.id for one in done] == ["node1", "node3"]
    assert [problem.line for problem in problems] == [3, 4]
    assert registered(hub) == ["node1", "node3", "node9"]
    assert log(hub) == [
        "node node9: genconf 10.221.0.2",
        "node node1: genconf 10.221.0.3",
        "node node3: genconf 10.221.0.4",
    ]
    assert not hub.config_path(node(2)).parent.exists()
    # The chain of the log is whole, with the bad line's entries taken back.
    assert hub.chain().entries == 3


def test_something_in_the_place_of_a_file_is_a_bad_line(hub: Hub, tmp_path: Path) -> None:
    hub.genconf(node(9))
    (tmp_path / "config_peers" / "node" / "node2").symlink_to(tmp_path)
    done, problems = batches.genconf(hub, names(1, 2, 3), batches.How(keep_going=True))
    assert [one.peer.name.id for one in done] == ["node1", "node3"]
    assert [(problem.line, "is a symbolic link" in problem.text) for problem in problems] == [(3, True)]


def test_a_range_that_is_used_up_ends_the_lines_that_it_has_no_room_for(hub: Hub) -> None:
    table = Table([Entry(line, PeerName(PeerType.NODE, f"n{line}")) for line in range(2, 8)], [])
    small = hub.settings.plan.ranges[PeerType.NODE].supernet(new_prefix=16)
    ranges = {**hub.settings.plan.ranges, PeerType.NODE: next(small.subnets(new_prefix=29))}
    hub.settings = hub.settings._replace(plan=hub.settings.plan._replace(ranges=ranges))
    with pytest.raises(batches.BadLines) as caught:
        batches.genconf(hub, Table([*table.entries, Entry(8, node(8))], []))
    assert registered(hub) == []
    assert all("no address is left" in problem.text for problem in caught.value.problems)
    done, problems = batches.genconf(hub, Table([*table.entries, Entry(8, node(8))], []), batches.How(keep_going=True))
    assert len(done) + len(problems) == 7
    assert len(problems) == len(caught.value.problems) >= 1


def test_keys_let_in_and_replace(hub: Hub, device: MemoryDevice) -> None:
    hub.genconf_all([node(1), node(2), node(3)], {node(2): key(2), node(3): key(3)})
    done, problems = batches.add(hub, keys((1, 1), (2, 4), (3, 3)))
    assert problems == []
    assert [(one.changed, one.replaced, one.applied) for one in done] == [
        (True, None, True),
        (True, key(2), True),
        (False, None, None),
    ]
    assert set(device.peers) == {key(1), key(3), key(4)}
    assert device.peers[key(4)].allowed_ips == {
        f for f in device.peers[key(4)].allowed_ips if str(f) == "10.221.0.3/32"
    }


def test_a_key_that_one_line_gives_up_the_next_may_take(hub: Hub, device: MemoryDevice) -> None:
    hub.genconf_all([node(1), node(2)], {node(1): key(1)})
    batches.add(hub, keys((1, 2), (2, 1)))
    held = {public_key: [str(network) for network in peer.allowed_ips] for public_key, peer in device.peers.items()}
    assert held == {key(2): ["10.221.0.2/32"], key(1): ["10.221.0.3/32"]}


def test_bad_keys_keep_all_out(hub: Hub, device: MemoryDevice) -> None:
    hub.genconf_all([node(1), node(2), node(3)], {node(3): key(3)})
    hub.remove(node(3), leaked=True)
    entries, held = log(hub), dict(device.peers)
    table = Table(
        [
            Entry(2, node(1), key(1)),
            Entry(3, node(4), key(4)),
            Entry(4, node(2), hub.public_key()),
            Entry(5, node(3), key(3)),
            Entry(6, node("NODE2"), key(6)),
        ],
        [],
    )
    with pytest.raises(batches.BadLines) as caught:
        batches.add(hub, table)
    for problem, saying in zip(
        caught.value.problems,
        ["run `genconf node node4` first", "the hub's own public key", "marked as leaked", "ids are case-sensitive"],
        strict=True,
    ):
        assert saying in problem.text
    assert (log(hub), device.peers) == (entries, held)
    done, problems = batches.add(hub, table, batches.How(keep_going=True))
    assert [one.peer.name.id for one in done] == ["node1"]
    assert problems == caught.value.problems
    assert set(device.peers) == {key(1)}


def test_an_invitation_ends_with_the_key(hub: Hub, device: MemoryDevice) -> None:
    hub.genconf(node(1), Terms(valid=3600.0))
    (temporary,) = device.peers
    batches.add(hub, keys((1, 1)))
    assert set(device.peers) == {key(1)}
    assert temporary != key(1)
    assert hub.invitation(node(1)) is None
    assert "VPN_INVITATION_KEY" not in hub.config_path(node(1)).read_text()


def test_who_is_disabled_stays_out(hub: Hub, device: MemoryDevice) -> None:
    hub.genconf(node(1))
    life.disable(hub, node(1))
    (done,), _ = batches.add(hub, keys((1, 1)))
    assert done.changed
    assert not device.peers


def test_without_wg0_it_is_saved(hub: Hub, device: MemoryDevice) -> None:
    hub.genconf(node(1))
    device.missing = True
    (done,), _ = batches.add(hub, keys((1, 1)))
    assert (done.changed, done.applied) == (True, None)


@pytest.mark.parametrize("trouble", ["hanging", "refusing"])
def test_what_wg0_does_not_take_is_told_as_saved(hub: Hub, device: MemoryDevice, trouble: str) -> None:
    hub.genconf(node(1))
    setattr(device, trouble, True)
    with pytest.raises(Unproven, match="all is saved, but wg0 did not take it, which the hub mends"):
        batches.add(hub, keys((1, 1)))
    assert hub.peer(node(1)).public_key == key(1)


def test_a_former_key_that_stays_in_wg0_is_told(hub: Hub, device: MemoryDevice) -> None:
    hub.genconf_all([node(1)], {node(1): key(1)})
    device.keeps.add(key(1))
    with pytest.raises(Unproven, match="wg0 still holds keys that were replaced; restart the hub"):
        batches.add(hub, keys((1, 2)))


def test_a_trial_changes_nothing_and_tells_the_same(hub: Hub, device: MemoryDevice) -> None:
    hub.genconf_all([node(8), node(9)], {node(9): key(9)})
    entries, held = log(hub), dict(device.peers)
    trial = batches.How(dry_run=True)
    done, problems = batches.genconf(hub, names(1, 8), trial)
    assert ([one.new for one in done], problems) == ([True, False], [])
    let_in = batches.add(hub, keys((8, 1), (9, 2)), trial)
    assert [(one.changed, one.replaced) for one in let_in.done] == [(True, None), (True, key(9))]
    with pytest.raises(batches.BadLines):
        batches.genconf(hub, names(1, "NODE8"), trial)
    _, problems = batches.genconf(hub, names(1, "NODE8"), batches.How(keep_going=True, dry_run=True))
    assert len(problems) == 1
    assert (log(hub), device.peers) == (entries, held)
    assert not hub.config_path(node(1)).exists()


def test_progress_goes_through_all_of_them(hub: Hub) -> None:
    seen: list[tuple[str, int]] = []

    def progress(items: Collection[_Item], what: str) -> Iterable[_Item]:
        seen.append((what, len(items)))
        return items

    batches.genconf(hub, names(1, 2), progress=progress)
    batches.add(hub, keys((1, 1)), progress=progress)
    assert seen == [("registering", 2), ("comparing", 2), ("writing", 2), ("letting in", 1)]
