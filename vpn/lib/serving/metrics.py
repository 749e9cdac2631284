"""The hub's metrics for Prometheus, at ``/metrics``; docs/monitoring.md lists them."""

from __future__ import annotations

import statistics
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from vpn.lib.errors import VpnError
from vpn.lib.hub.counters import DRIFT_REPAIRED, FIREWALL_REPAIRED, SERVING_REPLACED, TUNNEL_REPLACED
from vpn.lib.hub.listing import STATES
from vpn.lib.registry.peer import PeerType
from vpn.lib.serving.reading import Cached, Reader, Threads
from vpn.lib.serving.traffic import Traffic
from vpn.lib.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.metrics_core import Metric
    from starlette.requests import Request

    from vpn.lib.hub.settings import Settings
    from vpn.lib.serving.reading import Peers

PREFIX = "fedbiomed_vpn"
FORMATS = 8
"""Of the exposition, that are kept for a second."""

PROBLEM = 200
"""Characters of the hub's problem that become a label."""


def application(settings: Settings, environ: Mapping[str, str]) -> Starlette:
    """The application that answers ``/metrics``, without a password: whoever reaches it may read it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(HubCollector(Reader(settings, environ)))

    bodies: dict[str, Cached[bytes]] = {}
    threads = Threads()

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        if content_type not in bodies:
            # Those that there are, are few; whoever thinks of many must not fill the memory.
            if len(bodies) >= FORMATS:
                bodies.clear()
            bodies[content_type] = Cached(lambda: bytes(encode(registry)))
        body = await threads.run(bodies[content_type])
        return Response(body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    async def elsewhere(_: Request) -> Response:
        return PlainTextResponse("the hub's metrics are at /metrics\n", 404)

    return Starlette(routes=[Route("/metrics", metrics), Route("/{rest:path}", elsewhere)])


class HubCollector(Collector):
    """Reads the hub at each scrape. What cannot be read is left out, and the hub is not healthy."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._traffic = Traffic()
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        labels = {"release": VERSION, "wireguard": self._reader.implementation()}
        yield _one(GaugeMetricFamily, "build_info", "1, with the release, and what carries wg0.", 1, labels)
        problem = ""
        for part in (self._peers, self._addresses, self._log, self._denied):
            try:
                yield from part()
            except VpnError as error:
                problem = problem or str(error)
        with suppress(VpnError):
            problem = self._reader.peers().problem or problem
        yield _one(GaugeMetricFamily, "hub_healthy", "1 when the hub is healthy, else 0.", 0 if problem else 1)
        what = "1 for what keeps the hub from being healthy; nothing while it is."
        yield _family(GaugeMetricFamily, "hub_problem", what, {(problem[:PROBLEM],): 1} if problem else {}, "problem")
        yield from self._daemon()

    def _peers(self) -> Iterator[Metric]:
        peers = self._reader.peers()
        counts = peers.by_state()
        yield _family(
            GaugeMetricFamily,
            "peers",
            "Registered components.",
            {(kind.value, state): counts[kind, state] for kind in PeerType for state in STATES},
            "type",
            "state",
        )
        invited = sum(view.invited_until is not None for view in peers.views)
        yield _one(GaugeMetricFamily, "invitations_open", "Invitations that can be used.", invited)
        if not peers.observed:
            return
        yield _family(
            GaugeMetricFamily,
            "handshake_age_seconds",
            "Seconds since the latest handshake of the type's components that had one: median, 90th percentile, max.",
            dict(_ages(peers)),
            "type",
            "rank",
        )
        with self._lock:  # two scrapes at the same time
            self._traffic.add(peers.views)
            sums = {kind.value: total for kind, total in self._traffic.sums.items()}
        received = {(kind,): total.received for kind, total in sums.items()}
        sent = {(kind,): total.sent for kind, total in sums.items()}
        yield _family(CounterMetricFamily, "received_bytes", "Encrypted traffic from components.", received, "type")
        yield _family(CounterMetricFamily, "sent_bytes", "Encrypted traffic to components.", sent, "type")
        if self._reader.settings.metrics_per_peer:
            yield from _each(peers)

    def _addresses(self) -> Iterator[Metric]:
        addresses = self._reader.addresses()
        for name, what, of in (
            ("addresses_capacity", "Addresses of the type's range that can be handed out at all.", "capacity"),
            ("addresses_left", "Addresses of the type's range that can be handed out now.", "left"),
            (
                "addresses_quarantined",
                "Addresses of the type's range that wait for their quarantine's end.",
                "quarantined",
            ),
        ):
            samples = {(kind.value,): getattr(found, of) for kind, found in addresses.items()}
            yield _family(GaugeMetricFamily, name, what, samples, "type")

    def _log(self) -> Iterator[Metric]:
        log = self._reader.log()
        at = 0.0 if log.backup is None else log.backup.entry.at
        yield _one(CounterMetricFamily, "audit_entries", "Entries of the audit log.", log.entries)
        yield _one(
            GaugeMetricFamily, "last_backup_timestamp_seconds", "When the last backup was made; 0 for never.", at
        )
        what = "Entries of the audit log that are in no backup."
        yield _one(GaugeMetricFamily, "changes_since_backup", what, log.since_backup)

    def _denied(self) -> Iterator[Metric]:
        denials = self._reader.matrix().denials
        if denials is None:
            return
        packets = {(item.source, item.target): item.packets for item in denials}
        size = {(item.source, item.target): item.bytes for item in denials}
        what = "that the firewall denied, by roles of source and target, since its rules were loaded."
        yield _family(CounterMetricFamily, "denied_packets", f"Packets {what}", packets, "source", "target")
        yield _family(CounterMetricFamily, "denied_bytes", f"Bytes {what}", size, "source", "target")

    def _daemon(self) -> Iterator[Metric]:
        counters = self._reader.counters()
        if counters is None:
            return
        yield _one(GaugeMetricFamily, "hub_start_time_seconds", "When the hub was started.", counters.started)
        for name, event, what in (
            ("tunnel_replaced", TUNNEL_REPLACED, "Times that the WireGuard daemon died or hung, or wg0 was lost."),
            ("drift_repaired", DRIFT_REPAIRED, "Times that wg0 differed from the registry and was put right."),
            ("firewall_repaired", FIREWALL_REPAIRED, "Times that the firewall's table was changed and put back."),
            (
                "serving_replaced",
                SERVING_REPLACED,
                "Times that the process that serves peers, page and this had ended.",
            ),
        ):
            yield _one(CounterMetricFamily, name, f"{what} Since the hub's start.", counters.events[event])


def _ages(peers: Peers) -> Iterator[tuple[tuple[str, str], float]]:
    for kind in PeerType:
        ages = sorted(view.age for view in peers.views if view.peer.name.type is kind and view.age is not None)
        if ages:
            yield (kind.value, "median"), statistics.median(ages)
            yield (kind.value, "p90"), ages[len(ages) * 9 // 10]
            yield (kind.value, "max"), ages[-1]


def _each(peers: Peers) -> Iterator[Metric]:
    """By component: as many lines as there are components, four times."""
    seen = [(view.peer.name, view.observed, view.state) for view in peers.views if view.observed is not None]
    labels = [((name.type.value, name.id), observed, state) for name, observed, state in seen]
    for family, name, what, samples in (
        (
            GaugeMetricFamily,
            "peer_active",
            "1 when the component is active, else 0.",
            {label: int(state == "active") for label, _, state in labels},
        ),
        (
            GaugeMetricFamily,
            "peer_latest_handshake_timestamp_seconds",
            "When the component had its latest handshake; 0 for never.",
            {label: observed.latest_handshake or 0 for label, observed, _ in labels},
        ),
        (
            CounterMetricFamily,
            "peer_received_bytes",
            "Encrypted traffic from the component.",
            {label: observed.received for label, observed, _ in labels},
        ),
        (
            CounterMetricFamily,
            "peer_sent_bytes",
            "Encrypted traffic to the component.",
            {label: observed.sent for label, observed, _ in labels},
        ),
    ):
        yield _family(family, name, what, samples, "type", "id")


_Key = TypeVar("_Key", bound=tuple[str, ...])
_Family = type[GaugeMetricFamily] | type[CounterMetricFamily]


def _family(family: _Family, name: str, what: str, samples: Mapping[_Key, float], *labels: str) -> Metric:
    metric = family(f"{PREFIX}_{name}", what, labels=labels)
    for values, number in samples.items():
        metric.add_metric(values, number)
    return metric


def _one(family: _Family, name: str, what: str, number: float, labels: Mapping[str, str] | None = None) -> Metric:
    given = labels or {}
    return _family(family, name, what, {tuple(given.values()): number}, *given)
