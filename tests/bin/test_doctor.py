"""``doctor`` of hub and component, where a file or the environment is what is wrong."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.bin.scripts import Scripts, public_key
from tests.registry.snapshot import OLDER_INSTALLATION, secrets, snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PEER = OLDER_INSTALLATION / "config_peers" / "node" / "node1" / "config.env"


@pytest.fixture
def component(tmp_path: Path) -> Scripts:
    """A component with its config.env, whose hub is an address of nobody (RFC 5737)."""
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "config.env").write_text(PEER.read_text().replace("vpn.example.org", "192.0.2.1"))
    (folder / "config.env").chmod(0o600)
    (tmp_path / "elsewhere").mkdir()
    return Scripts(folder, tmp_path / "elsewhere")


def doctor(scripts: Scripts, script: str, environ: Mapping[str, str] | None = None) -> dict[str, tuple[str, str]]:
    """State and message by check. Whatever is wrong, it is told in this way, and nothing is changed by looking."""
    before = snapshot(scripts.folder)
    outcome = scripts.run(script, "doctor", "--json", environ=environ)
    assert snapshot(scripts.folder) == before
    assert outcome.err == ""
    found = {item["check"]: (item["state"], item["message"]) for item in json.loads(outcome.out)}
    assert outcome.status == int("failed" in {state for state, _ in found.values()})
    assert not any("does not understand" in message for _, message in found.values()), found
    assert not [secret for secret in secrets(scripts.folder) if secret in outcome.out]
    return found


def of_component(component: Scripts, **environ: str) -> dict[str, tuple[str, str]]:
    return doctor(component, "vpn_client", environ)


def of_hub(hub: Scripts, **environ: str) -> dict[str, tuple[str, str]]:
    # A port of its own: another hub's tests may run on this machine.
    return doctor(hub, "vpn_server", {"VPN_SERVER_PUBLIC_ADDR": "192.0.2.1", "VPN_SERVER_PORT": "41820", **environ})


def test_a_component_s_config_env_is_missing_incomplete_or_damaged(component: Scripts) -> None:
    path = component.folder / "config.env"
    text = path.read_text()
    assert of_component(component)["config"][0] == "ok"
    for spoilt, said in (
        (text.replace("export VPN_SERVER_PSK", "# export VPN_SERVER_PSK"), "lacks VPN_SERVER_PSK; fill it with what"),
        (text.replace("hz/Ny", "hz/N"), "not a WireGuard public key: 44 characters of base64"),
        (text.replace("export VPN_IP", "exportVPN_IP"), "a space is missing after `export`"),
        (text.replace("10.221.0.2", "10.221.0.256"), "VPN_IP, VPN_SUBNET_PREFIX: 10.221.0.256/14 is no address"),
    ):
        path.write_text(spoilt)
        state, message = of_component(component)["config"]
        assert state == "failed"
        assert said in message
    path.unlink()
    found = of_component(component)
    assert found["config"][0] == "failed"
    assert "is not there; copy the one there that `configure_peer.py genconf` wrote" in found["config"][1]
    assert found["handshake"][0] == "skipped"


def test_a_component_s_folder_is_missing(component: Scripts) -> None:
    shutil.rmtree(component.folder)
    component.folder.mkdir()
    assert of_component(component, VPN_CONFIG_DIR="/nowhere")["config"][0] == "failed"
    assert of_hub(component, VPN_CONFIG_DIR="/nowhere")["config"] == (
        "failed",
        "/nowhere is not a folder; create it, or name another with VPN_CONFIG_DIR",
    )


def test_a_config_env_that_others_may_read(component: Scripts) -> None:
    (component.folder / "config.env").chmod(0o644)
    state, message = of_component(component)["config-mode"]
    assert state == "warning"
    assert "open to other users (mode 0644); `chmod 600 " in message


def test_a_private_key_is_damaged_or_not_made_yet(component: Scripts) -> None:
    assert of_component(component)["key"] == ("ok", "none yet; `vpn_client run` makes it at its start")
    key = component.run("vpn_client", "public-key").out.strip()
    assert of_component(component)["key"] == ("ok", f"public key {key}")
    (component.folder / "wireguard" / "private.key").write_text("half")
    state, message = of_component(component)["key"]
    assert state == "failed"
    assert "is damaged; put back a copy, or delete it and `add` the new key on the hub" in message


@pytest.mark.parametrize("name", ["config.env", "wireguard/private.key"])
def test_a_clock_that_is_behind_what_was_written(component: Scripts, name: str) -> None:
    component.run("vpn_client", "public-key")
    later = time.time() + 3 * 86400
    os.utime(component.folder / name, (later, later))
    state, message = of_component(component)["clock"]
    assert state == "failed"
    assert f"before {component.folder / name} was written; set it" in message
    assert "71 h before" in message or "2 days before" in message
    assert "TAI64N" in message


def test_an_implementation_that_is_not_installed(component: Scripts) -> None:
    state, message = of_component(component, PATH=str(component.elsewhere))["program"]
    assert state == "failed"
    assert message.startswith("boringtun-cli, setpriv: not on the PATH; install it")


def test_the_kernel_s_wireguard_needs_neither_device_nor_program(component: Scripts) -> None:
    found = of_component(component, VPN_WIREGUARD="kernel", PATH=str(component.elsewhere))
    assert found["tun"] == ("skipped", "the kernel's WireGuard does not need /dev/net/tun")
    assert found["program"] == ("ok", "the kernel's WireGuard is chosen, no program needed")


def test_a_place_of_a_service_that_is_none(component: Scripts) -> None:
    assert of_component(component)["broker"][0] == "skipped"


def test_a_hub_that_does_not_run_and_has_nothing(fresh: Scripts) -> None:
    found = of_hub(fresh)
    assert found["daemon"][0] == "failed"
    assert "the hub's daemon does not run; start it with `vpn_server.py`" in found["daemon"][1]
    assert found["registry"] == ("skipped", "there is none yet; the hub, or the first `genconf`, makes it")
    assert found["wg0"][0] == found["addresses"][0] == "skipped"


def test_a_hub_that_does_not_run_tells_what_does_not_depend_on_it(hub: Scripts) -> None:
    found = of_hub(hub)
    assert {
        check for check in ("registry", "audit", "addresses", "state", "policy", "clock") if found[check][0] != "ok"
    } == set()
    assert found["addresses"][1] == "left: 65021 for management, 65022 for node, 65023 for researcher"


def test_a_hub_that_is_starting_or_has_a_problem(hub: Scripts) -> None:
    with (hub.folder / "wireguard" / "daemon.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert of_hub(hub)["daemon"][0] == "warning"
        status = hub.folder / "wireguard" / "status"
        status.write_text("export IMPLEMENTATION=boringtun\nexport PROBLEM='boringtun hangs; it is replaced'\n")
        assert of_hub(hub)["daemon"] == ("failed", "boringtun hangs; it is replaced")


def test_an_older_installation_that_was_not_taken_over_yet(older: Scripts) -> None:
    state, message = of_hub(older)["registry"]
    assert (state, message) == ("skipped", "there is an older installation; the hub takes it over at its start")


def test_a_public_address_that_is_not_set_or_of_no_use(hub: Scripts) -> None:
    path = hub.folder / "config.env"
    for address, state, said in (
        ("", "failed", "VPN_SERVER_PUBLIC_ADDR is not set; write the hub's public name"),
        ("127.0.0.1", "warning", "is this machine itself: components elsewhere cannot reach it"),
        ("localhost", "warning", "is this machine itself"),
        ("192.168.1.7", "warning", "is a private address: components on other networks cannot reach it"),
        ("169.254.1.7", "warning", "means something on this network segment only"),
        ("name.invalid", "failed", "the name name.invalid is not known here"),
        ("9.9.9.9", "ok", "components are told 9.9.9.9"),
    ):
        path.write_text(f"export VPN_SERVER_PUBLIC_ADDR={address}\n")
        found = of_hub(hub, VPN_SERVER_PUBLIC_ADDR="")["address"]
        assert found[0] == state, found
        assert said in found[1] or (address == "name.invalid" and "no name server answers" in found[1])


def test_a_hub_s_settings_are_all_named(hub: Scripts) -> None:
    found = of_hub(hub, VPN_SERVER_PORT="0", VPN_NODE_IP_ASSIGN="10.222.0.0/16")
    assert found["config"][0] == "failed"
    assert "VPN_SERVER_PORT=0: not a port" in found["config"][1]
    assert "VPN_NODE_IP_ASSIGN=10.222.0.0/16 overlaps" in found["config"][1]
    assert found["state"] == ("skipped", "not looked at, since `config` failed")


def test_a_damaged_registry(hub: Scripts) -> None:
    path = hub.folder / "ip_assign" / "registry.db"
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole[:4096] + bytes(len(whole) - 4096)):
        path.write_bytes(content)
        found = of_hub(hub)
        assert found["registry"][0] == "failed", found
        assert "put back a copy of it" in found["registry"][1]
        assert found["audit"][0] == "skipped"


def test_a_registry_of_another_release(hub: Scripts) -> None:
    path = hub.folder / "ip_assign" / "registry.db"
    for version, state, said in ((1, "skipped", "is of an older release; "), (99, "failed", "by a newer release; ")):
        with closing(sqlite3.connect(path)) as database:
            database.execute(f"PRAGMA user_version = {version}")
        found = of_hub(hub)["registry"]
        assert found[0] == state
        assert said in found[1]


def test_a_registry_that_somebody_wrote_to(hub: Scripts) -> None:
    with closing(sqlite3.connect(hub.folder / "ip_assign" / "registry.db")) as database:
        database.execute("DROP TRIGGER log_is_append_only_update")
        database.execute("UPDATE log SET what = 'nothing' WHERE number = 2")
        database.commit()
    state, message = of_hub(hub)["audit"]
    assert state == "failed"
    assert message.startswith("broken at entry 2: it, or its hash, was changed after it was written; ")


def test_a_backup_that_was_never_made_and_one_that_was(hub: Scripts) -> None:
    state, message = of_hub(hub)["backup"]
    assert state == "warning"
    assert "there was never one" in message
    hub.done("genconf", "node", "node3")
    assert hub.peer("backup", hub.elsewhere / "b", "--plain").status == 0
    hub.done("genconf", "node", "node4")
    assert of_hub(hub)["backup"] == ("ok", "0 s ago, 1 changes since")


def test_a_range_that_is_used_up_or_nearly_so(fresh: Scripts) -> None:
    environ = {"VPN_NODE_IP_ASSIGN": "10.221.0.0/29"}
    for number in range(5):
        fresh.done("genconf", "node", f"node{number}", environ=environ)
    state, message = of_hub(fresh, **environ)["addresses"]
    assert state == "warning"
    assert message.startswith(
        "few addresses are left for node (65021 for management, 1 for node, 65024 for researcher)"
    )
    fresh.done("genconf", "node", "node5", environ=environ)
    state, message = of_hub(fresh, **environ)["addresses"]
    assert state == "failed"
    assert message.startswith("no address is left for node (65021 for management, 0 for node, 65024 for researcher); ")
    assert fresh.refusal("genconf", "node", "node6", saying="no address is left", environ=environ) == []


def test_a_clock_behind_the_registry(hub: Scripts) -> None:
    with closing(sqlite3.connect(hub.folder / "ip_assign" / "registry.db")) as database:
        database.execute("UPDATE hub SET latest = ?", (time.time() + 9000,))
        database.commit()
    state, message = of_hub(hub)["clock"]
    assert state == "failed"
    assert "2 h before the latest entry of the registry" in message


def test_a_policy_that_is_invalid(hub: Scripts) -> None:
    (hub.folder / "policy.toml").write_text('[[allow]]\nfrom = "node"\nto = "mars"\ntcp = [1]\n')
    state, message = of_hub(hub)["policy"]
    assert state == "failed"
    assert "policy.toml" in message
    assert "until then the last good policy stays in force" in message


def test_a_port_that_another_program_has(hub: Scripts) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 0))
        port = taken.getsockname()[1]
        state, message = of_hub(hub, VPN_SERVER_PORT=str(port))["port"]
    assert state == "failed"
    assert f"UDP port {port} is taken by " in message
    assert f"({os.getpid()}); stop it, or set another VPN_SERVER_PORT" in message


def test_a_wg0_conf_that_others_may_read(hub: Scripts) -> None:
    (hub.folder / "ip_assign" / "registry.db").chmod(0o640)
    assert of_hub(hub)["state"] == (
        "warning",
        "registry.db: open to other users, with secrets; the next command narrows it",
    )


def test_nft_is_not_installed(hub: Scripts) -> None:
    state, message = of_hub(hub, PATH=str(hub.elsewhere))["program"]
    assert state == "failed"
    assert message.startswith("nft, boringtun-cli, setpriv: not on the PATH")


def test_json_is_of_the_doctor_alone(hub: Scripts) -> None:
    assert hub.refusal_of("vpn_server", "run", "--json", status=2, saying="--json is of `doctor`; ") == []


def test_for_people_it_is_a_line_for_each_check(hub: Scripts) -> None:
    outcome = hub.run("vpn_server", "doctor", environ={"VPN_SERVER_PORT": "41820"})
    assert (outcome.status, outcome.err) == (1, "")
    assert all(line.startswith(("ok    ", "warn  ", "FAIL  ", "skip  ")) for line in outcome.out.splitlines())
    assert "FAIL  daemon      the hub's daemon does not run" in outcome.out
    assert public_key(2) not in outcome.out
