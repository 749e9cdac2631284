"""The health checks of hub and component, in good and in bad states."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from lab.consortium import Component, Hub, kill, script
from lab.network import wait_until

if TYPE_CHECKING:
    from lab.consortium import Consortium

pytestmark = pytest.mark.system


def health(owner: Hub | Component) -> tuple[int, str]:
    """Exit status and what is said."""
    name = "vpn_server" if isinstance(owner, Hub) else "vpn_client"
    done = owner.host.run([*script(name), "health"], check=False)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    return done.returncode, done.stdout.strip()


def test_a_hub_is_healthy_while_it_runs_and_answers(idle: Consortium) -> None:
    hub = idle.hub
    status, said = health(hub)
    assert status == 1
    assert "not running" in said
    hub.start()
    assert health(hub) == (0, "healthy")

    assert hub.process is not None
    # The hub as well: else it has replaced its daemon before the check has waited long enough.
    kill(hub.process.pid, signal.SIGSTOP)
    kill(hub.daemon_pid(), signal.SIGSTOP)
    status, said = health(hub)
    assert status == 1
    assert "silent" in said
    kill(hub.process.pid, signal.SIGCONT)
    wait_until(lambda: health(hub) == (0, "healthy"), 30, "the hub has healed itself")

    assert hub.stop() == 0
    assert health(hub)[0] == 1


def test_a_hub_that_cannot_bring_wg0_up_again_is_unhealthy_says_why_and_heals(idle: Consortium) -> None:
    hub = idle.hub
    programs = hub.folder.with_name("programs")
    programs.mkdir()
    program = programs / "boringtun-cli"
    real = hub.host.run(["which", "boringtun-cli"]).stdout.strip()
    program.symlink_to(real)
    hub.host.environ["PATH"] = f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"
    hub.start()
    program.unlink()
    kill(hub.daemon_pid())
    wait_until(lambda: health(hub)[0] == 1, 20, "the hub is unhealthy")
    assert "boringtun is not installed" in health(hub)[1]
    program.symlink_to(real)
    wait_until(lambda: health(hub) == (0, "healthy"), 30, "the hub has healed itself")


def test_a_component_is_healthy_once_the_hub_has_answered(consortium: Consortium) -> None:
    node = consortium.component("node1")
    assert "config.env is not there" in health(node)[1]
    node.receive_config(consortium.hub, "node", "node1")
    status, said = health(node)
    assert status == 1
    assert "wg0 is not up" in said
    node.start()
    wait_until(lambda: "the hub does not answer" in health(node)[1], 20, "wg0 is up")
    assert health(node)[0] == 1
    consortium.hub.configure("add", "node", "node1", node.public_key())
    wait_until(lambda: health(node) == (0, "healthy"), 40, "the component has joined")

    assert node.process is not None
    kill(node.process.pid, signal.SIGSTOP)
    kill(node.daemon_pid(), signal.SIGSTOP)
    status, said = health(node)
    assert status == 1
    assert "silent" in said
