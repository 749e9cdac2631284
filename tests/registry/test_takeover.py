"""Reading an older installation, whole and damaged."""

from __future__ import annotations

import re
import shutil
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import TYPE_CHECKING

import pytest

from tests.registry.snapshot import OLDER_INSTALLATION, difference, mode_of, snapshot
from vpn.lib.errors import StateError
from vpn.lib.registry import takeover
from vpn.lib.registry.addressing import AddressPlan
from vpn.lib.registry.peer import PeerName, PeerType

if TYPE_CHECKING:
    from pathlib import Path

PLAN = AddressPlan(
    IPv4Interface("10.220.0.1/14"),
    {
        PeerType.MANAGEMENT: IPv4Network("10.220.0.0/16"),
        PeerType.NODE: IPv4Network("10.221.0.0/16"),
        PeerType.RESEARCHER: IPv4Network("10.222.0.0/16"),
    },
)
HUB_KEY = "hz/NyurGqpK+X0Fd7921J+VrkujaC2e+W13SnfkS1xo="
EVERYBODY = {"mqtt", "restful", "NODETAG", "never-added", "node1", "researcher1"}
NODE1_PSK = "ptpONlXkNixtdAo/qKwzIF6LnDIsrXOOc/4Dmzvggq0="


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the older installation."""
    shutil.copytree(OLDER_INSTALLATION, tmp_path / "config")
    return tmp_path / "config"


def read(root: Path) -> takeover.Takeover:
    """Read it; that changes nothing."""
    before = snapshot(root)
    try:
        return takeover.read(root, PLAN, 5.0)
    finally:
        assert difference(before, snapshot(root)) == []


def ids(found: takeover.Takeover) -> set[str]:
    return {peer.name.id for peer in found.peers}


def test_everything_is_taken_over(root: Path) -> None:
    assert takeover.is_older_installation(root)
    found = read(root)
    assert str(found.private_key.public_key()) == HUB_KEY
    assert {str(peer.name): str(peer.address) for peer in found.peers} == {
        "management mqtt": "10.220.0.2",
        "management restful": "10.220.0.3",
        "node NODETAG": "10.221.0.3",
        "node never-added": "10.221.0.4",
        "node node1": "10.221.0.2",
        "researcher researcher1": "10.222.0.2",
    }
    assert {peer.name.id for peer in found.peers if peer.public_key is None} == {"never-added"}
    node1 = next(peer for peer in found.peers if peer.name == PeerName(PeerType.NODE, "node1"))
    assert str(node1.public_key) == "gT8uBfCGF4pye+Pixn+pGwtXIUnGll3tFy7aLdo+3jU="
    assert node1.preshared_key.reveal() == NODE1_PSK
    assert (found.used, found.damaged) == ((), ())


def test_addresses_that_were_handed_out_once_count_as_used(root: Path) -> None:
    (root / "ip_assign/last_ip_assign_node").write_text("10.221.0.6\n")
    shutil.rmtree(root / "config_peers/node/never-added")
    assert read(root).used == tuple(map(IPv4Address, ("10.221.0.4", "10.221.0.5", "10.221.0.6")))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text[: len(text) // 2], "line [0-9]+: not an assignment|lacks"),
        (lambda text: b"", "lacks VPN_IP, VPN_SERVER_PUBLIC_KEY, VPN_SERVER_PSK"),
        (lambda text: text + b"\xff", "is not UTF-8 text"),
        (lambda text: text.replace(b"export VPN_IP=", b"# "), "lacks VPN_IP"),
        (lambda text: text.replace(b"export VPN_IP", b"exportVPN_IP"), "a space is missing after `export`"),
        (lambda text: text + b"export VPN_IP=10.221.0.2\n", "VPN_IP is set a second time"),
        (lambda text: text.replace(b"10.221.0.2", b"10.221.0.999"), "its VPN_IP is no IPv4 address"),
        (lambda text: text.replace(b"10.221.0.2", b"192.0.2.1"), "192.0.2.1 is not one of the VPN 10.220.0.0/14"),
        (lambda text: text.replace(b"10.221.0.2", b"10.220.0.1"), "10.220.0.1 is not one of the VPN"),
        (lambda text: text.replace(b"10.221.0.2", b"10.221.0.3"), "10.221.0.3 is that of node NODETAG too|in wg0.conf"),
        (lambda text: text.replace(b"hz/Ny", b"Ny/hz"), "names another hub's public key than wg0.conf's"),
        (lambda text: text.replace(b"PSK=ptp", b"PSK=PTP"), "its preshared key is another one in wg0.conf"),
        (lambda text: text.replace(b"PSK=ptp", b"PSK=tp"), "not a WireGuard preshared key"),
    ],
)
def test_a_damaged_config_is_told_by_name_and_the_others_are_taken_over(
    root: Path, change: object, reason: str
) -> None:
    assert callable(change)
    path = root / "config_peers/node/node1/config.env"
    text = path.read_bytes()
    path.write_bytes(change(text))
    assert path.read_bytes() != text
    found = read(root)
    assert ids(found) == EVERYBODY - {"node1"}
    assert any(re.search(f"^node node1: .*({reason})", line) for line in found.damaged)
    assert not any("\n" in line or NODE1_PSK[:20] in line for line in found.damaged)
    # The address may be in use out there, so nobody else gets it.
    assert IPv4Address("10.221.0.2") in found.used


@pytest.mark.parametrize("kind", ["folder link", "file link", "missing", "a file", "bad id", "same id"])
def test_what_is_no_peers_folder_is_told_by_name(root: Path, kind: str) -> None:
    folder = root / "config_peers/node/node1"
    name = "node1"
    if kind == "folder link":
        folder.rename(root / "elsewhere")
        folder.symlink_to(root / "elsewhere")
    elif kind == "file link":
        (folder / "config.env").rename(root / "elsewhere")
        (folder / "config.env").symlink_to(root / "elsewhere")
    elif kind == "missing":
        (folder / "config.env").unlink()
    elif kind == "a file":
        shutil.rmtree(folder)
        folder.write_text("")
    elif kind == "bad id":
        name = "no\\u202ede $(id)"
        folder.rename(folder.with_name("no\u202ede $(id)"))
    else:
        name = "nodetag"
        folder.rename(folder.with_name("nodetag"))
    found = read(root)
    assert ids(found) == EVERYBODY - {"node1"}
    assert any(line.startswith(f"node {name}: ") for line in found.damaged)


@pytest.mark.parametrize(
    ("old", "new", "lost", "told"),
    [
        ("PublicKey = gT8u", "PublicKey = gT8", {"node1"}, "node node1: "),
        ("AllowedIPs = 10.221.0.2/32", "AllowedIPs = 10.221.0.2/24", set(), "wg0.conf: line"),
        ("AllowedIPs = 10.221.0.2/32", "AllowedIPs = 10.221.0.2/32, 10.0.0.0/8", set(), "wg0.conf: line"),
        ("AllowedIPs = 10.221.0.2/32", "AllowedIPs = 10.221.0.3/32", {"NODETAG"}, "wg0.conf: line .*a second section"),
        ("AllowedIPs = 10.221.0.2/32", "AllowedIPs = 10.221.0.77/32", set(), "peer 10.221.0.77 in wg0.conf: no"),
        ("PresharedKey = ptp", "PresharedKey = PTP", {"node1"}, "node node1: its preshared key is another one"),
        ("gT8uBfCGF4pye+Pixn+pGwtXIUnGll3tFy7aLdo+3jU=", "QcUrLP2kRv0eYhBdikcn8+Bo9b+6/4tg3jrl7SDignw=", None, "too"),
    ],
)
def test_a_damaged_section_is_told_and_the_others_are_taken_over(
    root: Path, old: str, new: str, lost: set[str] | None, told: str
) -> None:
    path = root / "wireguard/wg0.conf"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    found = read(root)
    # One of two that share a key is lost, whichever comes second.
    assert ids(found) == EVERYBODY - lost if lost is not None else len(ids(found)) == len(EVERYBODY) - 1
    assert any(re.search(told, line) for line in found.damaged), found.damaged
    assert str(found.private_key.public_key()) == HUB_KEY


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text[:70],
        lambda text: text[:-8],
        lambda text: text.replace("PrivateKey", "# PrivateKey"),
        lambda text: text.replace("PrivateKey = iF", "PrivateKey = i"),
        lambda text: text.replace("[Interface]", "[Peer]"),
        lambda text: "no wg-quick file",
    ],
)
def test_without_the_hubs_key_nothing_is_read(root: Path, change: object) -> None:
    assert callable(change)
    path = root / "wireguard/wg0.conf"
    path.write_text(change(path.read_text()))
    assert takeover.is_older_installation(root)
    with pytest.raises(StateError, match=r"wg0.conf.*the hub does not start with a new key, which would cut off"):
        read(root)


def test_a_tree_without_the_hubs_key_is_refused(root: Path) -> None:
    (root / "wireguard/wg0.conf").unlink()
    assert takeover.is_older_installation(root)
    with pytest.raises(StateError, match="has peers, but the hub's key is nowhere: put back"):
        read(root)


def test_a_hubs_key_without_a_tree_is_taken_over(root: Path) -> None:
    shutil.rmtree(root / "config_peers")
    found = read(root)
    assert str(found.private_key.public_key()) == HUB_KEY
    assert found.peers == ()
    assert len(found.damaged) == 5
    assert len(found.used) == 6


def test_an_empty_directory_is_no_older_installation(tmp_path: Path) -> None:
    for name in ("ip_assign", "wireguard", "config_peers/node"):
        (tmp_path / name).mkdir(parents=True)
    assert not takeover.is_older_installation(tmp_path)


@pytest.mark.parametrize("text", ["", "10.221", "banana", "\0", "10.221.0.4 10.221.0.5"])
def test_a_damaged_counter_is_told(root: Path, text: str) -> None:
    (root / "ip_assign/last_ip_assign_node").write_text(text)
    found = read(root)
    assert ids(found) == EVERYBODY
    assert any(line.startswith("last_ip_assign_node: not an address") for line in found.damaged)


def test_the_backup_is_whole_and_its_owners_alone(root: Path) -> None:
    (root / "config_peers/node/linked").symlink_to("/etc")
    backup = takeover.back_up(root, None, 0.0)
    assert backup == root / "backup-19700101T000000Z"
    for name in ("config_peers", "ip_assign", "wireguard"):
        copied = {path: content for path, (_, _, content) in snapshot(backup / name).items()}
        assert copied == {path: content for path, (_, _, content) in snapshot(root / name).items()}
    for path in [backup, *backup.rglob("*")]:
        if not path.is_symlink():
            assert mode_of(path) == (0o700 if path.is_dir() else 0o600)
    assert takeover.back_up(root, None, 0.0).name == "backup-19700101T000000Z-1"
    assert not list(root.glob(".*"))


def test_a_backup_that_broke_off_is_made_anew(root: Path) -> None:
    partial = root / ".backup-19700101T000000Z.tmp"
    partial.mkdir()
    (partial / "half").touch()
    backup = takeover.back_up(root, None, 0.0)
    assert not partial.exists()
    assert not (backup / "half").exists()
