"""``start``: the manual procedure, by itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.deploy.host import Host, mode
from tests.fakes.engine import PEERS, SECRET, key_of

if TYPE_CHECKING:
    from pathlib import Path

COMPONENTS = {"mqtt": "management mqtt", "restful": "management restful", "node": "node node1"}
COMPONENTS["researcher"] = "researcher researcher1"
UP = ("up", "-d", "--no-deps", "--no-build")


def test_a_whole_consortium(host: Host) -> None:
    host.with_images()
    said = host.done("start", "--public-address", "vpn.example.org")
    peers = host.state["peers"]
    assert {name: peer["state"] for name, peer in peers.items()} == dict.fromkeys(COMPONENTS.values(), "active")
    for name, peer in COMPONENTS.items():
        assert peers[peer]["public_key"] == key_of(name)
        handed_out = host.folder / "vpnserver/run_mounts/config/config_peers" / peer.replace(" ", "/") / "config.env"
        assert host.config(name).read_text() == handed_out.read_text()
        assert mode(host.config(name)) == 0o600
        assert f"{name}: {peers[peer]['address']}, joined, healthy" in said
    assert "vpnserver: healthy" in said
    assert "VPN_SERVER_PUBLIC_ADDR=vpn.example.org\n" in host.config("vpnserver").read_text()


def test_the_order_is_that_of_the_manual_procedure(running: Host) -> None:
    calls = running.calls()
    hub = ["exec", "fedbiomed-vpn-vpnserver"]
    node = ["exec", "fedbiomed-vpn-node"]
    expected = [
        [*UP, "vpnserver"],
        [*hub, "vpn_server", "health"],
        [*hub, *PEERS, "genconf", "node", "node1"],
        [*UP, "mqtt", "restful", "node", "researcher"],
        [*node, "vpn_client", "public-key"],
        [*hub, *PEERS, "add", "node", "node1", key_of("node")],
        [*node, "ping", "-c", "1", "-W", "1", "10.220.0.1"],
    ]
    places = [calls.index(call) for call in expected]
    assert places == sorted(places)


def test_a_second_start_changes_nothing(running: Host) -> None:
    before = {
        path: path.stat().st_ino for path in running.folder.rglob("config.env") if "config_peers" not in str(path)
    }
    containers = running.state["containers"].keys()
    running.done("start")
    assert {path: path.stat().st_ino for path in before} == before
    assert running.state["containers"].keys() == containers


def test_a_new_address_reaches_every_component(running: Host) -> None:
    running.done("start", "--public-address", "192.0.2.7")
    assert all("VPN_SERVER_ENDPOINT=192.0.2.7:51820" in running.config(name).read_text() for name in COMPONENTS)


def test_chosen_ids(host: Host) -> None:
    host.with_images()
    host.done("start", "--public-address", "h", "--node-id", "hospital7", "--researcher-id", "ana")
    assert {"node hospital7", "researcher ana"} <= host.state["peers"].keys()


def test_who_is_called_otherwise_stays_so(host: Host) -> None:
    host.with_images()
    host.done("start", "--public-address", "h", "--node-id", "hospital7")
    host.done("start")
    assert {"node hospital7", "node node1"} & host.state["peers"].keys() == {"node hospital7"}


def test_an_invitation_is_used_and_not_overwritten(host: Host) -> None:
    host.with_images()
    host.done("start", "vpnserver", "--public-address", "h")
    text = "export VPN_SERVER_ENDPOINT=h:51820\nexport VPN_INVITATION_KEY=x\nexport FEDBIOMED_NODEID=hospital7\n"
    host.config("node").write_text(text)
    said = host.done("start", "node", "--wait", "0")
    assert "node: joins by its invitation\n" in said
    assert host.config("node").read_text() == text
    assert host.state["peers"] == {}


def test_compose_2_goes_before_compose_1(host: Host) -> None:
    host.set(compose2=True)
    host.with_images("vpnserver")
    host.done("start", "vpnserver", "--public-address", "h")
    assert host.calls("compose", *UP) == [["compose", *UP, "vpnserver"]]


def test_names_of_another_instance(host: Host) -> None:
    host.with_images("vpnserver")
    host.done("start", "vpnserver", "--public-address", "h", environ={"FBM_CONTAINER_INSTANCE_ID": "-two"})
    assert list(host.state["containers"]) == ["fedbiomed-vpn-vpnserver-two"]


def test_without_an_image(host: Host) -> None:
    host.with_images("vpnserver", "mqtt")
    line = host.refused("start", "vpnserver", "node", "restful")
    assert "no image for restful, node; run `fedbiomed_vpn build restful node`" in line
    assert host.calls("up") == []


def test_an_unknown_component(host: Host) -> None:
    assert "'frontend' is no component of this deployment; choose from: vpnserver, mqtt" in host.refused(
        "start", "frontend"
    )


def test_a_hub_that_does_not_become_healthy(host: Host) -> None:
    host.with_images()
    host.set(hub_healthy=False)
    line = host.refused("start", "--public-address", "h", "--wait", "0")
    assert "vpnserver is not healthy after 0 s: the daemon does not answer" in line
    assert host.calls(*UP, "mqtt") == []


@pytest.mark.parametrize("name", ["vpnserver", "mqtt", "researcher"])
def test_a_container_that_ends_at_its_start(host: Host, name: str) -> None:
    host.with_images()
    host.set(ends_at_start=name)
    line = host.refused("start", "--public-address", "h")
    assert f'{name} ended at its start with status 3; it said last: "error: /dev/net/tun is missing"' in line
    assert f"`fedbiomed_vpn logs {name}`" in line


def test_an_engine_without_addresses_for_another_network(host: Host) -> None:
    host.with_images()
    host.set(compose2=False)
    said = "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network"
    host.program("docker-compose", f"echo 'Creating network \"x_node\"' >&2; echo '{said}' >&2; exit 1")
    line = host.refused("start", "vpnserver", "--public-address", "h")
    assert "no addresses left for networks; remove unused ones (`docker network ls`)" in line


def test_a_component_that_the_hub_does_not_answer(host: Host) -> None:
    host.with_images()
    host.set(answers=False)
    line = host.refused("start", "vpnserver", "mqtt", "--public-address", "h", "--wait", "0")
    assert "mqtt does not reach the hub: no answer from 10.220.0.1 in 0 s; it says: the hub does not answer" in line


def test_an_application_that_does_not_become_healthy(running: Host) -> None:
    running.container("restful", health="unhealthy", said="unhealthy: the application does not answer; look at its log")
    line = running.refused("start", "--wait", "0")
    assert "restful is not healthy after 0 s: the application does not answer" in line
    assert 'it said last: "info: restful starts"' in line


def test_an_id_that_the_hub_refuses(host: Host) -> None:
    host.with_images()
    line = host.refused("start", "--public-address", "h", "--node-id", "../x")
    assert "the hub refuses node: '../x' is no id; use letters and digits" in line


def test_a_link_in_the_place_of_a_configuration(host: Host, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine\n")
    host.with_images()
    host.config("node").symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link; put the file itself there" in host.refused("start", "--public-address", "h")
    assert (tmp_path / "elsewhere").read_text() == "mine\n"


class TestFilesOfAnotherAccount:
    """The containers' account is not always that of who runs the tool: what it may not read, the containers show."""

    def through(self) -> list[str]:
        # Root may read everything until it has given that up.
        if os.geteuid() != 0:
            return []
        return [
            shutil.which("setpriv") or "setpriv",
            "--bounding-set=-dac_override,-dac_read_search",
            "--inh-caps=-all",
        ]

    def close(self, host: Host) -> None:
        host.set(closed=True)
        for name in COMPONENTS:
            host.config(name).chmod(0)

    def test_a_start_that_changes_nothing(self, running: Host) -> None:
        self.close(running)
        before = {name: running.config(name).stat().st_ino for name in COMPONENTS}
        assert "node: 10.221.0.2, joined, healthy" in running.done("start", through=self.through())
        assert {name: running.config(name).stat().st_ino for name in COMPONENTS} == before

    def test_status(self, running: Host) -> None:
        self.close(running)
        seen = json.loads(running.done("status", "--json", through=self.through()))["components"]
        assert [component["address"] for component in seen] == [
            "10.220.0.1",
            "10.220.0.2",
            "10.220.0.3",
            "10.221.0.2",
            "10.222.0.2",
        ]
        assert all(component["handshake_age"] is not None for component in seen[1:])

    def test_a_component_that_does_not_run_cannot_show_it(self, running: Host) -> None:
        running.done("stop", "node")
        self.close(running)
        line = running.run("start", "node", through=self.through()).err
        assert f"cannot read {running.config('node')}: Permission denied; run this as the owner of that path" in line


class TestHubElsewhere:
    """A hospital's machine: the node, and a config.env that somebody sent."""

    @pytest.fixture
    def hospital(self, host: Host) -> Host:
        host.with_images("node")
        (host.folder / "docker-compose.yml").write_text((host.folder / "docker-compose_run_node.yml").read_text())
        host.config("node").write_text(
            "export VPN_IP=10.221.0.2\nexport VPN_SERVER_ENDPOINT=hub:51820\n"
            f"export VPN_SERVER_PSK={SECRET}\nexport FEDBIOMED_NODEID=hospital7\n"
        )
        return host

    def test_it_says_what_has_to_be_done_on_the_hub(self, hospital: Host) -> None:
        said = hospital.done("start", "--wait", "0")
        key = key_of("node")
        assert f"its public key is {key}" in said
        assert f"  python ./vpn/bin/configure_peer.py add node hospital7 {key}\n" in said
        assert "has not joined yet; it does so by itself once it is let in (`fedbiomed_vpn status`)" in said

    def test_once_let_in_it_joins(self, hospital: Host) -> None:
        hospital.set(peers={"node hospital7": {"public_key": key_of("node")}})
        said = hospital.done("start", "node")
        assert said == "node: 10.221.0.2, joined, healthy\n"

    @pytest.mark.parametrize("text", ["\n", None, "# nothing\n"])
    def test_without_a_configuration(self, hospital: Host, text: str | None) -> None:
        hospital.config("node").unlink() if text is None else hospital.config("node").write_text(text)
        line = hospital.refused("start")
        assert "node/run_mounts/config/config.env is not filled; put the file there that" in line
        assert hospital.calls("up") == []

    def test_options_of_the_hub(self, hospital: Host) -> None:
        assert "are the hub's" in hospital.refused("start", "--port", "51999")

    def test_the_hub_is_no_component_there(self, hospital: Host) -> None:
        assert "choose from: node" in hospital.refused("start", "vpnserver")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_start_is_one_line_and_leaves_no_program(host: Host, number: signal.Signals) -> None:
    host.with_images()
    host.set(hub_healthy="hangs")
    process = subprocess.Popen(
        host.command("start", "--public-address", "h"),
        cwd=host.folder,
        env=host.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not host.calls("exec", "fedbiomed-vpn-vpnserver", "vpn_server"):
        assert process.poll() is None
        time.sleep(0.02)
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (1, "fedbiomed_vpn: interrupted; run it again to go on\n")
    assert children
    assert not any(os.path.exists(f"/proc/{child}") for child in children)
