"""The traps of the daemons that the library goes around, on each fake and on each program.

A release of a program without its trap fails here; then what avoids it can go.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from lab.network import end, wait_until
from tests.contract.benches import PATIENCE, DaemonBench, FakeDaemonBench, bench, real_daemon
from tests.contract.samples import bring, public_key, wanted_device, wanted_peer
from tests.contract.test_fakes_are_true import ADD_A, FULL, KEY, A, B, peer, request
from tests.fakes.raw_uapi import CLOSED, SILENCE, ask
from vpn.lib.errors import DeviceError, DeviceRefused, DeviceTimeout
from vpn.lib.wireguard.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator


def on(name: str) -> pytest.MarkDecorator:
    """Run a test on the fake of a daemon and on its program."""
    both = [f"fake-{name}", pytest.param(name, marks=pytest.mark.system)]
    return pytest.mark.parametrize("daemon", both, indirect=True)


@pytest.fixture
def daemon(request: pytest.FixtureRequest) -> Iterator[DaemonBench]:
    """The daemon of the test's parameter."""
    with bench(request.param) as one:
        yield one  # type: ignore[misc]  # no test here names the kernel


def exchange(daemon: DaemonBench, *requests: str) -> list[str]:
    """The answers."""
    # A program may be slow on a busy machine where a fake is not.
    patience = 0.3 if isinstance(daemon, FakeDaemonBench) else 1.0
    return [ask(str(daemon.path), text, patience=patience) for text in requests]


@on("boringtun")
def test_boringtun_hangs_for_good_at_an_update(daemon: DaemonBench) -> None:
    assert exchange(daemon, KEY, ADD_A, ADD_A, "get=1", "get=1") == ["errno=0", "errno=0", CLOSED, SILENCE, SILENCE]
    with pytest.raises(DeviceTimeout):
        daemon.hurried().read()


@on("boringtun")
def test_boringtun_hangs_for_good_at_a_peer_before_its_key(daemon: DaemonBench) -> None:
    assert exchange(daemon, ADD_A, "get=1", KEY) == [CLOSED, SILENCE, SILENCE]


@on("boringtun")
def test_boringtun_hangs_for_good_at_a_peer_given_twice_at_once(daemon: DaemonBench) -> None:
    assert exchange(daemon, KEY, request(peer(A), peer(A)), "get=1") == ["errno=0", CLOSED, SILENCE]


@pytest.mark.system
def test_a_boringtun_that_hangs_ignores_sigterm() -> None:
    with real_daemon("boringtun") as daemon:
        assert exchange(daemon, KEY, ADD_A, ADD_A)[-1] == CLOSED
        os.kill(daemon.process.pid, signal.SIGTERM)
        # Long after a sound one would have ended.
        assert ask(str(daemon.path), "get=1", patience=2) == SILENCE
        assert daemon.process.poll() is None
        end(daemon.process, 0.1)
        assert daemon.process.returncode == -signal.SIGKILL


@on("boringtun")
def test_boringtun_lets_the_fields_of_a_peer_leak_into_the_next(daemon: DaemonBench) -> None:
    assert exchange(daemon, KEY, request(peer(A, *FULL), peer(B, "allowed_ip=10.0.0.2/32"))) == ["errno=0"] * 2
    first, second = (daemon.device.read().peers[public_key(number)] for number in (2, 3))
    assert first.preshared_key is not None
    assert (second.preshared_key, second.endpoint, second.persistent_keepalive) == (
        first.preshared_key,
        first.endpoint,
        first.persistent_keepalive,
    )


@on("boringtun")
def test_boringtun_adds_no_peer_after_a_removal_in_the_same_request(daemon: DaemonBench) -> None:
    assert exchange(daemon, KEY, ADD_A, request(peer(A, "remove=true"), peer(B)))[-1] == "errno=0"
    assert daemon.device.read().peers == {}


@on("boringtun")
def test_boringtun_resets_a_connection_at_its_second_request(daemon: DaemonBench) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(daemon.path))
        connection.sendall(b"get=1\n\n")
        assert connection.recv(4096).endswith(b"errno=0\n\n")
        with pytest.raises(ConnectionError):  # noqa: PT012 - which of the two calls meets it is a matter of time
            connection.sendall(b"get=1\n\n")
            connection.recv(4096)


@on("boringtun")
def test_one_open_connection_keeps_the_whole_boringtun_waiting(daemon: DaemonBench) -> None:
    with socket.socket(socket.AF_UNIX) as idle:
        idle.connect(str(daemon.path))
        assert exchange(daemon, "get=1") == [SILENCE]
        with pytest.raises(DeviceTimeout):
            daemon.hurried().read()
    wait_until(lambda: exchange(daemon, "get=1") != [SILENCE], PATIENCE, "it goes on once the connection is closed")


@pytest.mark.system
def test_a_second_boringtun_shares_the_port_in_silence() -> None:
    with real_daemon("boringtun") as first:
        first.device.apply(Plan(wanted_device().private_key, 51820))
        second = first.host.start(["boringtun-cli", *first.daemon.arguments, "wg1"])
        path = first.path.with_name("wg1.sock")
        wait_until(lambda: path.exists() and ask(path, "get=1").endswith("errno=0"), PATIENCE, "the second answers")
        assert ask(path, KEY + "\nlisten_port=51820") == "errno=0"
        end(second)


@on("gotatun")
def test_gotatun_answers_nothing_after_a_peer_before_its_key(daemon: DaemonBench) -> None:
    assert exchange(daemon, ADD_A, "get=1", KEY, "get=1") == [CLOSED] * 4
    with pytest.raises(DeviceRefused):
        daemon.device.read()


@on("gotatun")
def test_gotatun_closes_at_a_line_that_it_does_not_know_and_does_nothing(daemon: DaemonBench) -> None:
    assert exchange(daemon, KEY, request(peer(A), peer(B, "something=1"))) == ["errno=0", CLOSED]
    assert daemon.device.read().peers == {}


@on("gotatun")
def test_gotatun_refuses_a_request_that_names_a_peer_twice(daemon: DaemonBench) -> None:
    assert exchange(daemon, KEY, request(peer(A), peer(A)))[-1] == "errno=22"
    assert daemon.device.read().peers == {}


@on("gotatun")
def test_gotatun_does_not_get_through_a_change_of_its_key(daemon: DaemonBench) -> None:
    bring(daemon.device, wanted_device(wanted_peer(2)))
    answer = ask(str(daemon.path), f"set=1\nprivate_key={'4' * 64}")
    if answer == "errno=0":
        # Then it ends a moment later.
        wait_until(lambda: not answers(daemon), PATIENCE, "it is gone")
    else:
        assert answer in ("errno=22", CLOSED)


def answers(daemon: DaemonBench) -> bool:
    try:
        daemon.device.read()
    except DeviceError:
        return False
    return True


@pytest.mark.parametrize("name", ["boringtun", "gotatun"])
@pytest.mark.parametrize("kind", ["fake-", pytest.param("", marks=pytest.mark.system)])
def test_an_address_given_to_a_second_peer_is_shown_at_both(name: str, kind: str) -> None:
    with bench(kind + name) as daemon:
        bring(daemon.device, wanted_device(wanted_peer(2)))
        daemon.device.apply(Plan(add=(wanted_peer(3, allowed=wanted_peer(2).allowed_ips),)))
        observed = daemon.device.read().peers
        assert observed[public_key(2)].allowed_ips == observed[public_key(3)].allowed_ips != frozenset()


@on("wireguard-go")
def test_wireguard_go_takes_its_own_key_as_a_peer_without_a_word_and_without_a_peer(daemon: DaemonBench) -> None:
    bring(daemon.device, wanted_device())
    daemon.device.apply(Plan(add=(wanted_peer(1),)))
    assert daemon.device.read().peers == {}


@pytest.mark.system
@pytest.mark.parametrize(("name", "shown"), [("boringtun", "(none)"), ("gotatun", "key"), ("wireguard-go", "key")])
def test_wg_shows_the_public_key_of_every_daemon_but_boringtun(name: str, shown: str) -> None:
    with real_daemon(name) as daemon:
        bring(daemon.device, wanted_device())
        printed = daemon.host.run(["wg", "show", "wg0", "public-key"]).stdout.strip()
        assert printed == (str(public_key(1)) if shown == "key" else shown)
