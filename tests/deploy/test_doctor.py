"""``doctor`` of a host: what keeps a deployment from working, each caused."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.deploy.host import Host

Found = dict[tuple[str, str], tuple[str, str]]

OF_THE_MACHINE = ("tun", "port", "notebook-port", "disk")
"""Checks that look at the machine that the tests run on, which may have what it likes."""


def doctor(host: Host, **options: Any) -> Found:
    """State and message by component (empty for the host) and check."""
    outcome = host.run("doctor", "--json", **options)
    assert outcome.err == ""
    items = json.loads(outcome.out)
    assert all(item.keys() - {"component"} == {"check", "state", "message"} for item in items)
    assert all(item["message"].isprintable() for item in items)
    assert outcome.status == int(any(item["state"] == "failed" for item in items))
    found = {(item.get("component", ""), item["check"]): (item["state"], item["message"]) for item in items}
    assert len(found) == len(items)
    return found


def test_all_is_well(running: Host) -> None:
    found = doctor(running)
    assert {name: said for name, said in found.items() if said[0] != "ok" and name[1] not in OF_THE_MACHINE} == {}
    assert found["node", "container"] == ("ok", "running, healthy")
    assert found["node", "config"] == ("ok", "it is there")
    assert found["", "port"] == ("ok", "UDP port 51820 is published for the hub")
    assert {component for component, _ in found} == {"", "vpnserver", "mqtt", "restful", "node", "researcher"}


def test_it_changes_nothing(running: Host) -> None:
    before = running.state
    doctor(running)
    after = running.state
    assert {**after, "calls": [], "containers": {}} == {**before, "calls": [], "containers": {}}
    asked = {call[0] if call[0] != "exec" else " ".join(call[2:]) for call in running.calls()[len(before["calls"]) :]}
    assert asked == {
        "version",
        "compose",
        "info",
        "network",
        "image",
        "container",
        "vpn_server doctor --json",
        "vpn_client doctor --json",
    }


def test_for_people_every_finding_is_one_line_under_its_component(running: Host) -> None:
    running.set(doctors={"node": [{"check": "udp", "state": "failed", "message": "nobody listens\nthere\x1b[31m"}]})
    outcome = running.run("doctor")
    assert outcome.status == 1
    assert re.search(
        r"^node:\nok    container +running, healthy\nFAIL  udp +nobody listens there\\x1b\[31m$", outcome.out, re.M
    )
    assert re.search(r"^ok    docker +Docker 20\.10\.24 answers$", outcome.out, re.M)
    assert "\x1b" not in outcome.out


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_on_a_terminal_the_marks_have_colours(running: Host, environ: dict[str, str], coloured: bool) -> None:
    running.container("mqtt", status="exited", exit_code=3)
    said = running.on_terminal("doctor", environ=environ).out
    assert ("\x1b[31mFAIL\x1b[0m  container" in said) == coloured
    assert ("\x1b[32mok  \x1b[0m  docker" in said) == coloured
    assert ("\x1b" in said) == coloured


def test_docker_is_not_installed(host: Host) -> None:
    (host.bin / "docker").unlink()
    found = doctor(host)
    assert found["", "docker"][0] == "failed"
    assert "docker is not installed; install it" in found["", "docker"][1]
    assert found["", "images"] == ("skipped", "not looked at, since `docker` failed")


@pytest.mark.parametrize(
    ("daemon", "said"), [("down", "systemctl start docker"), ("forbidden", "this account may not use Docker")]
)
def test_the_engine_does_not_answer_us(running: Host, daemon: str, said: str) -> None:
    running.set(daemon=daemon)
    found = doctor(running)
    assert found["", "docker"][0] == "failed"
    assert said in found["", "docker"][1]
    assert {component for component, _ in found} == {""}


def test_compose_is_not_installed(host: Host) -> None:
    (host.bin / "docker-compose").unlink()
    state, message = doctor(host)["", "compose"]
    assert state == "failed"
    assert "docker-compose is not installed" in message


def test_a_deployment_that_is_damaged_or_not_there(host: Host) -> None:
    (host.folder / ".env").write_text("this is none\n")
    state, message = doctor(host)["", "settings"]
    assert state == "failed"
    assert ".env, line 1: not an assignment" in message
    found = host.run("doctor", "--json", "--folder", str(host.root))
    assert found.status == 1
    assert "name the folder that does" in json.loads(found.out)[0]["message"]


def test_a_port_that_is_none(host: Host) -> None:
    (host.folder / ".env").write_text("VPN_SERVER_PORT=518200\n")
    found = doctor(host)
    assert found["", "settings"] == (
        "failed",
        "VPN_SERVER_PORT=518200 is no port; correct it in .env, or in the environment",
    )
    assert found["", "port"][0] == "skipped"


def test_a_port_that_is_taken(host: Host) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken, socket.socket() as other:
        taken.bind(("", 0))
        other.bind(("127.0.0.1", 0))
        other.listen()
        udp, tcp = taken.getsockname()[1], other.getsockname()[1]
        found = doctor(host, environ={"VPN_SERVER_PORT": str(udp), "RESEARCHER_PORT": str(tcp)})
    assert found["", "port"][0] == found["", "notebook-port"][0] == "failed"
    assert f"UDP port {udp} cannot be had" in found["", "port"][1]
    assert "or set RESEARCHER_PORT in .env" in found["", "notebook-port"][1]


def test_a_container_that_publishes_nothing(running: Host) -> None:
    running.container("vpnserver", ports={})
    running.container("researcher", ports={})
    found = doctor(running)
    assert found["", "port"][0] == found["", "notebook-port"][0] == "failed"
    assert "does not publish UDP port 51820" in found["", "port"][1]


def test_the_engine_has_no_addresses_left(running: Host) -> None:
    running.set(networks=["bridge", *(f"network{number}" for number in range(30))])
    state, message = doctor(running)["", "pools"]
    assert state == "failed"
    assert "`docker network prune`" in message
    running.set(networks=["bridge", *(f"network{number}" for number in range(26))])
    assert doctor(running)["", "pools"][0] == "warning"
    ours = [f"docker_{name}" for name in ("vpnserver", "mqtt", "restful", "node", "researcher")]
    running.set(networks=["bridge", *ours, *(f"network{number}" for number in range(24))])
    assert doctor(running)["", "pools"][0] == "ok"
    running.set(pools=[{"Base": "10.0.0.0/8", "Size": 24}])
    assert doctor(running)["", "pools"][0] == "skipped"


def test_docker_s_folder_is_elsewhere(running: Host) -> None:
    running.set(root="/of/another/machine")
    assert doctor(running)["", "disk"] == ("skipped", "Docker's folder /of/another/machine is not to be seen from here")


def test_there_are_no_images_or_not_all(host: Host) -> None:
    assert doctor(host)["", "images"][0] == "failed"
    host.with_images("vpnserver", "mqtt")
    assert doctor(host)["", "images"] == (
        "warning",
        "none for restful, node, researcher; where it is to run here: `fedbiomed_vpn build restful node researcher`",
    )
    assert doctor(host)["", "containers"][0] == "warning"


def test_a_container_that_has_ended(running: Host) -> None:
    running.container("mqtt", status="exited", exit_code=3, log="error: /dev/net/tun is missing\n")
    found = doctor(running)
    assert found["mqtt", "container"] == (
        "failed",
        'it has ended with status 3; it said last: "error: /dev/net/tun is missing"; `fedbiomed_vpn start mqtt`',
    )
    assert found["mqtt", "config"][0] == "ok"
    assert ("mqtt", "doctor") not in found


def test_a_container_that_is_started_again_and_again(running: Host) -> None:
    running.container("node", status="restarting", restarts=17)
    running.container("mqtt", restarts=4, health="unhealthy")
    running.container("restful", restarts=5, looks=9)
    running.container("researcher", restarts=6)
    found = doctor(running)
    assert found["researcher", "container"] == ("ok", "running, healthy, started again 6 times")
    for name, count in (("node", 17), ("mqtt", 4), ("restful", 5)):
        assert found[name, "container"][0] == "failed"
        assert f"started again and again ({count} times)" in found[name, "container"][1]


def test_a_container_that_is_paused(running: Host) -> None:
    running.container("restful", status="paused")
    assert doctor(running)["restful", "container"] == ("failed", "it is paused; `docker unpause fedbiomed-vpn-restful`")


def test_a_container_that_is_unhealthy(running: Host) -> None:
    running.container("restful", health="unhealthy", said="unhealthy: the broker does not answer")
    state, message = doctor(running)["restful", "container"]
    assert state == "failed"
    assert message.startswith("it is unhealthy: the broker does not answer; ")


def test_a_configuration_that_is_missing_or_not_filled(running: Host) -> None:
    for name in ("vpnserver", "mqtt", "node"):
        running.container(name, status="exited")
    running.config("vpnserver").write_text("")
    running.config("mqtt").unlink()
    running.config("node").write_text("")
    found = doctor(running)
    for name, advice in (
        ("vpnserver", "fedbiomed_vpn configure --public-address"),
        ("mqtt", "genconf management ID"),
        ("node", "genconf node ID"),
    ):
        assert found[name, "config"][0] == "failed"
        assert advice in found[name, "config"][1]


def test_what_a_component_finds_is_told_and_counts(running: Host) -> None:
    items = [
        {"check": "udp", "state": "failed", "message": "nobody listens there"},
        {"check": "mtu", "state": "skipped", "message": "not looked at, since `udp` failed"},
    ]
    running.set(doctors={"node": items})
    found = doctor(running)
    assert found["node", "udp"] == ("failed", "nobody listens there")
    assert found["node", "mtu"][0] == "skipped"


def test_an_image_that_has_no_doctor(running: Host) -> None:
    running.set(doctors={"node": None})
    state, message = doctor(running)["node", "doctor"]
    assert state == "skipped"
    assert "is its image older than this tool? Build it again" in message
