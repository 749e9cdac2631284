"""A component's script: its key and its health, with bad files."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.bin.scripts import Scripts, public_key
from tests.registry.snapshot import OLDER_INSTALLATION, mode_of, snapshot

if TYPE_CHECKING:
    from pathlib import Path

PEER = OLDER_INSTALLATION / "config_peers" / "node" / "node1" / "config.env"
OLDER_CONF = "[Interface]\nPrivateKey = iF394fLXg1+yyhq8Pun4rP0oo3i8Ero0I5DwIFHKqUQ=\n"
OLDER_KEY = "hz/NyurGqpK+X0Fd7921J+VrkujaC2e+W13SnfkS1xo="


@pytest.fixture
def component(tmp_path: Path) -> Scripts:
    """A component with its config.env, which has not made its key yet."""
    folder = tmp_path / "config"
    folder.mkdir()
    shutil.copy(PEER, folder / "config.env")
    (tmp_path / "elsewhere").mkdir()
    return Scripts(folder, tmp_path / "elsewhere")


def test_health_names_what_is_wrong_with_config_env(component: Scripts) -> None:
    path = component.folder / "config.env"
    whole = path.read_bytes()
    bad = {
        b"": "lacks VPN_IP, VPN_SUBNET_PREFIX, VPN_SERVER_ENDPOINT, .*; fill it with what",
        whole[:140]: "lacks .*VPN_SERVER_ENDPOINT, .*; fill it with",
        whole.replace(b"export VPN_SERVER_PSK", b"# export VPN_SERVER_PSK"): "lacks VPN_SERVER_PSK; fill it with",
        whole.replace(b"VPN_IP=10.221.0.2", b"VPN_IP="): "lacks VPN_IP; fill it with",
        whole.replace(b"export VPN_IP", b"exportVPN_IP"): "line [0-9]+: a space is missing after `export`",
        whole + b"export VPN_IP=10.221.0.9\n": "VPN_IP is set a second time; keep one",
        whole + b"\xff": "is not UTF-8 text",
        whole.replace(b"10.221.0.2", b"10.221.0.256"): "VPN_IP, VPN_SUBNET_PREFIX: 10.221.0.256/14 is no address",
        whole.replace(b"PREFIX=14", b"PREFIX=99"): "VPN_IP, VPN_SUBNET_PREFIX: 10.221.0.2/99 is no address",
        whole.replace(b":51820", b""): "VPN_SERVER_ENDPOINT=vpn.example.org: not host:port",
        whole.replace(b":51820", b":0"): "VPN_SERVER_ENDPOINT=vpn.example.org:0: not a port",
        whole.replace(b"=10.220.0.0/14", b"=10.220.0.1/14"): "VPN_SERVER_ALLOWED_IPS is no list of networks",
        whole.replace(b"hz/Ny", b"hz/N"): "not a WireGuard public key",
        whole.replace(b"PSK=ptp", b"PSK=tp"): "not a WireGuard preshared key",
        whole + b"export VPN_WIREGUARD=openvpn\n": "unknown WireGuard implementation 'openvpn'",
    }
    problems: list[str] = []
    for text, saying in bad.items():
        path.write_bytes(text)
        problems += component.refusal_of("vpn_client", "health", saying=f"^unhealthy: .*({saying})", on_stdout=True)
    path.unlink()
    problems += component.refusal_of("vpn_client", "health", saying="is not there; copy the one there", on_stdout=True)
    path.symlink_to(PEER)
    problems += component.refusal_of("vpn_client", "health", saying="is a symbolic link; put the file", on_stdout=True)
    assert problems == []


def test_the_environment_is_printed_for_a_shell_literally_and_without_the_secret(component: Scripts) -> None:
    with (component.folder / "config.env").open("a") as file:
        file.write('export NOTE="$(touch injected) `id` it\'s"\n')
    done = component.run("vpn_client", "environment")
    assert (done.status, done.err) == (0, "")
    assert "PSK" not in done.out
    code = 'eval "$1"; printf "%s|%s" "$NOTE" "$VPN_IP"'
    shell = subprocess.run(
        ["sh", "-c", code, "sh", done.out], capture_output=True, text=True, check=True, cwd=component.elsewhere
    )
    assert shell.stdout == "$(touch injected) `id` it's|10.221.0.2"
    assert not list(component.elsewhere.iterdir())
    (component.folder / "config.env").unlink()
    assert component.refusal_of("vpn_client", "environment", saying="is not there; copy it from the hub first") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_in_somebody_s_state_directory_is_theirs(component: Scripts) -> None:
    os.chown(component.folder, 1234, 2345)
    assert component.run("vpn_client", "public-key").status == 0
    made = [component.folder / "wireguard", *(component.folder / "wireguard").iterdir()]
    assert len(made) >= 3
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(1234, 2345)}


def test_health_of_a_component_that_does_not_run_says_so(component: Scripts) -> None:
    problems = component.refusal_of(
        "vpn_client", "health", saying="wg0 is not up; start `vpn_client run`", on_stdout=True
    )
    assert problems == []


def test_the_public_key_is_the_same_each_time(component: Scripts) -> None:
    first = component.run("vpn_client", "public-key")
    assert (first.status, first.err) == (0, "")
    before = snapshot(component.folder)
    assert component.run("vpn_client", "public-key") == first
    assert snapshot(component.folder) == before
    assert mode_of(component.folder / "wireguard/private.key") == 0o600
    assert mode_of(component.folder / "wireguard") == 0o700


def test_a_damaged_private_key_is_never_replaced(component: Scripts) -> None:
    component.run("vpn_client", "public-key")
    path = component.folder / "wireguard" / "private.key"
    whole = path.read_bytes()
    problems: list[str] = []
    for content in (b"", whole[:20], whole + b"x", whole[:-2] + b"\n", b"\xff" * 45, b"\n" + whole):
        path.write_bytes(content)
        problems += component.refusal_of("vpn_client", "public-key", saying="private.key is damaged; put back a copy")
        problems += component.refusal_of("vpn_client", "run", saying="private.key is damaged; put back a copy")
    path.unlink()
    path.symlink_to(component.elsewhere / "private.key")
    (component.elsewhere / "private.key").write_bytes(whole)
    problems += component.refusal_of("vpn_client", "public-key", saying="private.key is damaged; put back a copy")
    assert problems == []


def test_an_older_components_key_is_kept(component: Scripts) -> None:
    (component.folder / "wireguard").mkdir(mode=0o700)
    (component.folder / "wireguard" / "wg0.conf").write_text(OLDER_CONF)
    assert component.run("vpn_client", "public-key").out == f"{OLDER_KEY}\n"
    assert component.run("vpn_client", "public-key").out == f"{OLDER_KEY}\n"


def test_an_older_components_key_that_cannot_be_read_is_never_replaced(component: Scripts) -> None:
    (component.folder / "wireguard").mkdir(mode=0o700)
    path = component.folder / "wireguard" / "wg0.conf"
    problems: list[str] = []
    # The lock file of the first try stays; it is passed over by the comparison.
    for content in ("", OLDER_CONF[:40], OLDER_CONF.replace("PrivateKey", "PublicKey")):
        path.write_text(content)
        problems += component.refusal_of("vpn_client", "public-key", saying="wg0.conf.*; or delete .*wg0.conf to make")
    assert problems == []
    assert not (component.folder / "wireguard" / "private.key").exists()


def test_a_second_component_on_the_same_directory_is_refused(component: Scripts) -> None:
    component.run("vpn_client", "public-key")
    with (component.folder / "wireguard" / "daemon.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        problems = component.refusal_of("vpn_client", "run", saying="another component runs on .*; stop it before")
    assert problems == []


@pytest.mark.parametrize("script", ["vpn_client", "vpn_server"])
def test_wrong_usage_is_one_line_and_status_2(component: Scripts, script: str) -> None:
    problems = component.refusal_of(script, "frobnicate", status=2, saying="--help` shows how")
    problems += component.refusal_of(script, "--frobnicate", status=2, saying="--help` shows how")
    problems += component.refusal_of(script, "run", "--log-format", "x", status=2, saying="--help` shows how")
    assert problems == []


def test_a_state_folder_that_is_none_is_named(component: Scripts) -> None:
    environ = {"VPN_CONFIG_DIR": os.fspath(component.elsewhere / "none")}
    problems: list[str] = []
    for command in ("public-key", "health", "run"):
        saying = "none is not a folder; create it, or name another with VPN_CONFIG_DIR"
        problems += component.refusal_of("vpn_client", command, environ=environ, saying=saying)
    assert problems == []


def test_an_owner_that_is_no_number_is_refused(component: Scripts) -> None:
    saying = "CONTAINER_UID and CONTAINER_GID must be numbers"
    for uid, gid in (("root", ""), ("0", "staff"), ("-1", "0")):
        environ = {"CONTAINER_UID": uid, "CONTAINER_GID": gid}
        assert component.refusal_of("vpn_client", "public-key", environ=environ, saying=saying) == []


def test_what_public_key_prints_is_what_add_takes(component: Scripts) -> None:
    # What `public-key` prints is what `add` takes: one line, nothing else.
    out = component.run("vpn_client", "public-key").out
    assert out.count("\n") == 1
    assert len(out) == len(public_key(1)) + 1
