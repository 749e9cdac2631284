"""``configure``, the folder, and the words that files are edited in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.deploy.host import TOOL, mode
from vpn.lib.deploy.configure import assigned, has_default_route, parse_address
from vpn.lib.deploy.folder import Deployment, services
from vpn.lib.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.host import Host


def test_an_address_and_a_port(host: Host) -> None:
    config, settings = host.config("vpnserver"), host.folder / ".env"
    config.write_text("# mine\n  export VPN_SERVER_PUBLIC_ADDR=\nexport VPN_WIREGUARD=gotatun # fast\n")
    config.chmod(0o640)
    before = settings.read_text()
    said = host.done("configure", "--public-address", "vpn.example.org", "--port", "51999")
    assert config.read_text() == (
        "# mine\nexport VPN_SERVER_PUBLIC_ADDR=vpn.example.org\nexport VPN_WIREGUARD=gotatun # fast\n"
    )
    assert mode(config) == 0o640
    assert settings.read_text() == before + "VPN_SERVER_PORT=51999\n"
    assert "components reach the hub at vpn.example.org (as given)" in said


def test_what_is_set_stays(host: Host) -> None:
    host.done("configure", "--public-address", "192.0.2.1", "--port", "51999")
    files = host.config("vpnserver"), host.folder / ".env"
    before = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files]
    assert host.done("configure", "--port", "51999") == "components reach the hub at 192.0.2.1 (as it was)\n"
    assert [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files] == before


def test_without_an_address_one_of_this_machine_is_taken(host: Host) -> None:
    said = host.done("configure")
    address = host.config("vpnserver").read_text().rpartition("VPN_SERVER_PUBLIC_ADDR=")[2].strip()
    assert parse_address(address) == address
    assert f"components reach the hub at {address} (" in said
    assert "Components on other machines need an address that they can reach" in said


def test_a_configuration_that_is_missing_is_made(host: Host) -> None:
    host.config("vpnserver").unlink()
    host.done("configure", "--public-address", "h")
    assert host.config("vpnserver").read_text() == "export VPN_SERVER_PUBLIC_ADDR=h\n"
    assert mode(host.config("vpnserver")) == 0o600


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--public-address", "a b"], "no host name"),
        (["--public-address", "$(id)"], "no host name"),
        (["--public-address", "1.2.3"], "no host name"),
        (["--public-address", "x.-org"], "no host name"),
        (["--public-address", ""], "no host name"),
        (["--port", "0"], "no UDP port"),
        (["--port", "65536"], "no UDP port"),
    ],
)
def test_what_is_no_address_or_port(host: Host, arguments: list[str], line: str) -> None:
    before = host.config("vpnserver").read_text()
    assert line in host.refused("configure", *arguments)
    assert host.config("vpnserver").read_text() == before


@pytest.mark.parametrize("text", ["export VPN_SERVER_PUBLIC_ADDR=a\nexport VPN_SERVER_PUBLIC_ADDR=b\n", "exportX=1\n"])
def test_a_damaged_configuration_is_not_edited(host: Host, text: str) -> None:
    host.config("vpnserver").write_text(text)
    assert "config.env, line " in host.refused("configure", "--public-address", "h")
    assert host.config("vpnserver").read_text() == text


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "vpn.example.org", "a", "x-1.y", "hub_1.local."])
def test_addresses(address: str) -> None:
    assert parse_address(address) == address


@pytest.mark.parametrize("address", ["", " ", "a..b", "a-.b", "300.1.1.1", "a/b", "é.org", "x" * 254, "a\nb", "a\n"])
def test_no_addresses(address: str) -> None:
    with pytest.raises(InvalidInput, match="no host name and no address"):
        parse_address(address)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", "A=1\n"),
        ("B=2", "B=2\nA=1\n"),
        ("# A=0\nA=2\nB=3\n", "# A=0\nA=1\nB=3\n"),
        ("export A='x'\n", "A=1\n"),
        ("AA=2\n", "AA=2\nA=1\n"),
    ],
)
def test_a_variable_is_set_on_its_own_line(text: str, result: str) -> None:
    assert assigned(text, "A", "1", export=False) == result


HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


@pytest.mark.parametrize(
    ("rows", "there"),
    [
        ("", False),
        ("eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n", True),
        ("eth0\t00000000\t010011AC\t0002\t0\t0\t0\t00000000\t0\t0\t0\n", False),
        ("eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n", False),
        ("lo\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n", False),
    ],
)
def test_a_default_route(tmp_path: Path, rows: str, there: bool) -> None:
    routes = tmp_path / "route"
    routes.write_text(HEAD + rows)
    assert has_default_route(routes) is there


def test_no_table_of_routes(tmp_path: Path) -> None:
    assert not has_default_route(tmp_path / "none")


def test_the_components_of_a_compose_file() -> None:
    text = "x-common:\n  mqtt: 1\nservices:\n  base:\n    node: 1\n  node: {}\n\nnetworks:\n  restful: {}\n"
    assert services(text) == ("node",)


def test_the_environment_goes_before_the_folder_s_settings(host: Host) -> None:
    (host.folder / ".env").write_text("A=file\nB=file\nC='quoted'\n")
    deployment = Deployment(host.folder, {"A": "environment", "B": ""})
    # An empty variable is one: docker-compose takes the default then, not the file's.
    assert [deployment.setting(name, "default") for name in "ABCD"] == ["environment", "default", "quoted", "default"]


class TestFolder:
    """Which deployment it is about."""

    def test_one_that_is_named(self, host: Host, tmp_path: Path) -> None:
        assert str(host.folder) in host.run("status", "--json", "--folder", host.folder, here=tmp_path).out

    def test_here(self, host: Host) -> None:
        assert f'"folder": "{host.folder}"' in host.run("status", "--json").out

    def test_else_that_of_the_checkout(self, host: Host, tmp_path: Path) -> None:
        (tmp_path / "docker-compose.yml").write_text("services:\n  somebody-elses: {}\n")
        said = host.run("status", "--json", here=tmp_path).out
        assert f'"folder": "{TOOL.parents[2] / "docker"}"' in said

    @pytest.mark.parametrize("text", [None, "services:\n  web: {}\n", b"\xff\xfe"])
    def test_one_that_holds_none_of_ours(self, host: Host, tmp_path: Path, text: str | bytes | None) -> None:
        folder = tmp_path / "other"
        folder.mkdir()
        if text is not None:
            (folder / "docker-compose.yml").write_bytes(text.encode() if isinstance(text, str) else text)
        line = host.refused("status", "--folder", folder)
        assert f"{folder} holds no docker-compose.yml of this project" in line
