"""``genconf --from`` and ``add --from``: tables of peers, good, bad and strange."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.bin.scripts import public_key
from tests.bin.terminal import Terminal
from tests.registry.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bin.scripts import Scripts


def lines_of(err: str) -> list[str]:
    """What stderr says, without the program's name."""
    lines = err.splitlines()
    assert all(line.startswith("configure_peer: ") for line in lines), err
    return [line.removeprefix("configure_peer: ") for line in lines]


def ids(hub: Scripts, *arguments: str) -> list[str]:
    return [peer["id"] for peer in json.loads(hub.done("list", "--json", *arguments))]


def test_a_table_is_registered(hub: Scripts, tmp_path: Path) -> None:
    path = tmp_path / "peers.csv"
    path.write_bytes(
        b"\xef\xbb\xbftype,id,until,invite\r\nnode,a,,\r\nnode,b,2099-12-31,3d\r\n\r\nresearcher,c,never,yes\r\n"
    )
    out = hub.done("genconf", "--from", path).splitlines()
    assert out[0] == "node a: registered at 10.221.0.4"
    assert re.fullmatch(
        r"node b: registered at 10\.221\.0\.5, until 2100-01-01 00:00 UTC, invited until 20..-..-.. ..:.. UTC", out[1]
    )
    assert re.fullmatch(r"researcher c: registered at 10\.222\.0\.3, invited until .* UTC", out[2])
    assert out[3:] == ["3 components, 3 new"]
    assert "VPN_INVITATION_KEY=" in (hub.folder / "config_peers/node/b/config.env").read_text()
    assert ids(hub, "--state", "invited") == ["b", "c"]
    before = json.loads(hub.done("list", "--json"))
    assert hub.done("genconf", "--from", "-", stdin=b"type,id\nnode,a\nnode,node1\n") == (
        "node a: was registered already at 10.221.0.4\nnode node1: was registered already at 10.221.0.2\n"
        "2 components, 0 new\n"
    )
    assert json.loads(hub.done("list", "--json")) == before


def test_a_fresh_hub_begins_with_a_table(fresh: Scripts) -> None:
    fresh.done("genconf", "--from", "-", stdin=b"id,type\nmqtt,management\nnode1,node\n")
    assert ids(fresh) == ["mqtt", "node1"]


def test_keys_are_let_in(hub: Scripts) -> None:
    table = f"type,id,key\nnode,node1,{public_key(1)}\nnode,node2,{public_key(3)}\nresearcher,node1,{public_key(4)}\n"
    out = hub.done("add", "--from", "-", stdin=table.encode())
    assert out.splitlines() == [
        "node node1: added with address 10.221.0.2. It is saved; the hub applies it when it starts.",
        f"node node2: the former key {public_key(2)} is replaced and out",
        "node node2: added with address 10.221.0.3. It is saved; the hub applies it when it starts.",
        "researcher node1: added with address 10.222.0.2. It is saved; the hub applies it when it starts.",
        "3 components, 3 let in",
    ]
    assert "node node1: has this key already; nothing changed\n" in hub.done("add", "--from", "-", stdin=table.encode())
    keys = {peer["public_key"] for peer in json.loads(hub.done("list", "--json"))}
    assert keys == {public_key(number) for number in (1, 3, 4)}


BAD = b"type,id,until\nnode,new,\nnode,NODE1,\nnode,x y,\nnode,new,\nnode,old,2020-01-01\nnode,other,\n"
CAUSES = [
    r"peers\.csv, line 3: node NODE1 differs from node node1 only by case; choose another id",
    r"peers\.csv, line 4: 'x y' is no id: use 1 to 63.*",
    r"peers\.csv, line 5: node new is in line 2 already",
    r"peers\.csv, line 6: until is 2020-01-02 00:00 UTC, which is over; .*",
]


def test_one_bad_line_keeps_all_out_and_every_bad_line_is_told(hub: Scripts, tmp_path: Path) -> None:
    (hub.elsewhere / "peers.csv").write_bytes(BAD)
    before = snapshot(hub.folder)
    outcome = hub.peer("genconf", "--from", "peers.csv")
    assert (outcome.status, outcome.out) == (1, "")
    assert snapshot(hub.folder) == before
    *causes, last = lines_of(outcome.err)
    assert last == "nothing is changed: 4 of 6 lines are bad; correct them, or --keep-going leaves them out"
    for cause, expected in zip(causes, CAUSES, strict=True):
        assert re.fullmatch(expected, cause)


def test_keep_going_does_the_others_and_fails_all_the_same(hub: Scripts) -> None:
    (hub.elsewhere / "peers.csv").write_bytes(BAD)
    outcome = hub.peer("genconf", "--keep-going", "--from", "peers.csv")
    assert outcome.status == 1
    assert outcome.out == (
        "node new: registered at 10.221.0.4\nnode other: registered at 10.221.0.5\n2 components, 2 new\n"
    )
    *causes, last = lines_of(outcome.err)
    assert last == "4 of 6 lines are bad and were left out"
    for cause, expected in zip(causes, CAUSES, strict=True):
        assert re.fullmatch(expected, cause)
    assert ids(hub, "--type", "node") == ["new", "node1", "node2", "other"]


def test_a_trial_says_what_would_be_done(hub: Scripts) -> None:
    before = snapshot(hub.folder)
    out = hub.done("genconf", "--from", "-", "--dry-run", stdin=b"type,id\nnode,new\nnode,node1\n")
    assert out == (
        "node new: would be registered at 10.221.0.4\nnode node1: is registered already at 10.221.0.2\n"
        "2 components, 1 new; nothing is changed\n"
    )
    table = f"type,id,key\nnode,node1,{public_key(1)}\n".encode()
    out = hub.done("add", "--dry-run", "--from", "-", stdin=table)
    assert out == ("node node1: would get this key; nothing is changed\n1 component, 1 let in; nothing is changed\n")
    assert snapshot(hub.folder) == before


def test_bad_keys_are_told_line_by_line(hub: Scripts) -> None:
    own = hub.done("public-key").strip()
    table = (
        f"type,id,key\nnode,node1,{public_key(1)}\nnode,ghost,{public_key(5)}\nnode,node2,{own}\n"
        f"researcher,node1,{public_key(1)}\nnode,NODE1,{public_key(6)}\nnode,x,short\n"
    ).encode()
    before = snapshot(hub.folder)
    outcome = hub.peer("add", "--from", "-", stdin=table)
    assert (outcome.status, outcome.out) == (1, "")
    assert snapshot(hub.folder) == before
    for line, saying in zip(
        lines_of(outcome.err),
        [
            "standard input, line 3: node ghost is not registered; run `genconf node ghost` first",
            "standard input, line 4: that is the hub's own public key",
            "standard input, line 5: this key is the one of node node1 in line 2",
            "standard input, line 6: node NODE1 differs from node node1 in line 2 only by case",
            "standard input, line 7: not a WireGuard public key",
            "nothing is changed: 5 of 6 lines are bad",
        ],
        strict=True,
    ):
        assert line.startswith(saying)
    outcome = hub.peer("add", "--from", "-", "--keep-going", stdin=table)
    assert outcome.status == 1
    assert outcome.out.endswith("1 component, 1 let in\n")


def test_what_is_no_table_is_refused_in_one_line(hub: Scripts, tmp_path: Path) -> None:
    tables = {
        b"": "standard input is empty; its first line is due to be type,id,until,invite",
        b"node,a\n": "line 1: no column is called 'node'; the header type,id,until,invite is due",
        b"type,id\nnode,a\0b\n": "line 2: a NUL byte",
        b"type,id\nnode,\xff\n": r"line 2: not UTF-8 \(byte 13\); save it as CSV in UTF-8",
        "type,id\nnode,a\n".encode("utf-16"): "is UTF-16; save it as CSV in UTF-8",
        b"type,id\n" + b"x" * (100 << 20): "is larger than 16 MiB; give it in parts",
    }
    problems: list[str] = []
    for table, saying in tables.items():
        problems += hub.refusal("genconf", "--from", "-", stdin=table, saying=saying)
    problems += hub.refusal(
        "genconf", "--from", tmp_path / "none.csv", saying="none.csv: No such file or directory; check"
    )
    problems += hub.refusal("genconf", "--from", tmp_path, saying="Is a directory")
    problems += hub.refusal("genconf", "--from", "", saying="No such file")
    problems += hub.refusal("add", "--from", "-", stdin=b"type,id\n", saying="the column key is missing")
    assert problems == []


def test_a_fresh_hub_stays_so_after_a_bad_table(fresh: Scripts) -> None:
    before = snapshot(fresh.folder)
    outcome = fresh.peer("genconf", "--from", "-", stdin=b"type,id\nnode,a\nserver,b\n")
    assert outcome.status == 1
    assert lines_of(outcome.err)[0].startswith("standard input, line 3: unknown type 'server'")
    assert snapshot(fresh.folder) == before
    problems = fresh.refusal("add", "--from", "-", stdin=b"type,id,key\n", saying="there is nothing to let in")
    assert problems == []


def test_wrong_usage_is_status_2(hub: Scripts) -> None:
    lines = {
        ("genconf", "node", "a", "--from", "x.csv"): "give it no TYPE, --until, --invite or --valid",
        ("genconf", "node", "--from", "x.csv"): "give it no TYPE, --until, --invite or --valid",
        ("genconf", "--from", "x.csv", "--until", "never"): "give it no TYPE, --until",
        ("genconf", "--invite", "--from", "x.csv"): "give it no TYPE, --until",
        ("genconf", "--from"): "expected one argument",
        ("genconf", "node", "a", "--keep-going"): "--keep-going is for --from",
        ("genconf", "--keep-going"): "required: TYPE, ID",
        ("add", "node", "node1"): "required: PUBLICKEY",
        ("add",): "required: TYPE, ID, PUBLICKEY",
        ("remove", "--from", "x.csv"): "invalid choice",
    }
    problems: list[str] = []
    for line, saying in lines.items():
        problems += hub.refusal(*line, status=2, saying=saying)
    assert problems == []


def test_a_table_has_no_secrets_to_tell_and_its_text_cannot_act(hub: Scripts) -> None:
    outcome = hub.peer("genconf", "--from", "-", stdin=b"type,id\nnode,\x1b[2J\nnode,\xe2\x80\xae\n")
    assert outcome.status == 1
    assert all(line.isprintable() for line in outcome.err.splitlines())


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


@pytest.mark.parametrize("there_are_colours", [True, False])
def test_a_long_table_shows_how_far_it_is_on_a_terminal(
    hub: Scripts, terminals: list[Terminal], there_are_colours: bool
) -> None:
    table = "type,id\n" + "".join(f"node,many{number}\n" for number in range(1000))
    (hub.elsewhere / "peers.csv").write_text(table)
    environ = {} if there_are_colours else {"TERM": "dumb"}
    terminal = Terminal(hub, "genconf", "--from", "peers.csv", **environ)
    terminals.append(terminal)
    assert terminal.end() == 0
    bars = re.findall(r"\r([a-z ]+) \[(#* *)\] (\d+) of 1000\x1b\[K", terminal.seen)
    assert bool(bars) == there_are_colours
    assert terminal.seen.endswith("1000 components, 1000 new\r\n")
    if there_are_colours:
        # The line is gone before anything is printed.
        assert "\r\x1b[Knode many0: registered at" in terminal.seen
        assert {len(bar) for _, bar, _ in bars} == {30}
