"""The nftables language as far as the project writes it: what becomes of a packet. Fails on words it does not know."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from vpn.lib.nft.table import REMOVAL, TABLE


class Packet(NamedTuple):
    """A packet, and what conntrack says of it. An interface is empty where the hook has none."""

    source: str
    target: str
    protocol: str = "tcp"
    port: int = 0
    from_port: int = 40000
    icmp: str = ""
    incoming: str = "wg0"
    outgoing: str = ""
    state: str = "new"
    direction: str = "original"


class Fate(NamedTuple):
    """``accept``, ``drop`` or ``reject``, and the counter that counted it."""

    verdict: str
    counter: str


class Table:
    """A table, of the text for ``nft -f -``."""

    def __init__(self, text: str) -> None:
        assert text.startswith(f"{REMOVAL}table {TABLE} {{\n")
        assert text.endswith("\n}\n")
        self.counters: set[str] = set()
        self.chains: dict[str, list[str]] = {}
        chain: list[str] | None = None
        for line in map(str.strip, text.removeprefix(REMOVAL).splitlines()[1:-1]):
            if found := re.fullmatch(r"counter (\w+) \{ \}", line):
                self.counters.add(found[1])
            elif found := re.fullmatch(r"chain (\w+) \{", line):
                chain = self.chains.setdefault(found[1], [])
                assert not chain, f"{found[1]} is there twice"
            elif line == "}":
                chain = None
            else:
                assert chain is not None, line
                chain.append(line)
        assert chain is None

    def fate(self, hook: str, packet: Packet) -> Fate:
        """What becomes of a packet at a hook."""
        first, *rules = self.chains[hook]
        assert first == f"type filter hook {hook} priority filter; policy accept;"
        return self._walk(rules, packet) or Fate("accept", "")

    def _walk(self, rules: list[str], packet: Packet) -> Fate | None:
        for rule in rules:
            words, counter = _matched(rule, packet), ""
            if not words:
                continue
            if found := re.fullmatch(r'limit rate \S+ burst 5 packets log prefix "[ -~]{1,127}"', words):
                continue
            if found := re.match(r"counter name (\w+) ", words):
                counter, words = found[1], words[found.end() :]
                assert counter in self.counters
            if found := re.fullmatch(r"ip (saddr|daddr) vmap \{ (.*) \}", words):
                words = self._mapped(packet.source if found[1] == "saddr" else packet.target, found[2])
                if not words:
                    continue
            if found := re.fullmatch(r"goto (\w+)", words):
                return self._walk(self.chains[found[1]], packet)
            assert words in ("accept", "drop", "reject with icmp port-unreachable"), rule
            return Fate(words.split()[0], counter)
        return None

    def _mapped(self, address: str, elements: str) -> str:
        hits = []
        for element in elements.split(", "):
            stretch, verdict = element.split(" : ")
            first, _, last = stretch.partition("-")
            value = ip_address(address)
            if value.version == 4 and ip_address(first) <= value <= ip_address(last or first):  # type: ignore[operator]
                hits.append(verdict)
        assert len(hits) <= 1, f"{address} is in two elements of {elements}"
        return hits[0] if hits else ""


def _matched(rule: str, packet: Packet) -> str:
    """What a rule does, without its conditions; empty when one of them is not met."""
    words = rule
    while True:
        for pattern, met in _MATCHES:
            if found := re.match(rf"{pattern} ", words):
                if not met(packet, *found.groups()):
                    return ""
                words = words[found.end() :]
                break
        else:
            return words


def _interface(name: str, sense: str, given: str) -> bool:
    inside = name in re.findall(r'"([^"]+)"', given)
    return inside != bool(sense)


def _address(packet: Packet, family: str, side: str, given: str) -> bool:
    value, network = ip_address(packet.source if side == "saddr" else packet.target), ip_network(given)
    assert network.version == (6 if family == "ip6" else 4)
    return value in network


def _port(packet: Packet, protocol: str, side: str, given: str) -> bool:
    if packet.protocol != protocol:
        return False
    value = packet.port if side == "dport" else packet.from_port
    spans = [item.partition("-") for item in given.strip("{ }").split(", ")]
    assert spans
    return any(int(first) <= value <= int(last or first) for first, _, last in spans)


_MATCHES = (
    (r'iifname (!= )?(\{[^}]*\}|"\w+")', lambda p, sense, given: _interface(p.incoming, sense, given)),
    (r'oifname (!= )?(\{[^}]*\}|"\w+")', lambda p, sense, given: _interface(p.outgoing, sense, given)),
    (r"(ip6?) (saddr|daddr) ([0-9a-f.:/]+)", _address),
    (r"(tcp|udp) (dport|sport) (\{[^}]*\}|\d+)", _port),
    (r"ct direction (reply)", lambda p, given: p.direction == given),
    (r"ct state ([a-z,]+)", lambda p, given: p.state in given.split(",")),
    (
        r"icmp type (\{[^}]*\}|[a-z-]+)",
        lambda p, given: p.protocol == "icmp" and p.icmp in given.strip("{ }").split(", "),
    ),
    (r"meta l4proto \{ 1, 58 \}", lambda p: p.protocol in ("icmp", "ipv6-icmp")),
)
