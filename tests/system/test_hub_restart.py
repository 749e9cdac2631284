"""The hub is stopped, killed or started twice: its components are back, and nothing is lost."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.consortium import kill, script
from lab.network import wait_until
from tests.system.daemons import DAEMONS, WIREGUARDS
from tests.system.traffic import Flow, serve

if TYPE_CHECKING:
    from lab.consortium import Consortium, Hub

pytestmark = pytest.mark.system


@pytest.mark.kernel
@pytest.mark.parametrize("wireguard", WIREGUARDS)
def test_a_hub_that_is_stopped_and_started_finds_its_components_again(consortium: Consortium) -> None:
    hub = consortium.hub
    serve(consortium.joined("management", "mqtt"))
    node = consortium.joined("node", "node1", nat=True)
    flow = Flow(node)
    before = hub.peers()

    assert hub.stop() == 0
    assert not hub.host.run(["ip", "-brief", "link", "show", "type", "tun"]).stdout
    hub.start()

    after = hub.peers()
    assert {name: peer["endpoint"] for name, peer in after.items()} == {
        name: peer["endpoint"] for name, peer in before.items()
    }
    assert hub.process is not None
    node.wait_joined(40)
    flow.goes_on()


@pytest.mark.parametrize("wireguard", DAEMONS)
def test_a_hub_that_is_killed_takes_its_daemon_along_and_can_be_started_again(consortium: Consortium) -> None:
    hub, node = consortium.hub, consortium.joined("node", "node1")
    wait_until(lambda: hub.remembers(1), 40, "the hub has saved where its peer is")
    daemon = hub.daemon_pid()
    assert hub.process is not None
    kill(hub.process.pid)
    assert hub.process.wait(10) == -signal.SIGKILL
    wait_until(lambda: not Path(f"/proc/{daemon}").exists(), 10, "its daemon is gone")
    hub.start()
    node.wait_joined(40)


@pytest.mark.kernel
@pytest.mark.parametrize("wireguard", WIREGUARDS)
def test_a_component_that_is_stopped_and_started_has_the_same_key_and_is_back(consortium: Consortium) -> None:
    node = consortium.joined("node", "node1")
    key = node.public_key()
    assert node.stop() == 0
    assert not node.host.run(["ip", "-brief", "link", "show", "type", "tun"]).stdout
    node.start()
    node.wait_joined(40)
    assert node.public_key() == key


def test_a_component_that_is_killed_takes_its_daemon_along_and_can_be_started_again(consortium: Consortium) -> None:
    node = consortium.joined("node", "node1")
    daemon = node.daemon_pid()
    assert node.process is not None
    kill(node.process.pid)
    wait_until(lambda: not Path(f"/proc/{daemon}").exists(), 10, "its daemon is gone")
    node.process.wait(10)
    node.start()
    node.wait_joined(40)


@pytest.mark.kernel
def test_commands_while_the_hub_is_down_are_saved_and_applied_when_it_starts(consortium: Consortium) -> None:
    hub = consortium.hub
    removed, stays = consortium.joined("node", "node1"), consortium.joined("node", "node2")
    added = consortium.component("node3")
    assert hub.stop() == 0

    added.receive_config(hub, "node", "node3")
    outputs = [
        hub.configure("add", "node", "node3", added.public_key()).stdout,
        hub.configure("remove", "node", "node1").stdout,
    ]
    assert all("It is saved; the hub applies it when it starts" in output for output in outputs)
    added.start()
    hub.start()

    added.wait_joined(40)
    stays.wait_joined(40)
    assert not removed.ping(deadline=2)


def test_a_second_hub_on_the_same_directory_is_refused_and_the_first_is_unharmed(consortium: Consortium) -> None:
    hub, node = consortium.hub, consortium.joined("node", "node1")
    before = hub.daemon_pid()
    second = hub.host.run(script("vpn_server"), check=False)
    assert second.returncode == 1
    assert "another hub runs on" in second.stderr
    assert second.stderr.count("\n") == 1
    assert node.ping(deadline=5)
    assert hub.daemon_pid() == before
    assert hub.host.run([*script("vpn_server"), "health"]).stdout == "healthy\n"


def test_a_second_component_on_the_same_directory_is_refused_and_the_first_is_unharmed(
    consortium: Consortium,
) -> None:
    node = consortium.joined("node", "node1")
    second = node.host.run([*script("vpn_client"), "run"], check=False)
    assert second.returncode == 1
    assert "another component runs on" in second.stderr
    assert node.ping(deadline=5)


def occupy(hub: Hub, port: int, family: str) -> None:
    """Let something else listen on a UDP port of the hub's host."""
    occupant = (
        f"import socket, sys; s = socket.socket(socket.{family}, socket.SOCK_DGRAM); s.bind(('', {port}));"
        " sys.stdout.write('bound'); sys.stdout.flush(); sys.stdin = None; import signal; signal.pause()"
    )
    log = hub.folder.with_name("occupant.log")
    hub.host.start([*script("vpn_server")[:1], "-c", occupant], log=log)
    wait_until(lambda: log.read_text() == "bound", 10, "the port is taken")


@pytest.mark.parametrize("family", ["AF_INET", pytest.param("AF_INET6", marks=pytest.mark.kernel)])
def test_a_port_that_is_taken_is_named_in_one_line(idle: Consortium, family: str) -> None:
    occupy(idle.hub, 51820, family)
    refused = idle.hub.host.run(script("vpn_server"), check=False)
    assert refused.returncode == 1
    assert "UDP port 51820 is in use" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_hub_whose_daemon_is_not_installed_says_so_in_one_line(idle: Consortium) -> None:
    refused = idle.hub.host.run(script("vpn_server"), check=False, environ={"PATH": "/usr/sbin:/usr/bin"})
    assert refused.returncode == 1
    assert "boringtun is not installed" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_sighup_takes_new_settings_and_keeps_the_old_ones_where_the_new_are_invalid(consortium: Consortium) -> None:
    hub, node = consortium.hub, consortium.joined("node", "node1")
    assert hub.process is not None
    settings, handed_out = hub.folder / "config.env", hub.folder / "config_peers" / "node" / "node1" / "config.env"

    settings.write_text("export VPN_SERVER_PUBLIC_ADDR=vpn.example.org\n")
    hub.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "vpn.example.org:51820" in handed_out.read_text(), 20, "the tree has the new address")

    good = handed_out.read_text()
    settings.write_text("export VPN_SERVER_PUBLIC_ADDR=other.example.org\nexport VPN_SERVER_PORT=none\n")
    hub.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "the settings stay as they were" in hub.log.read_text(), 20, "the hub refuses")
    assert handed_out.read_text() == good
    assert "VPN_SERVER_PORT=none" in hub.log.read_text()
    assert node.ping(deadline=5)


@pytest.mark.kernel
@pytest.mark.parametrize("wireguard", ["auto"])
def test_a_hub_that_is_killed_and_started_goes_on_with_what_is_left_of_wg0(consortium: Consortium) -> None:
    """The kernel's outlives the hub, and holds the hub's port."""
    hub, node = consortium.hub, consortium.joined("node", "node1")
    wait_until(lambda: hub.remembers(1), 40, "the hub has saved where its peer is")
    assert hub.process is not None
    kill(hub.process.pid)
    hub.process.wait(10)
    hub.start()
    node.wait_joined(40)


@pytest.mark.kernel
def test_sighup_with_a_port_that_is_taken_changes_nothing(consortium: Consortium) -> None:
    hub, node = consortium.hub, consortium.joined("node", "node1")
    occupy(hub, 51999, "AF_INET6")
    with (hub.folder / "config.env").open("a") as settings:
        settings.write("export VPN_SERVER_PORT=51999\n")
    assert hub.process is not None
    hub.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "UDP port 51999 is in use" in hub.log.read_text(), 20, "the hub refuses")
    assert "the settings stay as they were" in hub.log.read_text()
    assert "listening port: 51820" in hub.host.run(["wg", "show", "wg0"]).stdout
    assert node.ping(deadline=5)


@pytest.mark.kernel
def test_sighup_moves_the_hub_to_another_port(consortium: Consortium) -> None:
    hub, node = consortium.hub, consortium.joined("node", "node1")
    assert hub.process is not None
    with (hub.folder / "config.env").open("a") as settings:
        settings.write("export VPN_SERVER_PORT=51999\n")
    hub.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "listening port: 51999" in hub.host.run(["wg", "show", "wg0"]).stdout, 20, "the port is new")
    handed_out = hub.folder / "config_peers" / "node" / "node1" / "config.env"
    wait_until(lambda: ":51999" in handed_out.read_text(), 20, "the tree has the new port")
    node.receive_config(hub, "node", "node1")
    node.wait_joined(40)


def test_a_hub_starts_where_python_loads_its_modules_slowly(idle: Consortium, tmp_path: Path) -> None:
    # The hub loads pyroute2 in a thread. As slow as this, that is not done when the hub needs it; and two
    # threads in the middle of one package's import can lock each other out, which Python ends with an error.
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        "import sys, threading, time\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'pyroute2.netlink' and threading.current_thread() is not threading.main_thread():\n"
        "            time.sleep(1)\n"
        "            frame = sys._current_frames()[threading.main_thread().ident]\n"
        "            while frame is not None:\n"
        "                if 'importlib' in frame.f_code.co_filename:\n"
        "                    print('two threads import', file=sys.stderr)\n"
        "                    break\n"
        "                frame = frame.f_back\n"
        "            print('loaded slowly', file=sys.stderr)\n"
        "sys.meta_path.insert(0, Slow())\n"
    )
    idle.hub.host.environ["PYTHONPATH"] = str(hook)
    idle.hub.start()
    log = idle.hub.log.read_text()
    assert "loaded slowly" in log
    assert "two threads import" not in log


def test_a_copy_of_the_registry_that_is_put_back_while_the_hub_runs_counts_from_then_on(consortium: Consortium) -> None:
    """The hub must not go on by a file that nobody else sees: it would let removed peers in again."""
    hub, node = consortium.hub, consortium.joined("node", "node1")
    consortium.joined("node", "node2")
    folder = hub.folder / "ip_assign"
    hub.stop()
    hub.start()
    hub.host.run(["cp", str(folder / "registry.db"), str(folder / "copy.db")])
    hub.host.run(["mv", str(folder / "copy.db"), str(folder / "registry.db")])
    wait_until(lambda: "another registry was put" in hub.log.read_text(), 20, "the hub notices")
    node.wait_joined(40)
    hub.configure("remove", "node", "node1")
    # Longer than several looks of the hub: none of them may bring it back.
    assert not node.ping(deadline=3)
    assert not hub.peers()["node1"]["public_key"]
    assert len(hub.host.run(["wg", "show", "wg0", "peers"]).stdout.split()) == 1
