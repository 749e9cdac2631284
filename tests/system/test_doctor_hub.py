"""``vpn_server doctor``: each finding, caused."""

from __future__ import annotations

import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from lab.consortium import kill
from lab.network import wait_until
from tests.fakes.raw_uapi import ask
from tests.registry.snapshot import snapshot
from tests.system.daemons import WIREGUARDS
from tests.system.doctoring import Answering, doctor, failures, uapi, wait_for
from vpn.lib.probes import machine

if TYPE_CHECKING:
    from lab.consortium import Consortium, Hub

pytestmark = pytest.mark.system


def frozen(hub: Hub) -> None:
    """Stop the hub's daemon, which would repair what a test breaks; its WireGuard goes on."""
    assert hub.process is not None
    kill(hub.process.pid, signal.SIGSTOP)


@pytest.mark.parametrize("wireguard", WIREGUARDS)
def test_all_is_well_and_nothing_is_changed(consortium: Consortium) -> None:
    hub = consortium.hub
    consortium.joined("node", "node1")
    hub.configure("backup", str(hub.folder.with_name("backup")), "--plain")
    hub.configure("genconf", "node", "node2")
    wait_until(lambda: hub.remembers(1), 40, "the hub has saved where its peer is")
    conf = hub.folder / "wireguard" / "wg0.conf"
    wait_until(lambda: conf.exists() and "[Peer]" in conf.read_text(), 40, "wg0.conf is written")
    before = snapshot(hub.folder)
    found = doctor(hub)
    assert snapshot(hub.folder) == before
    # The lab's addresses are private ones (RFC 2544).
    assert failures(found).keys() == {"address"}
    assert {check for check, said in found.items() if said.state == "skipped"} == set()
    assert found["reachable"].message == "1 of 1 components have a handshake younger than 180 s"
    assert found["peers"].message == "2 registered: 1 active; 1 without a key (node node2)"
    assert found["firewall"].message == "the hub's table is loaded as it was written"


def test_a_hub_that_has_ended(consortium: Consortium) -> None:
    hub = consortium.hub
    assert doctor(hub)["daemon"].state == "ok"
    hub.stop()
    found = doctor(hub)
    assert "the hub's daemon does not run; start it" in found["daemon"].message
    assert found["drift"].state == found["forwarding"].state == "skipped"
    assert found["port"].message == "UDP port 51820 is free"


def test_a_hub_that_was_killed_leaves_a_registry_that_can_be_read(consortium: Consortium) -> None:
    hub = consortium.hub
    hub.configure("genconf", "node", "node1")
    assert hub.process is not None
    kill(hub.process.pid)
    hub.process.wait()
    assert (hub.folder / "ip_assign" / "registry.db-wal").exists()
    before = snapshot(hub.folder)
    found = doctor(hub)
    assert snapshot(hub.folder) == before
    assert found["registry"].message.endswith("registry.db is whole, 1 components")
    assert found["audit"].message == "1 entries, the chain is whole"
    assert found["daemon"].state == "failed"


def test_a_hub_that_cannot_bring_wg0_up(idle: Consortium) -> None:
    hub = idle.hub
    programs = hub.folder.with_name("programs")
    programs.mkdir()
    program = programs / "boringtun-cli"
    program.symlink_to(hub.host.run(["which", "boringtun-cli"]).stdout.strip())
    hub.host.environ["PATH"] = f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"
    hub.start()
    program.unlink()
    kill(hub.daemon_pid())
    said = wait_for(hub, "daemon", "failed", "boringtun is not installed")
    assert "install it" in said.message
    assert doctor(hub)["program"].state == "warning"


def test_wg0_differs_from_the_registry_and_nobody_repairs_it(consortium: Consortium) -> None:
    hub, node = consortium.hub, consortium.joined("node", "node1")
    frozen(hub)
    hub.host.run(["wg", "set", "wg0", "peer", node.public_key(), "remove"])
    assert "wg0 differs from the registry: 1 missing; " in doctor(hub)["drift"].message
    hub.configure("add", "node", "node1", node.public_key())
    hub.host.run(["ip", "link", "set", "wg0", "down"])
    found = doctor(hub)
    assert found["wg0"].message.startswith("wg0 is down; ")
    assert found["drift"].state == "skipped"
    kill(hub.daemon_pid(), signal.SIGSTOP)
    assert "the WireGuard daemon of wg0 hangs; the hub replaces it" in doctor(hub)["wg0"].message


def test_wg0_has_another_key_and_nobody_listens(consortium: Consortium) -> None:
    hub = consortium.hub
    frozen(hub)
    hub.host.run(["wg", "set", "wg0", "private-key", "/dev/stdin"], input=f"{'A' * 42}8=\n")
    assert "wg0 has another key than the hub; restart the hub" in doctor(hub)["wg0"].message
    kill(hub.daemon_pid())
    said = wait_for(hub, "port", "failed").message
    assert "nobody listens on UDP port 51820, though the hub runs" in said
    assert "wg0 is not up, though the hub runs" in doctor(hub)["wg0"].message


@pytest.mark.parametrize("wireguard", ["wireguard-go"])
def test_components_that_are_silent_now(consortium: Consortium) -> None:
    """The lab has no days to wait, so a daemon that shows other times stands for them."""
    hub = consortium.hub
    consortium.joined("node", "node1")
    frozen(hub)
    device = uapi(hub.host)
    text = ask(device, "get=1")
    kill(hub.daemon_pid(), signal.SIGSTOP)
    device.unlink()
    shown = re.sub(r"(?<=last_handshake_time_sec=)\d+", lambda match: str(int(match[0]) - 100_000), text)
    with Answering(device, shown):
        found = doctor(hub)
    assert found["reachable"].state == "warning"
    assert "components have reached it before and none does now" in found["reachable"].message
    assert found["peers"].message == "1 registered: 0 active; 1 silent for more than a day (node node1)"


@pytest.mark.parametrize("wireguard", ["wireguard-go"])
def test_a_component_with_another_preshared_key(consortium: Consortium) -> None:
    node = consortium.component("node1")
    node.enrol(consortium.hub, "node", "node1")
    path = node.folder / "config.env"
    path.write_text(re.sub(r"PSK=\S+", "PSK=ptpONlXkNixtdAo/qKwzIF6LnDIsrXOOc/4Dmzvggq0=", path.read_text()))
    node.start()
    said = wait_for(consortium.hub, "peers", "warning").message
    assert said.startswith("node node1: packets arrive and no handshake completes, so its config.env is not the latest")


def test_nobody_serves_the_components(consortium: Consortium) -> None:
    hub = consortium.hub
    wait_for(hub, "control", "ok")
    frozen(hub)
    assert hub.process is not None
    serving = [pid for pid in hub.host.pids() if "serve" in machine.arguments(pid)]
    assert serving
    for pid in serving:
        kill(pid)
    said = wait_for(hub, "control", "failed").message
    assert "nobody answers at 10.220.0.1:51821 (TCP)" in said


def test_components_that_may_not_be_in_are_named(consortium: Consortium) -> None:
    hub, node = consortium.hub, consortium.joined("node", "node1")
    hub.configure("disable", "node", "node1")
    found = doctor(hub)
    assert found["drift"].state == "ok"
    assert found["peers"].message == "1 registered: 0 active; 1 disabled (node node1)"
    assert found["reachable"].state == "skipped"
    assert node.process is not None


def test_forwarding_is_off(consortium: Consortium) -> None:
    frozen(consortium.hub)
    consortium.hub.host.run(["sysctl", "-qw", "net.ipv4.conf.wg0.forwarding=0"])
    assert "wg0 forwards nothing" in doctor(consortium.hub)["forwarding"].message


def test_the_table_was_edited_or_removed(consortium: Consortium) -> None:
    hub = consortium.hub
    frozen(hub)
    table = ["inet", "fedbiomed_vpn"]
    hub.host.run(["nft", "insert", "rule", *table, "node_to_node", "accept"])
    said = doctor(hub)["firewall"]
    assert said.state == "failed"
    assert "the hub's table was edited (node_to_node)" in said.message
    hub.host.run(["nft", "flush", "chain", *table, "node_to_node"])
    assert "was edited (node_to_node)" in doctor(hub)["firewall"].message
    hub.host.run(["nft", "delete", "table", *table])
    assert "the hub's table is not loaded" in doctor(hub)["firewall"].message


def test_a_policy_of_its_own_is_no_edit_and_one_that_is_not_in_force_is_told(consortium: Consortium) -> None:
    hub = consortium.hub
    (hub.folder / "policy.toml").write_text(
        '[[allow]]\nfrom = "node"\nto = "mqtt"\ntcp = [1883, "8883-8884"]\nudp = [53]\n'
    )
    assert "policy.toml is not in force yet; `kill -HUP` the hub" in doctor(hub)["policy"].message
    assert hub.process is not None
    kill(hub.process.pid, signal.SIGHUP)
    wait_for(hub, "policy", "ok", "policy.toml, ")
    assert doctor(hub)["firewall"].state == "ok"


def test_the_port_is_shared(consortium: Consortium) -> None:
    hub = consortium.hub
    code = (
        "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        " s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('', 51820)); print('bound', flush=True);"
        " time.sleep(1000)"
    )
    log = hub.folder.with_name("other.log")
    other = hub.host.start([sys.executable, "-c", code], log=log)
    wait_until(lambda: "bound" in log.read_text(), 20, "the port is shared")
    said = doctor(hub)["port"]
    assert said.state == "failed"
    assert re.search(rf"UDP port 51820 is shared with python\S* \({other.pid}\), which gets some of the", said.message)


def test_no_component_gets_through(consortium: Consortium) -> None:
    hub = consortium.hub
    assert doctor(hub)["reachable"].message == "no component has been added yet, so none can prove it"
    node = consortium.component("node1")
    node.enrol(hub, "node", "node1")
    said = doctor(hub)
    assert said["reachable"].state == "warning"
    assert "let UDP port 51820 in through the firewall" in said["reachable"].message
    assert said["peers"].message == "1 registered: 0 active; 1 not joined since the hub was started (node node1)"


def test_the_disk_is_full_or_read_only(idle: Consortium) -> None:
    hub = idle.hub
    text = (hub.folder / "config.env").read_text()
    hub.host.run(["mount", "-t", "tmpfs", "-o", "size=64k", "vpnlab", str(hub.folder)])
    hub.host.run(["tee", str(hub.folder / "config.env")], input=text)
    assert "has only " in doctor(hub)["state"].message
    hub.host.run(["dd", "if=/dev/zero", f"of={hub.folder}/filler"], check=False)
    said = doctor(hub)["state"]
    assert said.state == "failed"
    assert "is full; free some space" in said.message
    hub.host.run(["umount", str(hub.folder)])
    hub.host.run(["mount", "--bind", str(hub.folder), str(hub.folder)])
    hub.host.run(["mount", "-o", "remount,bind,ro", str(hub.folder)])
    said = doctor(hub)["state"]
    assert said.state == "failed"
    assert "mount that file system writable" in said.message


def test_a_state_directory_that_is_another_user_s(idle: Consortium) -> None:
    hub = idle.hub
    hub.configure("genconf", "node", "node1")
    lock = hub.folder / "wireguard" / "daemon.lock"
    lock.touch()
    log = hub.folder.with_name("holder.log")
    user = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "--"]
    # What holds the lock is the hub to whoever looks.
    hub.host.start(["flock", "--no-fork", str(lock), *user, "sh", "-c", "echo held; exec sleep 1000"], log=log)
    wait_until(lambda: log.exists() and "held" in log.read_text(), 20, "the lock is held")
    said = doctor(hub)["state"]
    assert said.state == "failed"
    assert f"{hub.folder} belongs to user 0, and the hub runs as user 54321, who cannot write there" in said.message


def test_an_ordinary_user_is_told_what_may_not_be_seen(consortium: Consortium) -> None:
    hub = consortium.hub
    hub.folder.parent.chmod(0o711)
    found = doctor(hub, ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "--"])
    assert {check for check, said in found.items() if said.state == "failed"} == set()
    assert found["config"].state == "skipped"
    assert "user 54321 may not see it" in found["config"].message
