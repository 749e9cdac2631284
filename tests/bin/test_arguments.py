"""Peer ids, types and public keys as people type them."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import pytest

from tests.bin.scripts import public_key
from tests.registry.snapshot import snapshot

if TYPE_CHECKING:
    from tests.bin.scripts import Scripts

BAD_IDS: list[str | bytes] = [
    "../x",
    "",
    ".",
    "..",
    "/abs",
    "a/b",
    "a" * 64,
    "a" * 256,
    "no\u202ede",
    "n\u043ede",
    "$(id)",
    "`id`",
    "a;id",
    "a'b",
    'a"b',
    "a\nb",
    "node1\n",
    "a\tb",
    "*",
    "a=b",
    " a",
    "a ",
    ".hidden",
    "_a",
    "\x1b[31mred",
    b"\xff\xfe",
]


def test_a_bad_id_is_refused_by_every_command(hub: Scripts) -> None:
    commands = ("genconf", "add", "remove", "removeconf", "show")
    problems: list[str] = []
    # Each id goes to one command, each command gets every kind: they share the parser.
    for number, bad in enumerate(BAD_IDS):
        command = commands[number % len(commands)] if number % 2 else "genconf"
        key = [public_key(7)] if command == "add" else []
        problems += hub.refusal(command, "node", bad, *key, saying="is no id: use 1 to 63 ASCII letters")
    assert problems == []


def test_an_id_that_looks_like_an_option_is_no_id(hub: Scripts) -> None:
    problems = hub.refusal("genconf", "node", "-rf", saying="'-rf' is no id")
    problems += hub.refusal("genconf", "node", "--", "-rf", saying="'-rf' is no id")
    problems += hub.refusal("genconf", "node", "--", "--help", saying="'--help' is no id")
    problems += hub.refusal("remove", "node", "--leaked", "-rf", saying="'-rf' is no id")
    problems += hub.refusal("export", "node", "-rf", "--format", "env", saying="'-rf' is no id")
    problems += hub.refusal("genconf", "--", "node", "-rf", saying="'-rf' is no id")
    assert problems == []


def test_ids_up_to_the_limit_and_in_upper_case_are_fine(hub: Scripts) -> None:
    for good in ("NODETAG", "a" * 63, "0.a_b-C"):
        assert "registered at" in hub.done("genconf", "node", good)
        assert (hub.folder / "config_peers" / "node" / good / "config.env").is_file()


def test_an_id_that_differs_by_case_from_a_registered_one_is_refused(hub: Scripts) -> None:
    problems = hub.refusal("genconf", "node", "NODE1", saying="NODE1 differs from node node1 only by case; choose")
    for command in (["add", "node", "NODE1", public_key(7)], ["remove", "node", "Node1"]):
        problems += hub.refusal(*command, saying="but node node1 is; ids are case-sensitive")
    assert problems == []


def test_the_same_id_in_two_types_is_two_peers(hub: Scripts) -> None:
    node, researcher = (hub.folder / "config_peers" / kind / "node1" / "config.env" for kind in ("node", "researcher"))
    assert "VPN_IP=10.221.0.2\n" in node.read_text()
    assert "VPN_IP=10.222.0.2\n" in researcher.read_text()
    hub.done("removeconf", "researcher", "node1")
    assert node.is_file()
    assert not researcher.parent.exists()


def test_wrong_usage_is_one_line_and_status_2(hub: Scripts) -> None:
    lines: list[list[str | bytes]] = [
        [],
        ["frobnicate"],
        ["genconf"],
        ["genconf", "node"],
        ["genconf", "server", "x"],
        ["genconf", "NODE", "x"],
        ["genconf", b"n\xffde\n", "x"],
        ["genconf", "node", "a", "b"],
        ["add", "node", "node1"],
        ["add", "node", "node1", public_key(1), public_key(2)],
        ["list", "--frobnicate"],
        ["list", "node"],
        ["show", "node"],
        ["genconf", "--unknown", "node", "a"],
        ["genconf", "node", "a", "--unknown\nline"],
    ]
    problems: list[str] = []
    for line in lines:
        problems += hub.refusal(*line, status=2, saying="`configure_peer.py.* --help` shows how$")
    assert problems == []


def test_a_command_on_a_peer_that_is_not_registered_says_what_to_run_first(hub: Scripts) -> None:
    problems: list[str] = []
    for command in (["add", "node", "ghost", public_key(7)], ["remove", "node", "ghost"], ["show", "node", "ghost"]):
        problems += hub.refusal(*command, saying="node ghost is not registered; run `genconf node ghost` first")
    assert problems == []
    assert "nothing to forget" in hub.done("removeconf", "node", "ghost")


def test_a_bad_public_key_is_refused(hub: Scripts) -> None:
    good = public_key(7)
    raw = bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")
    own = hub.done("public-key").strip()
    bad = {
        "": "copy it whole",
        good[:20]: "copy it whole",
        good[:-1]: "copy it whole",
        "!" * 43 + "=": "copy it whole",
        # The last character before `=` carries two bits that no byte uses.
        good[:42] + chr(ord(good[42]) + 1) + "=": "copy it whole",
        good + "\n": "copy it whole",
        " " + good: "copy it whole",
        good + good: "copy it whole",
        "kl\u00fc" + good[3:]: "copy it whole",
        b64encode(bytes(32)).decode(): "low order.*make a new one",
        b64encode(bytes([1, *bytes(31)])).decode(): "low order.*make a new one",
        b64encode(raw).decode(): "low order.*make a new one",
        own: "the hub's own public key; give the one that node node1 prints",
        public_key(2): "belongs to node node2; each component makes its own",
    }
    problems: list[str] = []
    for key, saying in bad.items():
        problems += hub.refusal("add", "node", "node1", key, saying=saying)
    for like_an_option in ("--key", "-k", "--hel", "--leaked"):
        problems += hub.refusal("add", "node", "node1", like_an_option, saying="copy it whole")
    problems += hub.refusal("add", "node", "node1", "--", "--help", saying="copy it whole")
    assert problems == []


@pytest.mark.parametrize("command", ["genconf", "add", "remove", "removeconf", "show", "export"])
def test_help_helps_wherever_it_is_asked_for_and_changes_nothing(hub: Scripts, command: str) -> None:
    before = snapshot(hub.folder)
    for words in ([], ["node"], ["node", "node1"], ["node", "node1", public_key(1)]):
        for option in ("--help", "-h"):
            assert hub.done(command, *words, option).startswith(f"usage: configure_peer.py {command}")
    assert snapshot(hub.folder) == before


def test_the_same_key_again_changes_nothing(hub: Scripts) -> None:
    before = snapshot(hub.folder)
    assert "nothing changed" in hub.done("add", "node", "node2", public_key(2))
    assert snapshot(hub.folder) == before


def test_another_key_replaces_the_former_and_says_so(hub: Scripts) -> None:
    out = hub.done("add", "node", "node2", public_key(3))
    assert f"the former key {public_key(2)} is replaced and out" in out
    assert "applies it when it starts" in out
    # The former key is nobody's now.
    assert "added" in hub.done("add", "node", "node1", public_key(2))


def test_a_key_comes_from_standard_input(hub: Scripts) -> None:
    good = public_key(7).encode()
    for line in (good, good + b"\n", good + b"\r\n"):
        assert "node node1" in hub.done("add", "node", "node1", "-", stdin=line)
    assert public_key(7) in hub.done("show", "node", "node1")
    problems: list[str] = []
    for junk in (b"", b"\n", good + b"\n\n", good + b"\n" + good, b"\xff" * 44, b"A" * (10 << 20), b"\0" * 44):
        problems += hub.refusal("add", "node", "node1", "-", stdin=junk, saying="copy it whole|standard input")
    assert problems == []


def test_genconf_again_gives_the_same_file(hub: Scripts) -> None:
    before = snapshot(hub.folder)
    assert "was registered already at 10.221.0.2" in hub.done("genconf", "node", "node1")
    assert snapshot(hub.folder) == before


def test_remove_twice_says_that_there_was_nothing(hub: Scripts) -> None:
    assert "node node2: removed" in hub.done("remove", "node", "node2")
    before = snapshot(hub.folder)
    assert "has no key; nothing to remove" in hub.done("remove", "node", "node2")
    assert snapshot(hub.folder) == before


def test_bad_terms_are_refused_before_there_is_a_registry(fresh: Scripts) -> None:
    problems = fresh.refusal("genconf", "node", "a", "--until", "31.12.2027", saying="is no date; write one such as")
    problems += fresh.refusal("genconf", "node", "a", "--invite", "--valid", "2w", saying="--valid '2w' is no duration")
    problems += fresh.refusal("genconf", "node", "a", "--valid", "2h", saying="--valid is for invitations")
    assert problems == []
    fresh.done("genconf", "node", "a", "--invite", "--valid", "2h")
    assert "node  a   10.221.0.2  invited" in fresh.done("list")
