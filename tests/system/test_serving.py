"""Metrics and the page of a hub that runs, with components that have joined."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from lab.consortium import Consortium, kill, script
from lab.network import wait_until
from tests.serving.exposed import Exposed, exposed
from tests.system.traffic import reaches

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.consortium import Hub

pytestmark = pytest.mark.system

METRICS, PAGE = "127.0.0.1:9586", "127.0.0.1:8080"
FETCH = """
import http.cookiejar, json, sys, urllib.error, urllib.request
opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
try:
    with opener.open(sys.argv[1], timeout=20) as answer:
        print(json.dumps([answer.status, answer.read().decode()]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, error.read().decode()]))
except OSError:
    print(json.dumps([0, ""]))
"""


@pytest.fixture
def consortium(tmp_path: Path, wireguard: str) -> Iterator[Consortium]:
    """One whose hub serves both, for itself."""
    served = {"VPN_METRICS": METRICS, "VPN_METRICS_PER_PEER": "true", "VPN_PAGE": PAGE}
    with Consortium(tmp_path, wireguard, **served) as made:
        made.hub.start()
        yield made


def fetch(hub: Hub, url: str) -> tuple[int, str]:
    """Status and body, as somebody on the hub's machine gets them; 0 where nothing answers."""
    done = hub.host.run([sys.executable, "-c", FETCH, url])
    status, body = json.loads(done.stdout)
    return int(status), str(body)


def scrape(hub: Hub) -> Exposed:
    """The metrics; none while nothing answers."""
    return exposed(fetch(hub, f"http://{METRICS}/metrics")[1])


def counted(hub: Hub, name: str, *labels: str) -> float:
    return scrape(hub).get(name, {}).get(labels, 0.0)


def test_the_metrics_tell_what_happens(consortium: Consortium) -> None:
    hub = consortium.hub
    node = consortium.joined("node", "node1")
    hub.configure("genconf", "node", "node2")
    wait_until(lambda: counted(hub, "peers", "node", "active") == 1, 20, "node1 is active in the metrics")
    found = scrape(hub)
    assert found["peers"]["node", "registered"] == 1
    assert found["hub_healthy"][()] == 1
    assert found["received_bytes_total"]["node",] > 0
    assert found["peer_active"] == {("node", "node1"): 1}
    assert found["tunnel_replaced_total"][()] == 0

    assert not reaches(node.host, "10.220.0.1", 22)
    wait_until(lambda: counted(hub, "denied_packets_total", "node", "hub") > 0, 20, "what was denied is told")

    hub.host.run(["nft", "flush", "table", "inet", "fedbiomed_vpn"])
    wait_until(lambda: counted(hub, "firewall_repaired_total") == 1, 20, "the firewall's repair is counted")
    hub.host.run(["wg", "set", "wg0", "peer", node.public_key(), "remove"])
    wait_until(lambda: counted(hub, "drift_repaired_total") == 1, 20, "the repair of wg0 is counted")
    received = counted(hub, "received_bytes_total", "node")
    kill(hub.daemon_pid())
    wait_until(lambda: counted(hub, "tunnel_replaced_total") == 1, 20, "the WireGuard daemon's death is counted")
    node.wait_joined()
    wait_until(lambda: counted(hub, "hub_healthy") == 1, 20, "the hub is healthy again")
    assert counted(hub, "received_bytes_total", "node") >= received

    hub.configure("backup", "--plain", str(hub.folder.with_name("backup")))
    wait_until(lambda: counted(hub, "last_backup_timestamp_seconds") > 0, 20, "the backup is told")
    assert counted(hub, "changes_since_backup") == 0


def test_the_page_shows_who_is_there_to_whom_has_the_link(consortium: Consortium) -> None:
    hub = consortium.hub
    consortium.joined("node", "node1")
    link = hub.host.run([*script("vpn_server"), "page"]).stdout.strip()
    assert link.startswith(f"http://{PAGE}/?token=")

    def shown() -> str:
        status, body = fetch(hub, link)
        return body if status == 200 else ""

    wait_until(lambda: "1 of 1 components are active" in shown(), 20, "node1 is active on the page")
    assert "The hub is healthy." in shown()
    assert "node1" in shown()
    status, body = fetch(hub, f"http://{PAGE}/")
    assert (status, "node1" in body) == (401, False)
    token = link.partition("token=")[2]
    status, body = fetch(hub, f"http://{PAGE}/doctor?token={token}")
    assert (status, "need to be put right" in body or "needs to be put right" in body) == (200, False), body
    assert "firewall" in body
    assert token not in hub.log.read_text()


def test_only_the_addresses_that_were_named_answer(consortium: Consortium) -> None:
    hub = consortium.hub
    wait_until(lambda: fetch(hub, f"http://{PAGE}/")[0] == 401, 20, "the page answers")
    for port in (9586, 8080):
        assert fetch(hub, f"http://{hub.address}:{port}/metrics")[0] == 0
        assert fetch(hub, f"http://10.220.0.1:{port}/metrics")[0] == 0


def test_what_is_served_ends_with_the_hub(consortium: Consortium) -> None:
    hub = consortium.hub
    wait_until(lambda: fetch(hub, f"http://{METRICS}/metrics")[0] == 200, 20, "the metrics are there")
    assert (hub.folder / "wireguard" / "counters").exists()
    assert hub.stop() == 0
    assert fetch(hub, f"http://{METRICS}/metrics")[0] == 0
    assert not (hub.folder / "wireguard" / "counters").exists()


def test_a_port_that_is_taken_costs_nobody_the_tunnel(tmp_path: Path, wireguard: str) -> None:
    with Consortium(tmp_path, wireguard, VPN_METRICS=METRICS) as consortium:
        hub = consortium.hub
        taker = hub.host.start([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "9586"])
        wait_until(lambda: fetch(hub, f"http://{METRICS}/")[0] == 200, 20, "the port is taken")
        hub.start()
        consortium.joined("node", "node1")
        wait_until(lambda: "cannot listen on 127.0.0.1 port 9586" in hub.log.read_text(), 20, "the log says so")
        taker.kill()
        wait_until(lambda: "peers" in scrape(hub), 60, "the metrics come once the port is free")


def test_in_the_vpn_the_page_is_for_management_alone(tmp_path: Path, wireguard: str) -> None:
    with Consortium(tmp_path, wireguard, VPN_PAGE="10.220.0.1:8080") as consortium:
        hub = consortium.hub
        hub.start()
        monitor, node = consortium.joined("management", "monitor"), consortium.joined("node", "node1")
        wait_until(lambda: reaches(monitor.host, "10.220.0.1", 8080), 20, "the page answers")
        assert not reaches(node.host, "10.220.0.1", 8080)
        assert not reaches(monitor.host, "10.220.0.1", 9586)
        link = hub.host.run([*script("vpn_server"), "page"]).stdout.strip()
        done = monitor.host.run([sys.executable, "-c", FETCH, link])
        status, body = json.loads(done.stdout)
        assert (status, "monitor" in body) == (200, True)
        # Looking at it from elsewhere, under the address that the hub has there.
        assert fetch(hub, f"http://{hub.address}:8080/")[0] == 0
