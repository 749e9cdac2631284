"""The hub's config.env and environment, good and bad, before any command does anything."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.bin.scripts import Scripts

GOOD = b"export VPN_SERVER_PUBLIC_ADDR=hub.example.org\n"


@pytest.mark.parametrize(
    "text",
    [
        b"export VPN_SERVER_PUBLIC_ADDR=hub.example.org\r\nexport VPN_SERVER_PORT='51820'\r\n",
        b'VPN_SERVER_PUBLIC_ADDR="hub.example.org"\n\n# a comment\n  VPN_SERVER_PORT=51820  # the default\n',
        b"\xef\xbb\xbfexport\tVPN_SERVER_PUBLIC_ADDR=hub.example.org",
        GOOD + b"export OTHER=$(touch executed)\nexport ANOTHER=`touch executed`\nexport LAST='; touch executed'\n",
    ],
)
def test_a_config_env_as_shells_and_editors_write_it_is_accepted_and_never_executed(hub: Scripts, text: bytes) -> None:
    (hub.folder / "config.env").write_bytes(text)
    hub.done("genconf", "node", "new")
    written = (hub.folder / "config_peers" / "node" / "new" / "config.env").read_text()
    assert "VPN_SERVER_ENDPOINT=hub.example.org:51820\n" in written
    assert not list(hub.elsewhere.iterdir())
    assert not list(hub.folder.rglob("executed"))


def test_a_bad_config_env_is_refused_with_its_line(hub: Scripts) -> None:
    bad = {
        b"exportVPN_IP=10.220.0.1\n": "line 1: a space is missing after `export`; write",
        GOOD + GOOD: "line 2: VPN_SERVER_PUBLIC_ADDR is set a second time; keep one",
        GOOD + b"export VPN_IP\n": "line 2: not an assignment; write",
        GOOD + b"export VPN_IP='10.220.0.1\n": "line 2: the quotes do not match; write",
        GOOD + b"export X=a\x1b[31mb\n": "line 2: the value holds a control character; type",
        GOOD + b"export X=\xff\n": r"not UTF-8 text \(byte 55\); save it as UTF-8",
        GOOD + b"export X=\0\n": "line 2: the value holds a control character",
        b"VPN_SERVER_PUBLIC_ADDR=$(touch executed)\n": "VPN_SERVER_PUBLIC_ADDR=.*not a host name or an IP address",
        b"#" * (5 << 20): "larger than 4 MiB; that is no configuration file",
    }
    problems: list[str] = []
    for text, saying in bad.items():
        (hub.folder / "config.env").write_bytes(text)
        problems += hub.refusal("genconf", "node", "new", saying=saying)
    assert problems == []
    assert not list(hub.elsewhere.iterdir())


def test_something_else_in_the_place_of_config_env_is_refused(hub: Scripts) -> None:
    path = hub.folder / "config.env"
    path.rename(hub.elsewhere / "config.env")
    path.symlink_to(hub.elsewhere / "config.env")
    problems = hub.refusal("list", saying="config.env is a symbolic link; put the file itself there")
    path.unlink()
    path.mkdir()
    problems += hub.refusal("list", saying="config.env is not a regular file; put a text file there")
    path.rmdir()
    os.mkfifo(path)
    problems += hub.refusal("list", saying="config.env is not a regular file; put a text file there")
    assert problems == []


@pytest.mark.parametrize("text", [b"", b"# nothing yet\n", b"export VPN_SERVER_PUBLIC_ADDR=\n", None])
def test_genconf_names_the_missing_public_address_and_registers_nothing(hub: Scripts, text: bytes | None) -> None:
    if text is None:
        (hub.folder / "config.env").unlink()
    else:
        (hub.folder / "config.env").write_bytes(text)
    problems = hub.refusal("genconf", "node", "new", saying="VPN_SERVER_PUBLIC_ADDR is not set; write the hub's public")
    assert problems == []
    assert " new " not in hub.done("list")


def test_bad_values_are_refused_with_their_names(hub: Scripts) -> None:
    names = {
        "MANAGEMENT": "VPN_MANAGEMENT_IP_ASSIGN",
        "NODE": "VPN_NODE_IP_ASSIGN",
        "RESEARCHER": "VPN_RESEARCHER_IP_ASSIGN",
    }
    node, researcher, management = names["NODE"], names["RESEARCHER"], names["MANAGEMENT"]
    bad: list[tuple[dict[str, str], str]] = [
        ({node: "10.222.0.0/17"}, f"{node}=10.222.0.0/17 overlaps {researcher}=10.222.0.0/16"),
        ({management: "10.221.0.0/16"}, f"{management}=10.221.0.0/16 overlaps {node}=10.221.0.0/16"),
        ({node: "10.221.0.0/31"}, f"{node}=10.221.0.0/31 is too small: /30 is"),
        ({node: "10.221.0.0/32"}, f"{node}=10.221.0.0/32 is too small: /30 is"),
        ({node: "10.240.0.0/16"}, f"{node}=10.240.0.0/16 is outside of the VPN's network 10.220.0.0/14"),
        ({node: "10.221.0.1/16"}, f"{node}=10.221.0.1/16: host bits are set; did you mean 10.221.0.0/16"),
        ({node: "fd00::/64"}, f"{node}=fd00::/64: IPv6 is not supported inside the VPN; write an IPv4 range"),
        ({node: "banana"}, f"{node}=banana: not an IPv4 range; write one such as"),
        ({node: "10.221.0.0/33"}, f"{node}=10.221.0.0/33: not an IPv4 range"),
        ({"VPN_IP": "fd00::1"}, "VPN_IP=fd00::1: IPv6 is not supported inside the VPN"),
        ({"VPN_IP": "10.220.0"}, "VPN_IP=10.220.0: not an IPv4 address"),
        ({"VPN_IP": "10.220.0.0"}, "VPN_IP=10.220.0.0 is the network or broadcast address of 10.220.0.0/14"),
        ({"VPN_IP": "10.220.0.2"}, f"VPN_IP=10.220.0.2 is the address of mqtt in {management}=10.220.0.0/16"),
        ({"VPN_SUBNET_PREFIX": "0"}, "VPN_SUBNET_PREFIX=0: not a prefix length: a number from 1 to 30"),
        ({"VPN_SUBNET_PREFIX": "x"}, "VPN_SUBNET_PREFIX=x: not a prefix length"),
        ({"VPN_SUBNET_PREFIX": "16"}, f"{node}=10.221.0.0/16 is outside of the VPN's network 10.220.0.0/16"),
        ({"VPN_SERVER_PORT": "0"}, "VPN_SERVER_PORT=0: not a port: a number from 1 to 65535 is due"),
        ({"VPN_SERVER_PORT": "65536"}, "VPN_SERVER_PORT=65536: not a port"),
        ({"VPN_SERVER_PUBLIC_ADDR": "0.0.0.0"}, "VPN_SERVER_PUBLIC_ADDR=0.0.0.0: not an address that components"),
        ({"VPN_WIREGUARD": "openvpn"}, "VPN_WIREGUARD=openvpn: unknown .*choose one of auto, kernel, boringtun"),
        ({"USE_WG_KERNEL_MOD": "maybe"}, "USE_WG_KERNEL_MOD=maybe: is neither true nor false"),
        ({"CONTAINER_UID": "somebody"}, "CONTAINER_UID and CONTAINER_GID must be numbers"),
    ]
    problems: list[str] = []
    for environ, saying in bad:
        problems += hub.refusal("genconf", "node", "new", environ=environ, saying=saying)
    assert problems == []


def test_all_problems_are_named_at_once(hub: Scripts) -> None:
    environ = {
        "VPN_SERVER_PORT": "high",
        "VPN_NODE_IP_ASSIGN": "10.222.0.0/31",
        "VPN_SERVER_PUBLIC_ADDR": "a b",
        "VPN_WIREGUARD": "ipsec",
    }
    saying = (
        "VPN_SERVER_PUBLIC_ADDR=a b: .*VPN_SERVER_PORT=high: .*VPN_WIREGUARD=ipsec: .*"
        "VPN_NODE_IP_ASSIGN=10.222.0.0/31 is too small.*"
        "VPN_NODE_IP_ASSIGN=10.222.0.0/31 overlaps VPN_RESEARCHER_IP_ASSIGN=10.222.0.0/16"
    )
    assert hub.refusal("genconf", "node", "new", environ=environ, saying=saying) == []


def test_the_environment_overrides_the_file(hub: Scripts) -> None:
    (hub.folder / "config.env").write_bytes(GOOD + b"export VPN_SERVER_PORT=1\n")
    hub.done("genconf", "node", "new", environ={"VPN_SERVER_PORT": "443", "VPN_SERVER_PUBLIC_ADDR": "2001:db8::1"})
    written = (hub.folder / "config_peers" / "node" / "new" / "config.env").read_text()
    assert "VPN_SERVER_ENDPOINT=[2001:db8::1]:443\n" in written


def test_a_full_range_is_said_so_and_a_freed_address_is_handed_out(hub: Scripts) -> None:
    environ = {"VPN_RESEARCHER_IP_ASSIGN": "10.222.0.0/30"}
    # The first host comes last, for older installations never use it.
    assert "registered at 10.222.0.1\n" in hub.done("genconf", "researcher", "second", environ=environ)
    saying = "no address is left in 10.222.0.0/30 for another researcher; `removeconf` one, or widen the range"
    assert hub.refusal("genconf", "researcher", "third", environ=environ, saying=saying) == []
    hub.done("removeconf", "researcher", "node1", environ=environ)
    assert "registered at 10.222.0.2\n" in hub.done("genconf", "researcher", "third", environ=environ)


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_a_state_folder_that_is_none_is_named(hub: Scripts, kind: str) -> None:
    other = hub.elsewhere / "other"
    if kind == "a file":
        other.touch()
    problems = hub.refusal(
        "list", environ={"VPN_CONFIG_DIR": str(other)}, saying="other is not a folder; create it, or name another"
    )
    assert problems == []
