"""What UserspaceDevice asks of a daemon's socket, and what it makes of silence and of broken answers."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.contract.benches import PATIENCE, FakeDaemonBench, fake_daemon
from tests.contract.samples import (
    assert_holds,
    bring,
    preshared_key,
    private_key,
    public_key,
    wanted_device,
    wanted_peer,
)
from tests.fakes.uapi_daemons import Gotatun, WireguardGo
from tests.fakes.uapi_server import UapiServer
from vpn.lib.errors import DeviceError, DeviceMissing, DeviceTimeout
from vpn.lib.wireguard.daemons import BORINGTUN, DAEMONS, WIREGUARD_GO
from vpn.lib.wireguard.plan import Plan
from vpn.lib.wireguard.userspace import BATCH, SOCKET_FOLDER, UserspaceDevice, socket_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(params=list(DAEMONS))
def made(request: pytest.FixtureRequest) -> Iterator[FakeDaemonBench]:
    """Each daemon's fake in turn."""
    with fake_daemon(request.param) as one:
        yield one


def sets(made: FakeDaemonBench) -> list[str]:
    """The requests that change something."""
    return [text for text in made.server.requests if text.startswith("set=1")]


def test_the_socket_is_where_every_daemon_puts_it() -> None:
    assert socket_path("wg7") == f"{SOCKET_FOLDER}/wg7.sock" == "/var/run/wireguard/wg7.sock"


def test_the_interface_has_its_name(made: FakeDaemonBench) -> None:
    assert made.device.interface == "wg0"


def test_the_key_goes_before_the_first_peer(made: FakeDaemonBench) -> None:
    bring(made.device, wanted_device(wanted_peer(2)))
    first, *rest = sets(made)
    assert first.startswith(f"set=1\nprivate_key={private_key(1).hex()}\n")
    assert "public_key=" not in first
    assert all("private_key=" not in text for text in rest)


def test_removals_are_requests_of_their_own_and_come_first(made: FakeDaemonBench) -> None:
    bring(made.device, wanted_device(wanted_peer(2), wanted_peer(3)))
    made.server.requests.clear()
    made.device.apply(Plan(remove=(public_key(2),), update=(wanted_peer(3, preshared=1),), add=(wanted_peer(4),)))
    with_removal = [text for text in sets(made) if "remove=true" in text]
    assert with_removal[0] == sets(made)[0] == f"set=1\npublic_key={public_key(2).hex()}\nremove=true"
    assert all("allowed_ip" not in text for text in with_removal)


def test_a_peer_that_is_there_is_never_set_where_that_hangs(made: FakeDaemonBench) -> None:
    bring(made.device, wanted_device(wanted_peer(2)))
    made.server.requests.clear()
    made.device.apply(Plan(update=(wanted_peer(2, preshared=1),)))
    if made.daemon.dialect.updates_in_place:
        (only,) = sets(made)
        assert "remove" not in only
    else:
        removal, addition = sets(made)
        assert removal.endswith("remove=true")
        assert "replace_allowed_ips" in addition


def test_peers_of_one_shape_share_requests_and_others_have_their_own(made: FakeDaemonBench) -> None:
    bring(made.device, wanted_device())
    made.server.requests.clear()
    plain = [wanted_peer(number) for number in range(2, 2 + BATCH + 3)]
    shaped = [wanted_peer(number, preshared=number) for number in range(5000, 5002)]
    wanted = wanted_device(*plain[:BATCH], *shaped, *plain[BATCH:])
    made.device.add(iter(wanted.peers.values()))
    assert sorted(text.count("public_key=") for text in sets(made)) == [2, 3, BATCH]
    for text in sets(made):
        assert text.count("preshared_key=") in (0, text.count("public_key="))
    assert_holds(made.device.read(), wanted)


def test_each_request_has_a_connection_of_its_own(made: FakeDaemonBench) -> None:
    # boringtun resets the second request of a connection; here all go through all the same.
    bring(made.device, wanted_device(*(wanted_peer(number, keepalive=number % 2) for number in range(2, 8))))
    assert len(made.device.read().peers) == 6


def test_a_peer_is_not_taken_for_another_whose_line_ends_alike(made: FakeDaemonBench) -> None:
    bring(made.device, wanted_device(wanted_peer(2)))
    assert not made.device.holds(public_key(1)), "own_public_key is not a peer"
    assert made.device.holds(public_key(2))


@pytest.mark.parametrize("name", DAEMONS)
def test_a_handshake_is_shown_in_unix_time_whatever_the_daemon_counts(name: str) -> None:
    now = [1_800_000_000.0]
    with fake_daemon(name) as made:
        bring(made.device, wanted_device(wanted_peer(2)))
        made.server.daemon.clock = lambda: now[0]
        made.server.daemon.handshake(public_key(2).hex(), "192.0.2.1:4", received=148, sent=92)
        device = UserspaceDevice("wg0", made.daemon.dialect, path=str(made.path), clock=lambda: now[0])
        for later in (0.0, 12.5, 86400.0):
            now[0] = 1_800_000_000.0 + later
            peer = device.read().peers[public_key(2)]
            assert peer.latest_handshake == pytest.approx(1_800_000_000.0, abs=0.001)
            assert (str(peer.endpoint), peer.received, peer.sent) == ("192.0.2.1:4", 148, 92)


def test_a_dead_task_of_gotatun_is_an_error_not_an_empty_device(short_folder: Path) -> None:
    daemon = Gotatun()
    daemon.dead = True
    with UapiServer(short_folder / "wg0.sock", daemon) as server:
        device = UserspaceDevice("wg0", DAEMONS["gotatun"].dialect, path=str(server.path))
        with pytest.raises(DeviceError):
            device.read()
        with pytest.raises(DeviceError):
            device.holds(public_key(2))


def test_a_socket_that_nobody_listens_on_is_a_missing_device(short_folder: Path) -> None:
    path = short_folder / "wg0.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    with pytest.raises(DeviceMissing, match="start it"):
        UserspaceDevice("wg0", BORINGTUN.dialect, path=str(path)).read()


def test_a_daemon_whose_queue_is_full_counts_as_hung(short_folder: Path) -> None:
    path = short_folder / "wg0.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(str(path))
        listener.listen(0)
        waiting.connect(str(path))
        with pytest.raises(DeviceTimeout):
            UserspaceDevice("wg0", BORINGTUN.dialect, path=str(path), time_limit=0.2).read()


def serve(path: Path, answer: Callable[[socket.socket], None]) -> threading.Thread:
    """Take one connection and its request, then do as ``answer`` says."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def run() -> None:
        with listener:
            connection, _ = listener.accept()
            with connection:
                answer(connection)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_an_answer_in_small_pieces_is_put_together(short_folder: Path) -> None:
    def drip(connection: socket.socket) -> None:
        connection.recv(100)
        for byte in b"listen_port=51820\nerrno=0\n\n":
            connection.sendall(bytes([byte]))

    thread = serve(short_folder / "wg0.sock", drip)
    device = UserspaceDevice("wg0", WIREGUARD_GO.dialect, path=str(short_folder / "wg0.sock"))
    assert device.read().listen_port == 51820
    thread.join(PATIENCE)


@pytest.mark.parametrize("answer", [b"", b"listen_port=51820\n", b"listen_port=51820\nerrno=", b"\0\xff\n\n"])
def test_an_answer_that_breaks_off_is_an_error(short_folder: Path, answer: bytes) -> None:
    def break_off(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(answer)

    thread = serve(short_folder / "wg0.sock", break_off)
    with pytest.raises(DeviceError):
        UserspaceDevice("wg0", WIREGUARD_GO.dialect, path=str(short_folder / "wg0.sock")).read()
    thread.join(PATIENCE)


def test_a_connection_that_is_reset_is_an_error_with_its_reason(short_folder: Path) -> None:
    def reset(connection: socket.socket) -> None:
        connection.recv(1)  # closing with the rest unread resets a Unix socket

    thread = serve(short_folder / "wg0.sock", reset)
    with pytest.raises(DeviceError, match="broke off"):
        UserspaceDevice("wg0", WIREGUARD_GO.dialect, path=str(short_folder / "wg0.sock")).read()
    thread.join(PATIENCE)


def test_a_daemon_that_drips_is_given_up_in_the_end_if_it_falls_silent(short_folder: Path) -> None:
    released = threading.Event()

    def stall(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"listen_port=1\n")
        released.wait(PATIENCE)

    thread = serve(short_folder / "wg0.sock", stall)
    started = time.monotonic()
    with pytest.raises(DeviceTimeout):
        UserspaceDevice("wg0", WIREGUARD_GO.dialect, path=str(short_folder / "wg0.sock"), time_limit=0.2).read()
    assert time.monotonic() - started < 5
    released.set()
    thread.join(PATIENCE)


def test_no_error_shows_a_key_that_was_sent(short_folder: Path) -> None:
    daemon = WireguardGo()
    daemon.ports_in_use.add(51820)
    with UapiServer(short_folder / "wg0.sock", daemon) as server:
        device = UserspaceDevice("wg0", WIREGUARD_GO.dialect, path=str(server.path))
        with pytest.raises(DeviceError) as caught:
            device.apply(Plan(private_key(1), 51820, add=(wanted_peer(2, preshared=1),)))
    for secret in (private_key(1), preshared_key(1)):
        assert secret.hex() not in repr(caught.value)
        assert secret.reveal() not in repr(caught.value)
