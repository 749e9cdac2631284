"""The metrics: what is exposed, in which formats, and what when something cannot be read."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from typing import TYPE_CHECKING

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families
from starlette.concurrency import run_in_threadpool

from lab.served import Served
from tests.hub.peers import node
from tests.serving.exposed import Exposed, exposed
from vpn.lib.hub import counters, status
from vpn.lib.hub.outcomes import Terms
from vpn.lib.hub.status import Status
from vpn.lib.serving import metrics, reading
from vpn.lib.serving.reading import Cached, Threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.hub.memory_device import MemoryDevice
    from vpn.lib.hub.service import Hub
    from vpn.lib.hub.settings import Settings


@pytest.fixture
def served(running: Hub, settings: Settings, environ: Mapping[str, str]) -> Iterator[Served]:
    with Served(metrics.application(settings, environ)) as server:
        yield server


def scrape(served: Served) -> Exposed:
    answer = served.ask("/metrics")
    assert answer.status == 200
    return exposed(answer.text)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every scrape reads, but in the test of the cache."""
    monkeypatch.setattr(reading, "KEPT", 0.0)
    monkeypatch.setattr(reading, "SHARE", 0.0)


def test_components_are_counted_by_type_and_state(served: Served) -> None:
    found = scrape(served)
    assert {labels: count for labels, count in found["peers"].items() if count} == {
        ("management", "active"): 1,
        ("node", "active"): 1,
        ("node", "added"): 1,
        ("node", "registered"): 1,
        ("researcher", "added"): 1,
    }
    assert len(found["peers"]) == 18, "those that are none are 0, not absent"


def test_ages_and_traffic_are_by_type(served: Served) -> None:
    found = scrape(served)
    ages = found["handshake_age_seconds"]
    assert ages["node", "max"] == pytest.approx(60, abs=30)
    assert ages["researcher", "median"] == pytest.approx(3600, abs=30)
    assert found["received_bytes_total"] == {("management",): 5000, ("node",): 3000, ("researcher",): 1}
    assert found["sent_bytes_total"] == {("management",): 700, ("node",): 5, ("researcher",): 2}


def test_a_component_that_goes_takes_no_traffic_away(served: Served, running: Hub) -> None:
    assert scrape(served)["received_bytes_total"]["node",] == 3000
    running.remove(node(3))
    assert scrape(served)["received_bytes_total"]["node",] == 3000


def test_components_have_names_only_where_that_is_asked_for(
    running: Hub, settings: Settings, environ: Mapping[str, str], served: Served
) -> None:
    assert not [name for name in scrape(served) if name.startswith("peer_")]
    with Served(metrics.application(settings._replace(metrics_per_peer=True), environ)) as other:
        found = scrape(other)
    assert found["peer_active"] == {
        ("management", "mqtt"): 1,
        ("node", "node2"): 0,
        ("node", "node3"): 1,
        ("researcher", "anna"): 0,
    }
    assert found["peer_received_bytes_total"]["node", "node3"] == 3000
    assert found["peer_sent_bytes_total"]["node", "node3"] == 5
    assert found["peer_latest_handshake_timestamp_seconds"]["node", "node2"] == 0
    assert found["peer_latest_handshake_timestamp_seconds"]["node", "node3"] == pytest.approx(time.time() - 60, abs=30)


def test_what_was_denied_is_by_pair_of_roles(served: Served) -> None:
    found = scrape(served)
    assert found["denied_packets_total"] == {("node", "node"): 7, ("spoofed", "any"): 1, ("node", "mqtt"): 0}
    assert found["denied_bytes_total"]["node", "node"] == 420


def test_without_nft_the_rest_is_told(running: Hub, settings: Settings) -> None:
    with Served(metrics.application(settings, {"PATH": "/nowhere"})) as served:
        found = scrape(served)
    assert "denied_packets_total" not in found
    assert found["hub_healthy"][()] == 1


def test_invitations_are_counted(served: Served, running: Hub) -> None:
    assert scrape(served)["invitations_open"] == {(): 0}
    # The hub's clock in these tests stands still, long ago.
    running.genconf(node(7), Terms(valid=time.time()))
    assert scrape(served)["invitations_open"] == {(): 1}


def test_addresses_left_follow_the_components(served: Served, running: Hub) -> None:
    before = scrape(served)
    assert before["addresses_capacity"]["node",] - before["addresses_left"]["node",] == 3
    # mqtt has a place of its own, which nobody else could get.
    assert before["addresses_capacity"]["management",] == before["addresses_left"]["management",]
    running.removeconf(node(1))
    assert scrape(served)["addresses_left"]["node",] == before["addresses_left"]["node",] + 1


def test_addresses_in_quarantine_are_not_left(running: Hub, settings: Settings, environ: Mapping[str, str]) -> None:
    # The hub's clock in these tests stands still, long ago.
    quarantine = time.time()
    with Served(metrics.application(settings._replace(quarantine=quarantine), environ)) as served:
        before = scrape(served)
        running.removeconf(node(1))
        after = scrape(served)
    assert after["addresses_left"]["node",] == before["addresses_left"]["node",]
    assert after["addresses_quarantined"] == {("management",): 0, ("node",): 1, ("researcher",): 0}


def test_the_backup_is_told_and_what_came_after_it(served: Served, running: Hub, settings: Settings) -> None:
    before = scrape(served)
    assert before["last_backup_timestamp_seconds"][()] == 0
    assert before["changes_since_backup"] == before["audit_entries_total"]
    running._command = "backup"
    running.back_up(lambda _: None, "backup to /backups/hub")
    running._command = "test"
    found = scrape(served)
    assert (found["last_backup_timestamp_seconds"][()], found["changes_since_backup"][()]) == (1_000_000, 0)
    running.remove(node(2))
    assert scrape(served)["changes_since_backup"][()] == 1


def test_what_the_daemon_counts_is_told(served: Served, running: Hub, settings: Settings) -> None:
    found = scrape(served)
    assert (found["tunnel_replaced_total"][()], found["drift_repaired_total"][()]) == (1, 0)
    assert found["firewall_repaired_total"][()] == 0
    assert found["hub_start_time_seconds"][()] == pytest.approx(time.time(), abs=60)
    (settings.folder / "wireguard" / "counters").unlink()
    assert "tunnel_replaced_total" not in scrape(served)


def test_a_healthy_hub_has_no_problem(served: Served) -> None:
    found = scrape(served)
    assert found["hub_healthy"][()] == 1
    assert not found.get("hub_problem")
    assert list(found["build_info"].values()) == [1]
    assert [labels[1] for labels in found["build_info"]] == ["boringtun"]


def test_what_keeps_the_hub_from_being_healthy_is_a_label(served: Served, settings: Settings) -> None:
    status.save(settings, Status("boringtun", "boringtun hangs"))
    found = scrape(served)
    assert found["hub_healthy"][()] == 0
    assert found["hub_problem"] == {("boringtun hangs",): 1}


@pytest.mark.parametrize("trouble", ["missing", "hanging", "refusing"])
def test_without_wg0_nothing_is_made_up_of_it(served: Served, device: MemoryDevice, trouble: str) -> None:
    assert scrape(served)["received_bytes_total"]["node",] == 3000
    setattr(device, trouble, True)
    found = scrape(served)
    assert found["hub_healthy"][()] == 0
    assert "received_bytes_total" not in found
    assert "handshake_age_seconds" not in found
    assert found["peers"]["node", "added"] == 2
    setattr(device, trouble, False)
    assert scrape(served)["received_bytes_total"]["node",] == 3000


def test_a_registry_that_cannot_be_read_is_told(served: Served, settings: Settings) -> None:
    (settings.folder / "ip_assign" / "registry.db").unlink()
    found = scrape(served)
    assert found["hub_healthy"][()] == 0
    assert "is not there" in next(iter(found["hub_problem"]))[0]
    assert "peers" not in found


def test_no_secret_is_exposed(served: Served, running: Hub, settings: Settings, environ: Mapping[str, str]) -> None:
    with Served(metrics.application(settings._replace(metrics_per_peer=True), environ)) as other:
        text = other.ask("/metrics").text
    for peer in running.peers():
        assert peer.preshared_key.reveal() not in text
        assert str(peer.public_key) not in text


def test_both_formats_of_prometheus_are_spoken(served: Served) -> None:
    plain = served.ask("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert plain.headers["cache-control"] == "no-store"
    modern = served.ask("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert modern.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    again = open_families(modern.text)  # type: ignore[no-untyped-call]
    assert {family.name for family in again} == {family.name for family in families(plain.text)}


def test_every_metric_has_its_help_and_type(served: Served) -> None:
    for family in families(served.ask("/metrics").text):
        assert family.documentation.endswith("."), family.name
        assert family.type in ("gauge", "counter"), family.name
        assert re.fullmatch(r"fedbiomed_vpn_[a-z][a-z0-9_]*", family.name)


@pytest.mark.parametrize(
    ("method", "path", "expected"), [("GET", "/", 404), ("GET", "/x", 404), ("POST", "/metrics", 405)]
)
def test_there_is_nothing_else(served: Served, method: str, path: str, expected: int) -> None:
    assert served.ask(path, method).status == expected


class Clock:
    """Stands for the module ``time``: it moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_many_who_ask_are_one_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(reading, "time", clock)
    monkeypatch.setattr(reading, "KEPT", 1.0)
    monkeypatch.setattr(reading, "SHARE", 10.0)
    took, count = 0.01, 0

    def read() -> int:
        nonlocal count
        count += 1
        clock.now += took
        return count

    cached = Cached(read)
    assert [cached() for _ in range(50)] == [1] * 50
    clock.now += 1.1
    assert cached() == 2
    # One that takes long is kept for longer.
    took = 1.0
    clock.now += 1.1
    assert cached() == 3
    clock.now += 9.0
    assert cached() == 3
    clock.now += 2.0
    assert cached() == 4


def test_who_waits_takes_no_thread_of_others() -> None:
    go_on = threading.Event()
    most, now = 0, 0
    lock = threading.Lock()

    def wait() -> None:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        go_on.wait(60)
        with lock:
            now -= 1

    async def flood() -> int:
        crowded = Threads(2)
        waiting = [asyncio.create_task(crowded.run(wait)) for _ in range(100)]
        # More than the 40 that all applications share.
        other = await asyncio.wait_for(run_in_threadpool(lambda: 7), 30)
        go_on.set()
        await asyncio.gather(*waiting)
        return other

    assert asyncio.run(flood()) == 7
    assert most == 2


def test_counters_outlive_a_full_disk(settings: Settings, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    from vpn.lib.errors import StateError

    log = logging.getLogger("test.counters")
    with counters.counting(settings, log):
        log.warning("hello")
        log.warning("put right", extra={"event": counters.DRIFT_REPAIRED})
        with monkeypatch.context() as patch:

            def full(*_: object, **__: object) -> None:
                raise StateError("No space left on device")

            patch.setattr("vpn.lib.hub.counters.files.write", full)
            log.warning("put right", extra={"event": counters.DRIFT_REPAIRED})
        assert counters.load(settings).events[counters.DRIFT_REPAIRED] == 1  # type: ignore[union-attr]
        log.warning("put right", extra={"event": counters.DRIFT_REPAIRED})
        assert counters.load(settings).events[counters.DRIFT_REPAIRED] == 3  # type: ignore[union-attr]
    assert counters.load(settings) is None
    log.warning("put right", extra={"event": counters.DRIFT_REPAIRED})
    assert counters.load(settings) is None


@pytest.mark.parametrize("damage", [b"", b"half", b"\xff", b"export STARTED=x\n", b"export STARTED=1\n"])
def test_damaged_counters_are_none(settings: Settings, hub: Hub, damage: bytes) -> None:
    (settings.folder / "wireguard" / "counters").write_bytes(damage)
    assert counters.load(settings) is None
