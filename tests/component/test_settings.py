"""A component's config.env."""

from __future__ import annotations

from ipaddress import IPv4Interface, ip_network
from pathlib import Path

import pytest

from vpn.lib.component.settings import REQUIRED, load
from vpn.lib.errors import InvalidInput
from vpn.lib.wireguard.daemons import Implementation

OLDER = Path(__file__).resolve().parents[1] / "fixtures/older-installation/config_peers/node/node1/config.env"


@pytest.fixture
def text() -> str:
    """What an older hub wrote for a node."""
    return OLDER.read_text()


def write(folder: Path, text: str) -> Path:
    (folder / "config.env").write_text(text)
    return folder


def test_what_an_older_hub_wrote_is_understood(tmp_path: Path, text: str) -> None:
    settings = load(write(tmp_path, text), {})
    assert settings.address == IPv4Interface("10.221.0.2/14")
    assert (settings.hub_host, settings.hub_port, settings.hub_address) == ("vpn.example.org", 51820, "10.220.0.1")
    assert settings.allowed_ips == {ip_network("10.220.0.0/14")}
    assert settings.implementation is Implementation.BORINGTUN


def test_the_application_gets_everything_but_the_secret(tmp_path: Path, text: str) -> None:
    settings = load(write(tmp_path, text + "export CUSTOM='$(id) \"x\"'\n"), {})
    application = dict(settings.application)
    assert application["FEDBIOMED_NODEID"] == "node1"
    assert application["CUSTOM"] == '$(id) "x"'
    assert "VPN_SERVER_PSK" not in application
    assert not any("ptpONlXkNix" in value for value in application.values())
    assert "ptpONlXkNix" not in repr(settings)


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("how", ["absent", "empty"])
def test_each_missing_variable_is_named(tmp_path: Path, text: str, name: str, how: str) -> None:
    lines = [line for line in text.splitlines() if not line.startswith(f"export {name}=")]
    if how == "empty":
        lines.append(f"export {name}=")
    with pytest.raises(InvalidInput, match=f"lacks {name}; fill it with what `configure_peer.py genconf` wrote"):
        load(write(tmp_path, "\n".join(lines)), {})


@pytest.mark.parametrize(
    ("endpoint", "host", "port"),
    [
        ("hub.example.org:51820", "hub.example.org", 51820),
        ("192.0.2.1:1", "192.0.2.1", 1),
        ("[2001:db8::1]:65535", "2001:db8::1", 65535),
    ],
)
def test_endpoints(tmp_path: Path, text: str, endpoint: str, host: str, port: int) -> None:
    settings = load(write(tmp_path, text.replace("vpn.example.org:51820", endpoint)), {})
    assert (settings.hub_host, settings.hub_port) == (host, port)


@pytest.mark.parametrize(
    "endpoint", ["hub", ":51820", "hub:", "hub:0", "hub:65536", "2001:db8::1:51820", "a b:1", "hub:+1"]
)
def test_bad_endpoints_are_refused(tmp_path: Path, text: str, endpoint: str) -> None:
    with pytest.raises(InvalidInput, match=f"VPN_SERVER_ENDPOINT={endpoint.replace('+', '.')}"):
        load(write(tmp_path, text.replace("vpn.example.org:51820", f"'{endpoint}'")), {})


def test_without_the_hubs_address_it_is_the_first_of_the_network(tmp_path: Path, text: str) -> None:
    without = text.replace("export FEDBIOMED_NET_IP", "# ")
    assert load(write(tmp_path, without), {}).hub_address == "10.220.0.1"


@pytest.mark.parametrize(
    ("lines", "environ", "implementation"),
    [
        ("", {}, Implementation.BORINGTUN),
        ("export VPN_WIREGUARD=gotatun\n", {}, Implementation.GOTATUN),
        ("export VPN_WIREGUARD=gotatun\n", {"VPN_WIREGUARD": "kernel"}, Implementation.KERNEL),
        ("", {"VPN_WIREGUARD": "auto"}, Implementation.AUTO),
    ],
)
def test_the_implementation_is_chosen(
    tmp_path: Path, text: str, lines: str, environ: dict[str, str], implementation: Implementation
) -> None:
    assert load(write(tmp_path, text + lines), environ).implementation is implementation


def test_the_kernel_switch_of_older_hubs_is_understood(tmp_path: Path, text: str) -> None:
    switched = text.replace("USE_WG_KERNEL_MOD=false", "USE_WG_KERNEL_MOD=true")
    assert load(write(tmp_path, switched), {}).implementation is Implementation.KERNEL


def test_a_file_that_is_not_there_is_told_apart_from_a_bad_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path, {})


@pytest.mark.parametrize(
    ("line", "saying"),
    [
        ("VPN_SERVER_ALLOWED_IPS=0.0.0.0/0", "would take this machine's own traffic"),
        ("VPN_SERVER_ALLOWED_IPS=10.220.0.0/14,::/0", "would take this machine's own traffic"),
        ("VPN_IP=0.0.0.0", "is no address"),
        ("VPN_IP=127.0.0.1", "is no address"),
        ("VPN_IP=224.0.0.1", "is no address"),
        ("VPN_SUBNET_PREFIX=0", "is no address"),
        ("FEDBIOMED_NET_IP=hub.invalid", "is no IPv4 address"),
    ],
)
def test_what_would_harm_the_machine_itself_is_refused(tmp_path: Path, text: str, line: str, saying: str) -> None:
    name = line.partition("=")[0]
    lines = [kept for kept in text.splitlines() if not kept.startswith(f"export {name}=")]
    with pytest.raises(InvalidInput, match=saying):
        load(write(tmp_path, "\n".join([*lines, f"export {line}"])), {})
