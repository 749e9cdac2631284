"""Commands on the state of an older installation."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.bin.scripts import public_key

if TYPE_CHECKING:
    from tests.bin.scripts import Scripts

HUB_KEY = "hz/NyurGqpK+X0Fd7921J+VrkujaC2e+W13SnfkS1xo="
COMMANDS = (["genconf", "node", "new"], ["list"], ["public-key"], ["add", "node", "node1", public_key(1)])


def test_an_older_installation_goes_on_with_the_same_keys_and_addresses(older: Scripts) -> None:
    outcome = older.peer("list")
    assert outcome.status == 0
    assert "took over an older installation: 6 peers, 5 of them with a key; a copy of it is in" in outcome.err
    rows = [line.split()[:4] for line in outcome.out.splitlines()[1:]]
    assert rows == [
        ["management", "mqtt", "10.220.0.2", "added"],
        ["management", "restful", "10.220.0.3", "added"],
        ["node", "NODETAG", "10.221.0.3", "added"],
        ["node", "never-added", "10.221.0.4", "registered"],
        ["node", "node1", "10.221.0.2", "added"],
        ["researcher", "researcher1", "10.222.0.2", "added"],
    ]
    assert older.done("public-key") == f"{HUB_KEY}\n"
    assert "added with address 10.221.0.4" in older.done("add", "node", "never-added", public_key(1))
    assert "registered at 10.221.0.5\n" in older.done("genconf", "node", "new")


def test_what_is_written_again_after_the_takeover_keeps_the_peers_secret(older: Scripts) -> None:
    path = older.folder / "config_peers/node/node1/config.env"
    lines = set(path.read_text().splitlines())
    older.peer("genconf", "node", "node1")
    kept = {line for line in lines if line.startswith("export VPN_") and "ENDPOINT" not in line}
    assert kept
    assert kept <= set(path.read_text().splitlines())


def test_a_hub_key_that_cannot_be_read_is_never_replaced(older: Scripts) -> None:
    path = older.folder / "wireguard/wg0.conf"
    whole = path.read_bytes()
    # Halved in the middle of a peer's section, in the middle of the key, and right behind a whole line.
    parts = [whole[: len(whole) // 2], whole[:60], whole[:-10], b"", b"\n", b"[Interface]\nListenPort = 51820\n"]
    damaged = [
        *parts,
        whole.replace(b"PrivateKey", b"PrivateKye"),
        whole.replace(b"iF394f", b"!!!!!!"),
        b"\xff\xfe" + whole,
    ]
    problems: list[str] = []
    for content in damaged:
        path.write_bytes(content)
        problems += older.refusal("genconf", "node", "new", saying="wg0.conf.*(put back|does not start with a new key)")
    path.unlink()
    path.symlink_to(older.elsewhere / "wg0.conf")
    (older.elsewhere / "wg0.conf").write_bytes(whole)
    problems += older.refusal("genconf", "node", "new", saying="wg0.conf is a symbolic link; put the file itself")
    path.unlink()
    for command in COMMANDS:
        problems += older.refusal(*command, saying="has peers, but the hub's key is nowhere: put back .*wg0.conf, or")
    shutil.rmtree(path.parent)
    problems += [
        problem
        for problem in older.refusal("list", saying="has peers, but the hub's key is nowhere: put back .*wg0.conf, or")
        if "changed ['wireguard']" not in problem
    ]
    assert problems == []
    # What was put back is taken over.
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(whole)
    assert HUB_KEY in older.peer("public-key").out


def test_a_damaged_peer_is_named_and_does_not_stop_the_others(older: Scripts) -> None:
    path = older.folder / "config_peers/node/NODETAG/config.env"
    path.write_bytes(path.read_bytes()[:300])
    outcome = older.peer("list")
    assert outcome.status == 0
    warnings = [line for line in outcome.err.splitlines() if "not taken over" in line]
    assert any("not taken over: node NODETAG: " in line for line in warnings)
    assert "NODETAG" not in outcome.out
    assert "node1" in outcome.out
    # Its address is not given to somebody else, for the component may still use it.
    assert "registered at 10.221.0.5\n" in older.done("genconf", "node", "new")


def test_a_registry_that_was_moved_away_is_rebuilt(older: Scripts) -> None:
    older.peer("list")
    older.done("genconf", "node", "new")
    listed = older.done("list")
    (older.folder / "ip_assign/registry.db").unlink()
    outcome = older.peer("list")
    assert outcome.status == 0
    assert outcome.out == listed
    assert older.done("public-key") == f"{HUB_KEY}\n"
