"""The hub's daemon, where it has to refuse to start."""

from __future__ import annotations

import fcntl
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.bin.scripts import Scripts


def test_bad_settings_end_it_with_one_line_that_names_all(hub: Scripts) -> None:
    environ = {"VPN_SERVER_PORT": "0", "VPN_NODE_IP_ASSIGN": "10.222.0.0/16"}
    saying = "^vpn_server: .*VPN_SERVER_PORT=0: not a port.*VPN_NODE_IP_ASSIGN=10.222.0.0/16 overlaps VPN_RESEARCHER"
    problems = hub.refusal_of("vpn_server", environ=environ, saying=saying)
    problems += hub.refusal_of("vpn_server", "health", environ=environ, saying=saying)
    assert problems == []


def test_without_a_public_address_it_does_not_start(hub: Scripts) -> None:
    (hub.folder / "config.env").write_text("")
    assert hub.refusal_of("vpn_server", saying="VPN_SERVER_PUBLIC_ADDR is not set; write the hub's public") == []


def test_a_second_hub_on_one_directory_is_refused(hub: Scripts) -> None:
    with (hub.folder / "wireguard" / "daemon.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert hub.refusal_of("vpn_server", saying="another hub runs on .*; stop it before you start this one") == []


def test_a_damaged_registry_ends_it(hub: Scripts) -> None:
    path = hub.folder / "ip_assign" / "registry.db"
    whole = path.read_bytes()
    problems: list[str] = []
    for content in (b"", whole[: len(whole) // 2], whole[:4096] + bytes(len(whole) - 4096)):
        path.write_bytes(content)
        problems += hub.refusal_of("vpn_server", saying="registry.db is damaged .*; put back a copy of it, or move it")
    assert problems == []


def test_an_older_installation_without_its_key_ends_it(older: Scripts) -> None:
    (older.folder / "wireguard" / "wg0.conf").write_text("")
    assert older.refusal_of("vpn_server", saying="wg0.conf has no PrivateKey.*put back a copy.*would cut off") == []


def test_a_port_that_is_taken_is_named(hub: Scripts) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        port = taken.getsockname()[1]
        problems = hub.refusal_of("vpn_server", environ={"VPN_SERVER_PORT": str(port)}, saying=f"UDP port {port}")
    assert problems == []


def test_health_of_a_hub_that_does_not_run_says_so(hub: Scripts) -> None:
    saying = "^unhealthy: the hub's daemon is not running; start it with"
    assert hub.refusal_of("vpn_server", "health", saying=saying, on_stdout=True) == []


def test_health_of_a_hub_that_starts_or_has_a_problem_says_so(hub: Scripts) -> None:
    status = hub.folder / "wireguard" / "status"
    with (hub.folder / "wireguard" / "daemon.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        problems = hub.refusal_of(
            "vpn_server", "health", saying="^unhealthy: the hub is starting; wait", on_stdout=True
        )
        status.write_text("export IMPLEMENTATION=boringtun\nexport PROBLEM='boringtun hangs'\n")
        problems += hub.refusal_of("vpn_server", "health", saying="^unhealthy: boringtun hangs$", on_stdout=True)
        status.write_text("export IMPLEMENTATION=boringtun\nexport PROBLEM=\n")
        problems += hub.refusal_of("vpn_server", "health", saying="^unhealthy: .*wg0", on_stdout=True)
        status.write_text("half")
        problems += hub.refusal_of("vpn_server", "health", saying="^unhealthy: the hub is starting", on_stdout=True)
    assert problems == []
