"""The UAPI as text: requests to the byte, answers as each daemon gives them, and garbage."""

from __future__ import annotations

import contextlib
from ipaddress import ip_network

import pytest
from hypothesis import given, strategies as st

from tests.contract.samples import (
    assert_holds,
    networks,
    preshared_key,
    private_key,
    public_key,
    wanted_device,
    wanted_devices,
    wanted_peer,
)
from tests.fakes.uapi_daemons import FAKE_DAEMONS, WireguardGo
from vpn.lib.errors import DeviceError, DeviceRefused, VpnError
from vpn.lib.wireguard import uapi
from vpn.lib.wireguard.daemons import DAEMONS
from vpn.lib.wireguard.types import Endpoint, ObservedDevice, ObservedPeer, WantedDevice

NOW = 1_800_000_000.0
A, B = public_key(2).hex(), public_key(3).hex()
PSK = preshared_key(1).hex()


def parse(text: str, *, age: bool = False) -> ObservedDevice:
    return uapi.parse_device(text.encode(), handshake_is_age=age, now=NOW)


def test_a_request_for_the_state() -> None:
    assert uapi.GET == b"get=1\n\n"


@pytest.mark.parametrize(
    ("key", "port", "lines"),
    [
        (None, 51820, "listen_port=51820\n"),
        (private_key(1), None, f"private_key={private_key(1).hex()}\n"),
        (private_key(1), 1, f"private_key={private_key(1).hex()}\nlisten_port=1\n"),
    ],
    ids=["port", "key", "both"],
)
def test_a_request_for_key_and_port_gives_the_key_first(key: None, port: int | None, lines: str) -> None:
    assert uapi.encode_interface(key, port) == f"set=1\n{lines}\n".encode()


def test_a_request_for_a_removal_says_nothing_else() -> None:
    expected = f"set=1\npublic_key={A}\nremove=true\npublic_key={B}\nremove=true\n\n"
    assert uapi.encode_remove([public_key(2), public_key(3)]) == expected.encode()


def test_a_request_for_an_addition_states_what_is_set() -> None:
    full = wanted_peer(2, preshared=1, endpoint="[2001:db8::1]:7", keepalive=25, allowed=networks("10.0.0.2/32"))
    expected = (
        f"set=1\npublic_key={A}\npreshared_key={PSK}\nendpoint=[2001:db8::1]:7\npersistent_keepalive_interval=25\n"
        "replace_allowed_ips=true\nallowed_ip=10.0.0.2/32\n"
        f"public_key={B}\nreplace_allowed_ips=true\nallowed_ip=fd00::/64\n\n"
    )
    assert uapi.encode_peers([full, wanted_peer(3, allowed=networks("fd00::/64"))]) == expected.encode()


def test_a_request_for_an_update_states_what_is_not_wanted_as_none() -> None:
    zeros = "0" * 64
    expected = (
        f"set=1\npublic_key={A}\npreshared_key={zeros}\npersistent_keepalive_interval=0\nreplace_allowed_ips=true\n\n"
    )
    assert uapi.encode_update(wanted_peer(2, allowed=networks())) == expected.encode()
    full = wanted_peer(2, preshared=1, endpoint="192.0.2.1:7", keepalive=9, allowed=networks("10.0.0.0/8"))
    expected = (
        f"set=1\npublic_key={A}\npreshared_key={PSK}\nendpoint=192.0.2.1:7\npersistent_keepalive_interval=9\n"
        "replace_allowed_ips=true\nallowed_ip=10.0.0.0/8\n\n"
    )
    assert uapi.encode_update(full) == expected.encode()


def test_stated_fields_tells_the_shapes_apart() -> None:
    assert uapi.stated_fields(wanted_peer(2)) == (False, False, False)
    assert uapi.stated_fields(wanted_peer(2, preshared=1)) == (True, False, False)
    assert uapi.stated_fields(wanted_peer(2, endpoint="192.0.2.1:7")) == (False, True, False)
    assert uapi.stated_fields(wanted_peer(2, keepalive=1)) == (False, False, True)


def test_boringtun_s_answer_is_read() -> None:
    answer = (
        f"own_public_key={public_key(1).hex()}\nlisten_port=51820\n"
        f"public_key={A}\npreshared_key={PSK}\npersistent_keepalive_interval=25\nendpoint=192.0.2.1:4\n"
        "allowed_ip=10.0.0.2/32\nallowed_ip=fd00::/64\nlast_handshake_time_sec=7\nlast_handshake_time_nsec=500000000\n"
        f"rx_bytes=11\ntx_bytes=22\npublic_key={B}\nrx_bytes=0\ntx_bytes=0\nerrno=0\n\n"
    )
    assert parse(answer, age=True) == ObservedDevice(
        public_key(1),
        51820,
        {
            public_key(2): ObservedPeer(
                public_key(2),
                preshared_key(1),
                networks("10.0.0.2/32", "fd00::/64"),
                Endpoint.parse("192.0.2.1:4"),
                25,
                NOW - 7.5,
                11,
                22,
            ),
            public_key(3): ObservedPeer(public_key(3), None, frozenset(), None, 0, None, 0, 0),
        },
    )


def test_wireguard_go_s_answer_is_read() -> None:
    answer = (
        f"private_key={private_key(1).hex()}\nlisten_port=51820\nfwmark=1\n"
        f"public_key={A}\npreshared_key={'0' * 64}\nprotocol_version=1\nendpoint=[2001:db8::1]:4\n"
        "last_handshake_time_sec=1700000000\nlast_handshake_time_nsec=250000000\ntx_bytes=22\nrx_bytes=11\n"
        f"persistent_keepalive_interval=0\nallowed_ip=0.0.0.0/0\n"
        f"public_key={B}\npreshared_key={'0' * 64}\nlast_handshake_time_sec=0\nlast_handshake_time_nsec=0\nerrno=0\n\n"
    )
    observed = parse(answer)
    assert observed.public_key == public_key(1)
    assert observed.peers[public_key(2)] == ObservedPeer(
        public_key(2),
        None,
        frozenset({ip_network("0.0.0.0/0")}),
        Endpoint.parse("[2001:db8::1]:4"),
        0,
        1700000000.25,
        11,
        22,
    )
    assert observed.peers[public_key(3)].latest_handshake is None


@pytest.mark.parametrize("head", ["", f"private_key={'0' * 64}\n", "listen_port=0\n"])
def test_a_device_without_a_key_has_none(head: str) -> None:
    assert parse(head + "errno=0\n\n").public_key is None


def test_a_handshake_of_this_moment_is_one() -> None:
    answer = f"own_public_key={B}\npublic_key={A}\nlast_handshake_time_sec=0\nlast_handshake_time_nsec=0\nerrno=0\n\n"
    assert parse(answer, age=True).peers[public_key(2)].latest_handshake == NOW


def test_lines_that_are_not_known_are_passed_over() -> None:
    answer = f"listen_port=1\nnews=1\npublic_key={A}\nnews=a=b\nrx_bytes=5\nmore\nerrno=0\n\n"
    assert parse(answer).peers[public_key(2)].received == 5


@pytest.mark.parametrize("answer", [b"errno=0\n\n", b"listen_port=1\nerrno=0\n\n", b"errno=0\n"])
def test_error_number_zero_is_no_error(answer: bytes) -> None:
    uapi.check_errno(answer, "do it")


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        (b"errno=22\n\n", 22),
        (b"errno=-98\n\n", 98),
        (b"listen_port=1\nerrno=5\n\n", 5),
        (b"", 22),
        (b"\n\n", 22),
        (b"listen_port=1\n", 22),
        (b"errno=\n\n", 22),
        (b"errno=00\n\n", 0),
        (b"xerrno=0\n\n", 22),
        (b"errno=0\nerrno=7\n\n", 7),
        (b"\xff\xfe\n\n", 22),
    ],
)
def test_any_other_end_of_an_answer_is_an_error(answer: bytes, number: int) -> None:
    with pytest.raises(DeviceRefused, match="refused to do it") as caught:
        uapi.check_errno(answer, "do it")
    assert caught.value.errno == number


@pytest.mark.parametrize(
    "lines",
    [
        "public_key=zz\n",
        f"public_key={A[:-2]}\n",
        f"public_key={'0' * 62}\n",
        "private_key=12\n",
        "own_public_key=12\n",
        "listen_port=many\n",
        f"public_key={A}\nallowed_ip=10.0.0.300/32\n",
        f"public_key={A}\nendpoint=somewhere\n",
        f"public_key={A}\npreshared_key=12\n",
        f"public_key={A}\nrx_bytes=\n",
        f"public_key={A}\nlast_handshake_time_sec=soon\n",
        f"public_key={A}\nallowed_ip=é\n",
    ],
)
def test_an_answer_that_breaks_the_protocol_is_an_error_without_its_text(lines: str) -> None:
    with pytest.raises(DeviceError, match="cannot be read") as caught:
        parse(lines + "errno=0\n\n")
    assert "=" not in str(caught.value)


@given(st.binary(max_size=300))
def test_garbage_raises_nothing_but_the_library_s_errors(garbage: bytes) -> None:
    for answer in (garbage, garbage + b"\nerrno=0\n\n"):
        with contextlib.suppress(VpnError):
            uapi.parse_device(answer, handshake_is_age=False, now=NOW)


LINES = st.sampled_from(
    [
        f"public_key={A}",
        f"own_public_key={B}",
        "private_key=",
        "own_",
        "public_key=",
        "listen_port=-1",
        "allowed_ip=10.0.0.1/24",
        "allowed_ip=",
        "endpoint=[::1]:0",
        "last_handshake_time_sec=-5",
        "last_handshake_time_sec=" + "9" * 5000,
        "last_handshake_time_sec=" + "9" * 400,
        "last_handshake_time_nsec=x",
        "rx_bytes=1e3",
        "=",
        "",
        "\0",
    ]
)


@given(st.lists(LINES, max_size=12))
def test_lines_in_any_order_raise_nothing_but_the_library_s_errors(lines: list[str]) -> None:
    for age in (False, True):
        with contextlib.suppress(VpnError):
            parse("\n".join([*lines, "errno=0\n\n"]), age=age)


@pytest.mark.parametrize("name", DAEMONS)
@given(wanted_devices())
def test_what_is_written_reads_back_through_each_daemon(name: str, wanted: WantedDevice) -> None:
    daemon = FAKE_DAEMONS[name]()
    requests = [uapi.encode_interface(wanted.private_key, wanted.listen_port)]
    requests += [uapi.encode_peers([peer]) for peer in wanted.peers.values()]
    for request in requests:
        assert daemon.answer(request.decode().removesuffix("\n\n")) == "errno=0\n"
    observed = parse(daemon.answer("get=1") + "\n", age=DAEMONS[name].dialect.handshake_is_age)
    assert_holds(observed, wanted)


@given(wanted_devices())
def test_an_update_brings_a_peer_to_exactly_what_it_says(wanted: WantedDevice) -> None:
    daemon = WireguardGo()
    daemon.answer(f"set=1\nprivate_key={wanted.private_key.hex()}\nlisten_port={wanted.listen_port}")
    before = wanted_device(*(wanted_peer(number, preshared=9, keepalive=9) for number in range(10, 15)))
    for request in (uapi.encode_peers(before.peers.values()), *map(uapi.encode_update, wanted.peers.values())):
        daemon.answer(request.decode().removesuffix("\n\n"))
    observed = parse(daemon.answer("get=1") + "\n")
    assert_holds(
        observed._replace(peers={key: peer for key, peer in observed.peers.items() if key in wanted.peers}), wanted
    )
