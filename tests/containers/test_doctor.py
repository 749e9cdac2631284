"""The doctor, in real containers and on the host of a real engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.containers.deployment import Deployment

pytestmark = pytest.mark.containers


def findings(deployment: Deployment) -> dict[tuple[str, str], dict[str, Any]]:
    found = json.loads(deployment.tool("doctor", "--json", check=False).stdout)
    return {(item.get("component", ""), item["check"]): item for item in found}


def test_all_is_well_where_all_is_well(deployment: Deployment) -> None:
    done = deployment.tool("doctor", check=False)
    assert "FAIL" not in done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    found = findings(deployment)
    assert {component for component, _ in found} == {"", "vpnserver", "mqtt", "restful", "node", "researcher"}
    assert {item["message"] for item in found.values() if item["state"] == "failed"} == set()
    assert found["node", "broker"]["state"] == found["node", "handshake"]["state"] == "ok"


def test_a_broker_that_is_stopped_is_told_by_the_node_and_the_host(deployment: Deployment) -> None:
    deployment.compose("stop", "-t", "3", "mqtt")
    try:
        found = findings(deployment)
        assert found["node", "broker"]["state"] == "failed"
        assert "\n" not in found["node", "broker"]["message"]
        assert deployment.tool("doctor", check=False).returncode == 1
    finally:
        deployment.up("mqtt")
        deployment.wait_healthy("mqtt", "node", "researcher")
