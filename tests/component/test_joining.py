"""Looking up where the hub is."""

from __future__ import annotations

import socket
import threading

import pytest

from vpn.lib.component.joining import resolve
from vpn.lib.wireguard.types import Endpoint


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_a_numeric_address_is_itself(address: str) -> None:
    found = resolve(address, 51820)
    assert found is not None
    assert (str(found.address), found.port) == (address, 51820)


def test_the_first_address_of_a_name_is_taken_that_a_daemon_can_send_to(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [
        (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("fe80::1%eth0", 7, 0, 2)),
        (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("192.0.2.9", 7)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    assert resolve("hub.example", 7) == Endpoint.parse("192.0.2.9:7")


def test_a_name_that_does_not_resolve_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert resolve("hub.example", 7) is None


def test_a_name_server_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(30) and [])
    assert resolve("hub.example", 7, patience=0.05) is None
    assert not answered.is_set()
    answered.set()
