"""The hub's settings: from the file, the environment, and by default."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from vpn.lib.errors import InvalidInput
from vpn.lib.files import Owner
from vpn.lib.hub.settings import DEFAULTS, load
from vpn.lib.registry.peer import PeerType

if TYPE_CHECKING:
    from pathlib import Path

    from vpn.lib.hub.settings import Settings


def loaded(folder: Path, text: str = "", **environ: str) -> Settings:
    """The settings with this config.env and environment."""
    (folder / "config.env").write_text(text)
    return load({"VPN_CONFIG_DIR": str(folder), **environ})


def test_defaults_are_those_of_the_older_releases(tmp_path: Path) -> None:
    settings = load({"VPN_CONFIG_DIR": str(tmp_path)})
    assert (settings.public_address, settings.port, settings.wireguard) == ("", 51820, "boringtun")
    assert str(settings.plan.hub) == "10.220.0.1/14"
    assert {kind.value: str(network) for kind, network in settings.plan.ranges.items()} == {
        "management": "10.220.0.0/16",
        "node": "10.221.0.0/16",
        "researcher": "10.222.0.0/16",
    }


def test_files_belong_to_the_owner_of_the_state_directory_where_nothing_else_is_said(tmp_path: Path) -> None:
    # Root gives them away; whoever else runs this can make files of its own only.
    status = tmp_path.stat()
    expected = Owner(status.st_uid, status.st_gid) if os.geteuid() == 0 else None
    assert load({"VPN_CONFIG_DIR": str(tmp_path)}).owner == expected
    assert loaded(tmp_path, "", CONTAINER_UID="1234").owner == Owner(1234, 1234)
    assert loaded(tmp_path, "", CONTAINER_UID="1234", CONTAINER_GID="5").owner == Owner(1234, 5)


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    text = "export VPN_SERVER_PORT=1111\nexport VPN_NODE_IP_ASSIGN=10.221.0.0/24\nexport UNKNOWN=x\n"
    settings = loaded(tmp_path, text, VPN_SERVER_PORT="2222")
    assert settings.port == 2222
    assert str(settings.plan.ranges[PeerType.NODE]) == "10.221.0.0/24"
    # docker-compose hands on what is not set as empty.
    assert loaded(tmp_path, text, VPN_SERVER_PORT="").port == 1111


@pytest.mark.parametrize(
    ("address", "endpoint"),
    [
        ("hub.example.org", "hub.example.org:51820"),
        ("hub.example.org.", "hub.example.org.:51820"),
        ("vpn_hub-1", "vpn_hub-1:51820"),
        ("192.0.2.1", "192.0.2.1:51820"),
        ("2001:db8::1", "[2001:db8::1]:51820"),
        ("[2001:DB8:0::1]", "[2001:db8::1]:51820"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example:51820"),
    ],
)
def test_public_addresses_become_endpoints(tmp_path: Path, address: str, endpoint: str) -> None:
    assert loaded(tmp_path, VPN_SERVER_PUBLIC_ADDR=address).endpoint == endpoint


@pytest.mark.parametrize(
    "address",
    [
        "hub.example.org:51820",
        "https://hub.example.org",
        "a b",
        "hub..example",
        ".hub",
        "-hub",
        "hub-",
        "b\u00fccher.example",
        "256.1.1.1",
        "1.2.3",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "fe80::1%eth0",
        "fe80::1%$(id) x",
        "[192.0.2.1",
        "a" * 64,
        ".".join(["a" * 60] * 5),
        "$(id)",
        "hub/../x",
    ],
)
def test_what_no_component_could_reach_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(InvalidInput, match=r"VPN_SERVER_PUBLIC_ADDR=.*: not a"):
        loaded(tmp_path, VPN_SERVER_PUBLIC_ADDR=address)


def test_without_a_public_address_only_the_endpoint_is_missing(tmp_path: Path) -> None:
    settings = loaded(tmp_path)
    with pytest.raises(InvalidInput, match="VPN_SERVER_PUBLIC_ADDR is not set; write the hub's public name"):
        _ = settings.endpoint


@pytest.mark.parametrize(
    ("environ", "implementation", "components"),
    [
        ({}, "boringtun", False),
        ({"USE_WG_KERNEL_MOD": "true"}, "kernel", True),
        ({"USE_WG_KERNEL_MOD": "True"}, "kernel", True),
        ({"USE_WG_KERNEL_MOD": "false"}, "boringtun", False),
        ({"VPN_WIREGUARD": "gotatun"}, "gotatun", False),
        ({"VPN_WIREGUARD": "WireGuard-Go"}, "wireguard-go", False),
        ({"VPN_WIREGUARD": "auto", "USE_WG_KERNEL_MOD": "true"}, "auto", True),
    ],
)
def test_the_implementation_is_chosen(
    tmp_path: Path, environ: dict[str, str], implementation: str, components: bool
) -> None:
    settings = loaded(tmp_path, **environ)
    assert (settings.wireguard, settings.components_use_kernel) == (implementation, components)


def test_owners_are_numbers(tmp_path: Path) -> None:
    assert loaded(tmp_path, CONTAINER_UID="1000", CONTAINER_GID="1001").owner == Owner(1000, 1001)
    assert loaded(tmp_path, CONTAINER_UID="1000").owner == Owner(1000, 1000)
    for uid in ("root", "-1", "1.5", " 1"):
        with pytest.raises(InvalidInput, match="CONTAINER_UID and CONTAINER_GID must be numbers"):
            loaded(tmp_path, CONTAINER_UID=uid)


def test_every_setting_that_is_wrong_is_named_in_one_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        loaded(tmp_path, **dict.fromkeys(DEFAULTS, "in valid"), CONTAINER_UID="x")
    for name in (*DEFAULTS, "CONTAINER_UID"):
        assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_long_value_is_cut_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        loaded(tmp_path, VPN_SERVER_PORT="9" * 5000)
    assert len(str(caught.value)) < 300


def test_nothing_is_served_unless_it_is_asked_for(tmp_path: Path) -> None:
    settings = loaded(tmp_path)
    assert (settings.metrics, settings.metrics_per_peer, settings.page) == (None, False, None)


@pytest.mark.parametrize("place", ["127.0.0.1:9586", "10.220.0.1:9586", "0.0.0.0:1", "[::1]:9586", "192.0.2.1:65535"])
def test_metrics_are_served_wherever_the_administrator_says(tmp_path: Path, place: str) -> None:
    assert str(loaded(tmp_path, VPN_METRICS=place).metrics) == place
    assert loaded(tmp_path, VPN_METRICS_PER_PEER="true").metrics_per_peer


@pytest.mark.parametrize("name", ["VPN_METRICS", "VPN_PAGE"])
@pytest.mark.parametrize(
    "place", ["9586", ":9586", "localhost:9586", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "::1:1", "224.0.0.1:1"]
)
def test_what_is_no_place_to_serve_at_is_refused(tmp_path: Path, name: str, place: str) -> None:
    with pytest.raises(InvalidInput, match=f"{name}={re.escape(place)}: not an address"):
        loaded(tmp_path, **{name: place})


@pytest.mark.parametrize("place", ["127.0.0.1:8080", "127.9.9.9:1", "[::1]:8080", "10.220.0.1:8080"])
def test_the_page_is_for_this_machine_or_the_vpn(tmp_path: Path, place: str) -> None:
    assert str(loaded(tmp_path, VPN_PAGE=place).page) == place


@pytest.mark.parametrize(
    "place", ["0.0.0.0:8080", "192.0.2.1:8080", "[::]:8080", "10.221.0.2:8080", "[2001:db8::1]:80"]
)
def test_the_page_is_for_nobody_else(tmp_path: Path, place: str) -> None:
    with pytest.raises(InvalidInput, match=r"VPN_PAGE=.*: neither a loopback address nor the hub's .*; write 127"):
        loaded(tmp_path, VPN_PAGE=place)


def test_page_and_metrics_need_a_place_each(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="VPN_METRICS is there already; choose another port"):
        loaded(tmp_path, VPN_PAGE="127.0.0.1:8080", VPN_METRICS="127.0.0.1:8080")
    assert loaded(tmp_path, VPN_PAGE="127.0.0.1:8080", VPN_METRICS="127.0.0.1:8081").page
