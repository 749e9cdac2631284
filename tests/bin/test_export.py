"""``export``: a peer's configuration for clients that have only WireGuard's own programs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
import segno

from tests.bin.scripts import public_key
from tests.registry.snapshot import mode_of, snapshot
from vpn.lib.wireguard import conf
from vpn.lib.wireguard.keys import PrivateKey

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bin.scripts import Scripts

BLOCKS = {" ": (1, 1), "▀": (0, 1), "▄": (1, 0), "█": (0, 0)}
"""What each block draws: light is 0."""


def preshared(hub: Scripts, peer: str) -> str:
    """The preshared key in a peer's config.env."""
    text = (hub.folder / "config_peers" / peer / "config.env").read_text()
    return text.partition("VPN_SERVER_PSK=")[2].partition("\n")[0]


def body(hub: Scripts, peer: str, address: str, private_key: str) -> str:
    """The wg-quick file without comments."""
    return (
        f"[Interface]\nAddress = {address}/32\nMTU = 1420\nPrivateKey = {private_key}\n\n"
        f"[Peer]\nPublicKey = {hub.done('public-key').strip()}\nPresharedKey = {preshared(hub, peer)}\n"
        "AllowedIPs = 10.220.0.0/14\nEndpoint = hub.example.org:51820\nPersistentKeepalive = 25\n"
    )


def without_comments(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))


def key_of(hub: Scripts, peer_type: str, peer_id: str) -> str | None:
    return str(json.loads(hub.done("show", peer_type, peer_id, "--json"))["public_key"])


def matrix(drawn: str) -> list[list[int]]:
    """The dots of a code that was drawn with blocks, without its border."""
    rows: list[list[int]] = []
    for line in drawn.splitlines():
        rows += [[BLOCKS[block][half] for block in line] for half in (0, 1)]
    size = len(rows[0]) - 4
    return [row[2:-2] for row in rows[2 : 2 + size]]


def test_env_is_the_file_in_the_tree(hub: Scripts) -> None:
    before = snapshot(hub.folder)
    assert (
        hub.done("export", "node", "node1", "--format", "env")
        == (hub.folder / "config_peers/node/node1/config.env").read_text()
    )
    assert snapshot(hub.folder) == before


def test_wg_quick_is_what_a_client_needs(hub: Scripts, tmp_path: Path) -> None:
    before = snapshot(hub.folder)
    text = hub.done("export", "node", "node2")
    assert without_comments(text) == body(hub, "node/node2", "10.221.0.3", conf.PLACEHOLDER)
    (hint,) = (line for line in text.splitlines() if "private key" in line)
    assert hint.startswith("#")
    assert public_key(2) in hint
    assert snapshot(hub.folder) == before
    # WireGuard's own program reads it.
    path = tmp_path / "wg0.conf"
    path.write_text(text)
    path.chmod(0o600)
    stripped = subprocess.run(["wg-quick", "strip", path], capture_output=True, text=True, check=True).stdout
    assert "Endpoint = hub.example.org:51820" in stripped
    assert "Address" not in stripped


def test_a_component_without_a_key_is_exported_with_a_word_on_what_is_missing(hub: Scripts) -> None:
    outcome = hub.peer("export", "node", "node1", "--format", "wg-quick")
    assert outcome.status == 0
    assert outcome.err == "configure_peer: node node1 has no key yet: `add node node1 PUBLICKEY` lets it in\n"
    assert "on the hub: add node node1 PUBLICKEY\nPrivateKey = REPLACE" in outcome.out


def test_a_key_that_is_made_here_is_let_in_and_said_once(hub: Scripts) -> None:
    outcome = hub.peer("export", "node", "laptop", "--make-key")
    assert outcome.status == 0
    device = conf.parse(outcome.out, "laptop.conf")
    assert without_comments(outcome.out) == body(hub, "node/laptop", "10.221.0.4", device.private_key.reveal())
    assert key_of(hub, "node", "laptop") == str(device.private_key.public_key())
    lines = outcome.err.splitlines()
    assert lines[:2] == [
        "configure_peer: node laptop: registered at 10.221.0.4",
        "configure_peer: node laptop: added with address 10.221.0.4. It is saved; the hub applies it when it starts.",
    ]
    assert re.search("warning: the output holds the private key of node laptop.*keeps no copy.*delete", lines[2])
    # It is not kept, and not said again.
    secret = device.private_key.reveal()
    assert secret not in outcome.err
    everything = b"".join(path.read_bytes() for path in hub.folder.rglob("*") if path.is_file())
    assert bytes(device.private_key) not in everything
    assert secret.encode() not in everything
    assert secret not in hub.done("export", "node", "laptop")


def test_a_new_key_replaces_the_former_and_says_so(hub: Scripts) -> None:
    outcome = hub.peer("export", "node", "node2", "--make-key", "--format", "json")
    content = json.loads(outcome.out)
    assert f"the former key {public_key(2)} is replaced and out" in outcome.err
    assert key_of(hub, "node", "node2") == content["public_key"] != public_key(2)
    assert str(PrivateKey.parse(content["private_key"]).public_key()) == content["public_key"]


def test_a_key_whose_output_nobody_took_is_not_let_in(hub: Scripts) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = hub.command("configure_peer", "export", "node", "node2", "--make-key")
    done = subprocess.run(command, env=hub.environ, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")
    assert key_of(hub, "node", "node2") == public_key(2)


def test_a_public_key_registers_and_lets_in(hub: Scripts) -> None:
    outcome = hub.peer("export", "researcher", "paris", "--public-key", "-", stdin=public_key(7).encode() + b"\n")
    assert outcome.status == 0
    assert without_comments(outcome.out) == body(hub, "researcher/paris", "10.222.0.3", conf.PLACEHOLDER)
    assert public_key(7) in outcome.out
    assert "researcher paris: registered at 10.222.0.3\n" in outcome.err
    assert key_of(hub, "researcher", "paris") == public_key(7)
    again = hub.peer("export", "researcher", "paris", "--public-key", public_key(7))
    assert (again.status, again.out) == (0, outcome.out)
    assert again.err == "configure_peer: researcher paris: has this key already; nothing changed\n"


def test_a_fresh_hub_exports_its_first_component(fresh: Scripts) -> None:
    assert fresh.peer("export", "node", "laptop", "--make-key").status == 0
    assert key_of(fresh, "node", "laptop") is not None


def test_json_has_stable_names(hub: Scripts) -> None:
    assert json.loads(hub.done("export", "node", "node2", "--format", "json")) == {
        "type": "node",
        "id": "node2",
        "address": "10.221.0.3",
        "allowed_ips": ["10.220.0.0/14"],
        "mtu": 1420,
        "persistent_keepalive": 25,
        "endpoint": "hub.example.org:51820",
        "hub_public_key": hub.done("public-key").strip(),
        "preshared_key": preshared(hub, "node/node2"),
        "public_key": public_key(2),
        "private_key": None,
    }


def test_a_qr_code_is_the_wg_quick_file(hub: Scripts) -> None:
    outcome = hub.peer("export", "node", "node2", "--format", "qr")
    assert outcome.status == 0
    assert "no private key in it" in outcome.err
    text = body(hub, "node/node2", "10.221.0.3", conf.PLACEHOLDER)
    expected = segno.make(text, error="l", boost_error=False, micro=False)
    assert matrix(outcome.out) == [list(row) for row in expected.matrix]
    assert "\x1b" not in outcome.out


def test_a_qr_code_with_a_new_key_is_as_large_as_one(hub: Scripts) -> None:
    outcome = hub.peer("export", "node", "node2", "--format", "qr", "--make-key")
    assert outcome.status == 0
    assert "no private key in it" not in outcome.err
    assert key_of(hub, "node", "node2") != public_key(2)
    text = body(hub, "node/node2", "10.221.0.3", "k" * 44)
    assert len(matrix(outcome.out)) == len(segno.make(text, error="l", boost_error=False, micro=False).matrix)


@pytest.mark.parametrize(("suffix", "head"), [("png", b"\x89PNG\r\n\x1a\n"), ("svg", b"<?xml")])
def test_a_qr_code_goes_into_a_picture(hub: Scripts, tmp_path: Path, suffix: str, head: bytes) -> None:
    path = tmp_path / f"laptop.{suffix}"
    assert hub.peer("export", "node", "laptop", "--make-key", "--format", "qr", "--output", path).status == 0
    assert path.read_bytes().startswith(head)
    assert mode_of(path) == 0o600


def test_a_character_set_without_blocks_is_said(hub: Scripts) -> None:
    outcome = hub.peer("export", "node", "node2", "--format", "qr", "--make-key", environ={"PYTHONIOENCODING": "ascii"})
    assert outcome.status == 1
    assert "set LC_ALL=C.UTF-8, or give an --output that ends in .png" in outcome.err
    assert key_of(hub, "node", "node2") == public_key(2)


def test_a_file_is_for_its_owner_and_is_not_replaced_unasked(hub: Scripts, tmp_path: Path) -> None:
    path = tmp_path / "node2.conf"
    before = os.umask(0)
    try:
        out = hub.done("export", "node", "node2", "--output", path)
    finally:
        os.umask(before)
    assert out == f"{path}: written, readable by its owner only\n"
    assert mode_of(path) == 0o600
    assert path.read_text() == hub.done("export", "node", "node2")
    problems = hub.refusal("export", "node", "node2", "--output", path, saying="is there already; .* --force to")
    problems += hub.refusal("export", "node", "node2", "--make-key", "--output", path, saying="is there already")
    assert problems == []
    path.chmod(0o644)
    assert "node2.conf: replaced" in hub.done("export", "node", "node2", "--force", "--output", path, "--format", "env")
    assert path.read_text().startswith("# node node2: the VPN configuration")
    assert mode_of(path) == 0o600


def test_a_place_that_is_none_is_refused_before_anything_is_changed(hub: Scripts, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    places = {
        "missing/x.conf": "missing is no folder; make it",
        ".": "is a folder; give the name of a file",
        "link": "is there already",
    }
    problems: list[str] = []
    for place, saying in places.items():
        problems += hub.refusal("export", "node", "new", "--make-key", "--output", tmp_path / place, saying=saying)
    problems += hub.refusal("export", "node", "new", "--make-key", "--output", "", saying="is no name of a file")
    picture: list[str | Path] = [
        "export",
        "node",
        "new",
        "--make-key",
        "--format",
        "qr",
        "--output",
        tmp_path / "x.jpg",
    ]
    problems += hub.refusal(*picture, saying="goes into a .png or .svg, or to stdout")
    forced = ["export", "node", "node2", "--force", "--output", str(tmp_path / "link")]
    problems += hub.refusal(*forced, saying="link is not a regular file")
    assert problems == []
    assert not (tmp_path / "secret").exists()


def test_what_is_registered_forbids(hub: Scripts) -> None:
    problems = hub.refusal("export", "node", "ghost", saying="node ghost is not registered; run `genconf node ghost`")
    problems += hub.refusal("export", "node", "new", "--public-key", public_key(2), saying="belongs to node node2")
    problems += hub.refusal("export", "node", "node1", "--public-key", public_key(2), saying="belongs to node node2")
    problems += hub.refusal("export", "node", "NODE1", "--make-key", saying="differs from node node1 only by case")
    problems += hub.refusal("export", "node", "node1", "--public-key", "x", saying="copy it whole")
    moved = {"VPN_IP": "10.9.0.1", "VPN_SUBNET_PREFIX": "16", "VPN_MANAGEMENT_IP_ASSIGN": "10.9.0.0/24"}
    moved |= {"VPN_NODE_IP_ASSIGN": "10.9.1.0/24", "VPN_RESEARCHER_IP_ASSIGN": "10.9.2.0/24"}
    problems += hub.refusal("export", "node", "node1", saying="node1 is registered, but its address", environ=moved)
    nowhere = {"VPN_SERVER_PUBLIC_ADDR": "", "VPN_CONFIG_DIR": str(hub.folder)}
    (hub.folder / "config.env").write_text("")
    problems += hub.refusal("export", "node", "node1", saying="VPN_SERVER_PUBLIC_ADDR is not set", environ=nowhere)
    assert problems == []


def test_wrong_usage_is_status_2(hub: Scripts, tmp_path: Path) -> None:
    lines = [
        ["export"],
        ["export", "node"],
        ["export", "server", "x"],
        ["export", "node", "node1", "more"],
        ["export", "node", "node1", "--format", "ini"],
        ["export", "node", "node1", "--make-key", "--public-key", public_key(1)],
        ["export", "node", "node1", "--make-key", "--format", "env"],
        ["export", "node", "node1", "--output"],
        ["export", "node", "node1", "--all", str(tmp_path / "all")],
        ["export", "--all", str(tmp_path / "all"), "--make-key"],
        ["export", "--all", str(tmp_path / "all"), "--format", "json"],
        ["export", "--all", str(tmp_path / "all"), "--output", str(tmp_path / "x")],
    ]
    problems: list[str] = []
    for line in lines:
        problems += hub.refusal(*line, status=2, saying="`configure_peer.py( export)? --help` shows how$")
    assert problems == []
    assert not (tmp_path / "all").exists()


def test_nothing_is_made_where_nothing_is_registered(fresh: Scripts) -> None:
    problems = fresh.refusal(
        "export", "node", "x", saying="node x is not registered, and nothing else is; run `genconf"
    )
    problems += fresh.refusal("export", "--all", fresh.elsewhere / "all", saying="there is nothing to export")
    assert problems == []
    assert not list(fresh.elsewhere.iterdir())


@pytest.mark.parametrize("there", [False, True])
def test_all_is_everybody_s_config_env(hub: Scripts, tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "all"
    before = os.umask(0)
    try:
        if there:
            folder.mkdir()
        out = hub.done("export", "--all", folder)
    finally:
        os.umask(before)
    assert out == f"{folder}: the config.env of 3 components, with their secrets\n"
    tree = hub.folder / "config_peers"
    expected = {path.relative_to(tree): path.read_text() for path in tree.rglob("config.env")}
    assert {path.relative_to(folder): path.read_text() for path in folder.rglob("*") if path.is_file()} == expected
    assert len(expected) == 3
    modes = {path.is_dir(): mode_of(path) for path in folder.rglob("*")}
    assert modes == {True: 0o700, False: 0o600}
    if not there:
        assert mode_of(folder) == 0o700


def test_all_goes_into_an_empty_folder_only(hub: Scripts, tmp_path: Path) -> None:
    folder = tmp_path / "all"
    folder.mkdir()
    (folder / "mine").write_text("mine")
    problems = hub.refusal("export", "--all", folder, saying="all is not empty; give a folder that is, or one that is")
    problems += hub.refusal("export", "--all", folder / "mine", saying="mine is there and is no folder; give another")
    problems += hub.refusal("export", "--all", folder / "a" / "b", saying="cannot make .*/a/b: No such file")
    assert problems == []
    assert [path.name for path in folder.iterdir()] == ["mine"]
