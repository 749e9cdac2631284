"""The broker and the upload service, used from a node, through whatever is restarted or killed."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from lab.network import wait_until
from tests.containers.deployment import ADDRESSES, COMPONENTS, run

if TYPE_CHECKING:
    from tests.containers.deployment import Deployment

pytestmark = pytest.mark.containers

MQTT = """
import os, socket, sys

def text(value):
    data = value.encode()
    return len(data).to_bytes(2, "big") + data

def packet(kind, body):
    return bytes([kind, len(body)]) + body

what, topic, message = sys.argv[1:4]
with socket.create_connection((os.environ.get("MQTT_BROKER", "10.220.0.2"), 1883), timeout=10) as broker:
    stream = broker.makefile("rb")

    def receive():
        kind, length = stream.read(2)
        return kind, stream.read(length)

    broker.sendall(packet(0x10, text("MQTT") + bytes([4, 2, 0, 30]) + text(what + str(os.getpid()))))
    assert receive() == (0x20, bytes(2))
    if what == "publish":  # retained, and acknowledged
        broker.sendall(packet(0x33, text(topic) + bytes([0, 1]) + message.encode()))
        assert receive() == (0x40, bytes([0, 1]))
    else:
        broker.sendall(packet(0x82, bytes([0, 1]) + text(topic) + bytes([1])))
        assert receive()[0] == 0x90
        kind, body = receive()
        print(body[2 + len(topic) + (2 if kind & 6 else 0):].decode())
"""
UPLOAD = """
import json, os, sys, urllib.request
url = sys.argv[1]
data = sys.argv[2].encode()
head = b'--x\\r\\nContent-Disposition: form-data; name="file"; filename="model.pt"\\r\\n\\r\\n'
body = head + data + b"\\r\\n--x--\\r\\n"
request = urllib.request.Request(url, body, {"Content-Type": "multipart/form-data; boundary=x"})
with urllib.request.urlopen(request, timeout=20) as answer:
    print(json.dumps({"status": answer.status, **json.load(answer)}))
"""
GET = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())"
UPLOADS_URL = "http://10.220.0.3:8000/upload/"


def publish(deployment: Deployment, message: str) -> None:
    deployment.python("node", MQTT, "publish", "consortium/test", message)


def received(deployment: Deployment) -> str:
    return deployment.python("researcher", MQTT, "receive", "consortium/test", "").strip()


def all_answer(deployment: Deployment) -> None:
    for name in COMPONENTS:
        wait_until(lambda name=name: deployment.ping(name), 30, f"{name} answers", pause=0.1)


def test_a_message_goes_from_the_node_through_the_broker_to_the_researcher(deployment: Deployment) -> None:
    publish(deployment, "round 1")
    assert received(deployment) == "round 1"


def test_an_upload_of_the_node_is_fetched_by_the_researcher_and_listed_by_the_node_alone(
    deployment: Deployment,
) -> None:
    made = json.loads(deployment.python("node", UPLOAD, UPLOADS_URL, "weights"))
    assert made["status"] == 201
    assert made["file"].startswith(UPLOADS_URL.removesuffix("upload/"))
    assert {"url", "created_at"} <= made.keys()
    assert deployment.python("researcher", GET, made["file"]).strip() == "weights"
    assert made["file"] in deployment.python("node", GET, UPLOADS_URL)
    assert made["file"] not in deployment.python("researcher", GET, UPLOADS_URL)


def test_shells_have_the_environment_and_the_application_on_the_path(deployment: Deployment) -> None:
    command = ["docker", "container", "exec", "-u", str(deployment.uid), deployment.container("node"), "bash", "-c"]
    inside = 'echo "$MQTT_BROKER $MQTT_BROKER_PORT $UPLOADS_URL $FEDBIOMED_NODEID $(id -un) $HOME $VPN_SERVER_PSK"'
    said = run([*command, inside]).stdout.split()
    assert said == ["10.220.0.2", "1883", UPLOADS_URL, "node1", "hospital", "/home/hospital"]
    conda = 'eval "$(conda shell.bash hook)" && conda activate fedbiomed-node && command -v python'
    assert run([*command, conda]).stdout == "/opt/fedbiomed/bin/python\n"


def test_public_keys_are_shown_by_wg_and_by_vpn_client(deployment: Deployment) -> None:
    keys = {peer["id"]: peer["public_key"] for peer in json.loads(deployment.peer("list", "--json").stdout)}
    for name, (_, peer_id) in COMPONENTS.items():
        for command in (("wg", "show", "wg0", "public-key"), ("vpn_client", "public-key")):
            assert deployment.exec(name, *command).stdout == f"{keys[peer_id]}\n"
    hub = deployment.peer("public-key").stdout
    assert deployment.exec("vpnserver", "wg", "show", "wg0", "public-key").stdout == hub
    # The rest is wg's own.
    assert keys["mqtt"] in deployment.exec("vpnserver", "wg", "show", "wg0", "peers").stdout


@pytest.mark.parametrize("name", ["vpnserver", *COMPONENTS])
def test_a_restarted_container_is_back_by_itself_with_what_it_had(deployment: Deployment, name: str) -> None:
    publish(deployment, f"before {name}")
    deployment.compose("restart", name)
    all_answer(deployment)
    deployment.wait_healthy("vpnserver", *COMPONENTS)
    assert received(deployment) == f"before {name}"


def test_all_restarted_at_once_are_back(deployment: Deployment) -> None:
    publish(deployment, "before all")
    made = json.loads(deployment.python("node", UPLOAD, UPLOADS_URL, "before all"))
    deployment.compose("restart")
    all_answer(deployment)
    deployment.wait_healthy("vpnserver", *COMPONENTS)
    assert received(deployment) == "before all"
    assert deployment.python("researcher", GET, made["file"]).strip() == "before all"


def test_the_broker_s_messages_outlive_its_container(deployment: Deployment) -> None:
    publish(deployment, "kept")
    deployment.compose("rm", "-sf", "mqtt")
    deployment.up("mqtt")
    deployment.wait_healthy("mqtt")
    assert received(deployment) == "kept"


def test_a_killed_hub_is_started_by_the_engine_and_everybody_is_back(deployment: Deployment) -> None:
    before = deployment.inspect("vpnserver")
    os.kill(before["State"]["Pid"], signal.SIGKILL)
    wait_until(
        lambda: deployment.inspect("vpnserver")["State"]["StartedAt"] != before["State"]["StartedAt"], 20, "restart"
    )
    for name in COMPONENTS:
        wait_until(lambda name=name: deployment.ping(name), 20, f"{name} answers", pause=0.1)
    assert len(json.loads(deployment.peer("list", "--json").stdout)) == len(COMPONENTS)


def test_a_killed_wireguard_daemon_is_replaced(deployment: Deployment) -> None:
    for name in ("vpnserver", "node"):
        as_user = ["docker", "exec", "-u", str(deployment.uid), deployment.container(name)]
        run([*as_user, "sh", "-c", "kill -9 $(pgrep boringtun)"])
        wait_until(lambda: deployment.ping("node", ADDRESSES["mqtt"]), 20, "the node reaches the broker")


def test_orphans_are_reaped(deployment: Deployment) -> None:
    command = ["docker", "exec", deployment.container("node"), "sh", "-c", "(sleep 0.2 & sleep 0.2 &); exit 0"]
    run(command)
    listed = ["docker", "exec", deployment.container("node"), "ps", "-eo", "stat="]
    wait_until(lambda: "Z" not in run(listed).stdout, 10, "no zombie is left")


def test_a_component_stops_in_time_and_by_itself(deployment: Deployment) -> None:
    for name in ("mqtt", "vpnserver"):
        deployment.compose("stop", name)
        assert deployment.inspect(name)["State"]["ExitCode"] not in (137, 255), "it was killed by the engine"
        deployment.up(name)
    all_answer(deployment)
    deployment.wait_healthy("vpnserver", *COMPONENTS)
