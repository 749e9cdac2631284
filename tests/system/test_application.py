"""The application that a component runs: its environment, its user, its end, and its children."""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.consortium import kill, script
from lab.network import wait_until

if TYPE_CHECKING:
    from lab.consortium import Component, Consortium

pytestmark = pytest.mark.system

PID_1 = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
"""As in a container, the component's daemon is the first process."""


@pytest.fixture(params=[(), PID_1], ids=["a process", "PID 1"])
def prefix(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """How the component is started."""
    found: tuple[str, ...] = request.param
    return found


@pytest.fixture
def node(consortium: Consortium) -> Component:
    """A node that is enrolled but not started."""
    component = consortium.component("node1")
    component.enrol(consortium.hub, "node", "node1")
    return component


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def daemon_process(component: Component, prefix: tuple[str, ...]) -> int:
    """vpn_client's process id as seen from outside."""
    assert component.process is not None
    return children(component.process.pid)[0] if prefix else component.process.pid


def test_it_starts_when_joined_with_the_variables_of_its_config_but_without_the_secret(node: Component) -> None:
    process = node.start("sh", "-c", "ping -c 1 -W 5 10.220.0.1 && env | sed s/^/got:/")
    assert process.wait(60) == 0
    log = node.log.read_text()
    got = dict(re.findall(r"^got:(\w+)=(.*)$", log, re.MULTILINE))
    assert got["MQTT_BROKER"] == "10.220.0.2"
    assert got["MQTT_BROKER_PORT"] == "1883"
    assert got["UPLOADS_URL"] == "http://10.220.0.3:8000/upload/"
    assert got["FEDBIOMED_NET_IP"] == "10.220.0.1"
    assert got["FEDBIOMED_NODEID"] == "node1"
    assert got["VPN_IP"] == "10.221.0.2"
    assert "VPN_SERVER_PSK" not in got
    secret = re.findall(r"VPN_SERVER_PSK=(\S+)", (node.folder / "config.env").read_text())[0].strip("'")
    assert secret not in log
    assert log.index("joined: the hub answers") < log.index("started the application")


def test_it_waits_until_the_hub_answers(consortium: Consortium) -> None:
    node = consortium.component("node1")
    node.receive_config(consortium.hub, "node", "node1")
    marker = node.folder.with_name("marker")
    node.start("touch", str(marker))
    wait_until(lambda: node.daemon_pid() != 0, 20, "wg0 is there")
    # Nobody has added its key: nobody answers.
    assert not node.ping(deadline=2)
    assert not marker.exists()
    consortium.hub.configure("add", "node", "node1", node.public_key())
    wait_until(marker.exists, 40, "the application runs")


def test_it_runs_as_the_containers_user_without_capabilities_or_groups(consortium: Consortium) -> None:
    node = consortium.component("node1")
    node.host.environ.update(CONTAINER_UID="54321", CONTAINER_GID="54322")
    node.enrol(consortium.hub, "node", "node1")
    command = "id -u | sed s/^/uid:/; id -g | sed s/^/gid:/; id -G | sed s/^/groups:/; grep CapEff /proc/self/status"
    process = node.start("sh", "-c", command)
    assert process.wait(60) == 0
    log = node.log.read_text()
    assert "uid:54321\n" in log
    assert "gid:54322\n" in log
    assert "groups:54322\n" in log
    assert "CapEff:\t0000000000000000\n" in log
    assert {path.stat().st_uid for path in (node.folder / "wireguard").iterdir()} == {54321}


def test_it_runs_as_a_user_by_name(node: Component) -> None:
    process = node.start("sh", "-c", "id -un | sed s/^/name:/; echo home:$HOME", environ={"CONTAINER_USER": "nobody"})
    assert process.wait(60) == 0
    assert "name:nobody\n" in node.log.read_text()
    assert "home:/nonexistent\n" in node.log.read_text()


@pytest.mark.parametrize(("command", "status"), [("exit 7", 7), ("kill -USR1 $$", 128 + signal.SIGUSR1)])
def test_its_exit_status_is_the_components(node: Component, prefix: tuple[str, ...], command: str, status: int) -> None:
    assert node.start("sh", "-c", command, prefix=prefix).wait(60) == status


def test_a_command_that_does_not_exist_is_named(node: Component) -> None:
    assert node.start("/nonexistent/application").wait(60) == 1
    assert "cannot run /nonexistent/application" in node.log.read_text()


def test_sigterm_reaches_it_and_its_own_end_decides_the_status(node: Component, prefix: tuple[str, ...]) -> None:
    marker = node.folder.with_name("marker")
    command = f"trap 'echo said goodbye; exit 3' TERM; touch {marker}; while :; do sleep 0.1; done"
    process = node.start("sh", "-c", command, prefix=prefix)
    wait_until(marker.exists, 40, "the application runs")
    kill(daemon_process(node, prefix), signal.SIGTERM)
    assert process.wait(20) == 3
    assert "said goodbye" in node.log.read_text()


def test_other_signals_reach_it_too(node: Component) -> None:
    marker = node.folder.with_name("marker")
    command = f"trap 'echo reading again' HUP; touch {marker}; while :; do sleep 0.1; done"
    process = node.start("sh", "-c", command)
    wait_until(marker.exists, 40, "the application runs")
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: "reading again" in node.log.read_text(), 20, "the application has the signal")
    assert process.poll() is None


def test_one_that_ignores_sigterm_is_killed_in_seconds_with_all_that_it_started(
    node: Component, prefix: tuple[str, ...]
) -> None:
    marker = node.folder.with_name("marker")
    command = f"trap '' TERM; sleep 1000 & touch {marker}; while :; do sleep 0.1; done"
    process = node.start("sh", "-c", command, prefix=prefix)
    wait_until(marker.exists, 40, "the application runs")
    started = time.monotonic()
    kill(daemon_process(node, prefix), signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGKILL
    # Docker kills after 10 s: well before that.
    assert time.monotonic() - started < 8
    wait_until(lambda: not [pid for pid in node.host.pids() if pid != node.host.pid], 10, "nothing is left")


def test_as_pid_1_the_component_reaps_what_others_left(node: Component) -> None:
    marker = node.folder.with_name("marker")
    command = f"for i in 1 2 3; do (exec sleep 0.2 &); done; sleep 0.5; touch {marker}; sleep 1000"
    node.start("sh", "-c", command, prefix=PID_1)
    wait_until(marker.exists, 40, "the orphans have ended")
    init = daemon_process(node, PID_1)

    def zombies() -> list[int]:
        return [pid for pid in children(init) if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()]

    wait_until(lambda: not zombies(), 10, "they are reaped")
    assert len(children(init)) == 2  # the application and boringtun
    assert node.ping(deadline=5)


def test_as_pid_1_the_component_still_replaces_its_daemon(node: Component) -> None:
    node.start("sleep", "1000", prefix=PID_1)
    node.wait_joined()
    node.host.run(["ip", "link", "del", "wg0"])
    wait_until(lambda: "replacing it" in node.log.read_text(), 20, "it is noticed")
    node.wait_joined(40)


def test_it_is_started_anew_when_its_settings_change(node: Component) -> None:
    command = "echo started with $NOTE; exec sleep 1000"
    process = node.start("sh", "-c", command)
    wait_until(lambda: "started with\n" in node.log.read_text(), 40, "the application runs")
    with (node.folder / "config.env").open("a") as file:
        file.write("export NOTE=changed\n")
    wait_until(lambda: "started with changed\n" in node.log.read_text(), 40, "it runs with the new settings")
    assert process.poll() is None
    node.wait_joined()
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGTERM


def test_one_that_does_not_end_for_its_new_settings_is_killed(node: Component) -> None:
    process = node.start("sh", "-c", "trap '' TERM; echo started with $NOTE; while :; do sleep 0.1; done")
    wait_until(lambda: "started with\n" in node.log.read_text(), 40, "the application runs")
    with (node.folder / "config.env").open("a") as file:
        file.write("export NOTE=changed\n")
    wait_until(lambda: "started with changed\n" in node.log.read_text(), 40, "it runs with the new settings")
    assert process.poll() is None


def test_health_asks_the_application_too(node: Component) -> None:
    node.start("sleep", "1000")
    node.wait_joined()
    health = [*script("vpn_client"), "health", "--"]
    assert node.host.run([*health, "sh", "-c", '[ "$MQTT_BROKER" = 10.220.0.2 ]']).stdout == "healthy\n"
    for check, reason in (
        (["sh", "-c", "echo it sleeps; echo more; exit 1"], "it sleeps"),
        (["false"], "the application does not work; look at its log"),
        (["sleep", "30"], "the application did not answer within 4 s; look at its log"),
        (["/nonexistent"], "cannot check the application with /nonexistent: "),
    ):
        done = node.host.run([*health, *check], check=False)
        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout.startswith(f"unhealthy: {reason}")
