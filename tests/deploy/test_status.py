"""``status``, ``notebook``, and what is thin over compose."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.engine import PEERS

if TYPE_CHECKING:
    from tests.deploy.host import Host

KEYS = {
    "name",
    "container",
    "state",
    "health",
    "reason",
    "address",
    "handshake_age",
    "application",
    "ok",
}


def status(host: Host, *, code: int) -> dict[str, Any]:
    """What ``status --json`` says, by component; under ``""`` the whole."""
    outcome = host.run("status", "--json")
    assert (outcome.status, outcome.err) == (code, "")
    whole = json.loads(outcome.out)
    return {"": whole, **{component["name"]: component for component in whole["components"]}}


def test_all_is_well(running: Host) -> None:
    before = len(running.calls())
    seen = status(running, code=0)
    assert all(component.keys() == KEYS for component in seen[""]["components"])
    assert seen[""].keys() == {"folder", "ok", "components", "hub"}
    assert seen[""]["hub"] == {"registered": 4, "active": 4}
    assert seen["node"] == {
        "name": "node",
        "container": "fedbiomed-vpn-node",
        "state": "running",
        "health": "healthy",
        "reason": None,
        "address": "10.221.0.2",
        "handshake_age": seen["node"]["handshake_age"],
        "application": "up",
        "ok": True,
    }
    assert seen["node"]["handshake_age"] >= 0
    assert seen["vpnserver"]["address"] == "10.220.0.1"
    assert seen["vpnserver"]["handshake_age"] is None
    # One look at the containers and one at the hub, whatever there is.
    assert [call[:2] for call in running.calls()[before:]] == [
        ["container", "inspect"],
        ["exec", "fedbiomed-vpn-vpnserver"],
    ]


def test_nothing_is_started(host: Host) -> None:
    seen = status(host, code=1)
    assert {component["state"] for component in seen[""]["components"]} == {"missing"}
    assert seen[""]["hub"] is None
    assert "nothing is started; `fedbiomed_vpn start` starts all of it" in host.run("status").out


def test_a_part_of_the_consortium_is_well(host: Host) -> None:
    host.with_images("vpnserver", "mqtt")
    host.done("start", "vpnserver", "mqtt", "--public-address", "h")
    assert status(host, code=0)["node"]["state"] == "missing"


def test_an_application_that_is_down(running: Host) -> None:
    running.container("restful", health="unhealthy", said="unhealthy: the broker does not answer; look at its log")
    seen = status(running, code=1)["restful"]
    assert (seen["application"], seen["reason"]) == ("down", "the broker does not answer; look at its log")
    assert re.search(
        r"^restful +running, unhealthy .* down +the broker does not answer", running.run("status").out, re.M
    )


def test_a_container_that_ended(running: Host) -> None:
    running.container("mqtt", status="exited", exit_code=3, health="unhealthy", said="unhealthy: long ago")
    seen = status(running, code=1)["mqtt"]
    assert (seen["state"], seen["health"], seen["reason"], seen["application"]) == (
        "exited",
        None,
        "ended with status 3",
        None,
    )


def test_a_component_that_begins(running: Host) -> None:
    running.container("mqtt", looks=10)
    seen = status(running, code=1)["mqtt"]
    assert (seen["health"], seen["application"], seen["ok"]) == ("starting", None, False)


def test_without_the_hub_the_handshake_is_unknown(running: Host) -> None:
    running.container("vpnserver", status="exited")
    seen = status(running, code=1)
    assert (seen["node"]["address"], seen["node"]["handshake_age"], seen[""]["hub"]) == ("10.221.0.2", None, None)


def test_a_hub_that_does_not_answer(running: Host) -> None:
    running.set(hub_healthy=False)
    assert status(running, code=0)[""]["hub"] is None


def test_a_damaged_configuration_takes_only_the_address_away(running: Host) -> None:
    running.config("node").write_text("exportVPN_IP=10.221.0.2\n")
    seen = status(running, code=0)
    assert (seen["node"]["address"], seen["mqtt"]["address"]) == (None, "10.220.0.2")


def test_an_old_handshake(running: Host) -> None:
    state = running.state
    state["peers"]["node node1"]["latest_handshake"] = time.time() - 7300
    running.set(**state)
    assert re.search(r"^node .* 2 h ago ", running.done("status"), re.M)


def test_in_a_pipe_it_is_plain(running: Host) -> None:
    assert running.done("status").isascii()
    assert "\x1b" not in running.done("status")


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_on_a_terminal_it_has_marks_and_colour(running: Host, environ: dict[str, str], coloured: bool) -> None:
    running.container("mqtt", status="exited")
    outcome = running.on_terminal("status", environ={"PYTHONIOENCODING": "utf-8", **environ})
    assert outcome.status == 1
    assert ("\x1b[32m✓\x1b[0m  vpnserver" in outcome.out) == coloured
    assert ("\x1b[31m✗\x1b[0m  mqtt" in outcome.out) == coloured
    assert ("\x1b" in outcome.out) == coloured
    assert "✗" in outcome.out


def test_a_terminal_that_knows_only_ascii(running: Host) -> None:
    running.python_options = ["-S"]
    outcome = running.on_terminal("status", environ={"PYTHONIOENCODING": "ascii"})
    assert (outcome.status, outcome.out.isascii()) == (0, True)


class TestNotebook:
    """Where it is, and its password."""

    def test_its_token_is_in_its_address(self, running: Host) -> None:
        running.set(notebook={"token": "abc-DEF"})
        assert running.done("notebook") == "http://127.0.0.1:8888/?token=abc-DEF\n"

    def test_with_a_certificate_and_a_password(self, running: Host) -> None:
        running.set(notebook={"token": "abc", "password.hash": "x", "cert.pem": "x", "key.pem": "x"})
        running.container("researcher", ports={"8888/tcp": [{"HostIp": "0.0.0.0", "HostPort": "9999"}]})
        assert running.done("notebook") == "https://localhost:9999/\n"

    def test_before_there_is_one(self, running: Host) -> None:
        assert "the researcher has no notebook yet" in running.refused("notebook")

    @pytest.mark.parametrize("arguments", [[], ["--password"]])
    def test_the_researcher_does_not_run(self, running: Host, arguments: list[str]) -> None:
        running.done("stop", "researcher")
        line = running.refused("notebook", *arguments, stdin="a long password\n")
        assert "the researcher is not running; `fedbiomed_vpn start researcher` starts it" in line

    def test_a_password_goes_to_standard_input_and_nowhere_else(self, running: Host) -> None:
        said = running.done("notebook", "--password", stdin="correct horse battery\nand more\n")
        assert running.state["password"] == "correct horse battery\n"
        assert "horse" not in said + json.dumps(running.state["calls"])

    @pytest.mark.parametrize(
        ("typed", "line"),
        [("", "an empty password lets everybody in"), ("short\n", "a password has at least 12 characters")],
    )
    def test_a_password_that_is_refused(self, running: Host, typed: str, line: str) -> None:
        assert line in running.refused("notebook", "--password", stdin=typed)
        assert running.state["password"] is None

    @pytest.mark.parametrize(("again", "code"), [("correct horse battery", 0), ("another one it is", 1)])
    def test_on_a_terminal_it_is_asked_for_twice_and_not_shown(self, running: Host, again: str, code: int) -> None:
        answers = [("Password for the notebook: ", "correct horse battery"), ("The same once more: ", again)]
        outcome = running.on_terminal("notebook", "--password", answers=answers)
        assert outcome.status == code
        assert ("the two are not the same; nothing is changed" in outcome.out) == (code == 1)
        assert running.state["password"] == (None if code else "correct horse battery\n")
        assert "horse" not in outcome.out


class TestOverCompose:
    """``stop``, ``restart``, ``logs``."""

    def test_stop_and_start_again(self, running: Host) -> None:
        assert running.done("stop", "node", "mqtt") == "stopped: mqtt, node\n"
        assert status(running, code=1)["node"]["state"] == "exited"
        running.done("start", "node", "mqtt")
        assert status(running, code=0)["node"]["state"] == "running"

    def test_stop_everything_and_once_more_with_nothing_there(self, running: Host) -> None:
        running.done("stop")
        assert {container["status"] for container in running.state["containers"].values()} == {"exited"}
        running.set(containers={})
        assert running.done("stop") == "there is nothing to stop\n"

    def test_restart(self, running: Host) -> None:
        assert running.done("restart", "mqtt") == "restarted: mqtt\n"
        assert running.calls("restart") == [["restart", "mqtt"]]

    def test_logs(self, running: Host) -> None:
        assert running.done("logs", "mqtt") == "fedbiomed-vpn-mqtt | info: mqtt starts\n"
        assert running.done("logs").count(" starts\n") == 5

    @pytest.mark.parametrize("command", ["logs", "restart"])
    def test_what_is_not_there(self, host: Host, command: str) -> None:
        assert "mqtt: there is no container; `fedbiomed_vpn start mqtt` makes it" in host.refused(command, "mqtt")
        assert "nothing is started" in host.refused(command)


@pytest.mark.parametrize("command", [["status"], ["start"], ["stop"], ["logs"], ["clean", "1", "--yes"], ["build"]])
@pytest.mark.parametrize(
    ("daemon", "line"),
    [
        ("down", "the Docker daemon does not answer; start it (`systemctl start docker`), then try again"),
        ("forbidden", "this account may not use Docker; run this with sudo, or as root `usermod -aG docker USER`"),
    ],
)
def test_an_engine_that_is_not_to_be_used(host: Host, command: list[str], daemon: str, line: str) -> None:
    host.set(daemon=daemon)
    assert line in host.refused(*command)


def test_no_docker(host: Host) -> None:
    (host.bin / "docker").unlink()
    assert "docker is not installed; install it (Debian: `apt-get install docker.io" in host.refused("status")


def test_no_compose(running: Host) -> None:
    (running.bin / "docker-compose").unlink()
    assert "docker-compose is not installed; install it (Debian:" in running.refused("stop")


def test_the_hub_s_list_is_asked_for_word_for_word(running: Host) -> None:
    running.done("status")
    assert running.calls("exec", "fedbiomed-vpn-vpnserver")[-1][2:] == [*PEERS, "list", "--json"]
