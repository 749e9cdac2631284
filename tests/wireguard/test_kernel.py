"""The kernel's device on the fake netlink: dumps in pieces, errors, and the contract with pyroute2."""

from __future__ import annotations

import errno
from base64 import b64encode
from ipaddress import IPv4Interface
from typing import Any

import pytest
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic.wireguard import wgmsg

from tests.contract.samples import (
    address,
    assert_holds,
    bring,
    networks,
    private_key,
    public_key,
    wanted_device,
    wanted_peer,
)
from tests.fakes.netlink import FakeKernel
from tests.fakes.netlink_messages import as_received
from vpn.lib.errors import DeviceError, DeviceMissing, DeviceRefused
from vpn.lib.wireguard.kernel import KernelDevice, assemble
from vpn.lib.wireguard.link import Link
from vpn.lib.wireguard.plan import Plan
from vpn.lib.wireguard.types import Endpoint


@pytest.fixture
def kernel() -> FakeKernel:
    """A kernel with a WireGuard interface."""
    kernel = FakeKernel()
    kernel.add_interface("wg0", "wireguard")
    return kernel


@pytest.fixture
def device(kernel: FakeKernel) -> KernelDevice:
    """Its device."""
    return KernelDevice("wg0", kernel.wireguard)


def test_the_interface_has_its_name(device: KernelDevice) -> None:
    assert device.interface == "wg0"


@pytest.mark.parametrize(("peers", "fit"), [(1, 1), (1, 2), (2, 3), (3, 1), (30, 40)])
def test_a_dump_is_put_together_however_it_is_cut(kernel: FakeKernel, peers: int, fit: int) -> None:
    kernel.message_peers, kernel.message_networks = peers, fit
    device = KernelDevice("wg0", kernel.wireguard)
    many = [
        wanted_peer(
            number,
            preshared=number % 3 or None,
            keepalive=number,
            endpoint=f"192.0.2.{number}:7",
            allowed=frozenset(address(1000 * number + index) for index in range(number % 9)),
        )
        for number in range(2, 40)
    ]
    observed = bring(device, wanted_device(*many))
    for peer in many:
        assert observed.peers[peer.public_key][:5] == peer
    with kernel.wireguard() as netlink:
        messages = list(netlink.info("wg0"))
    assert len(messages) > 1
    assert [message.get_attr("WGDEVICE_A_PUBLIC_KEY") is not None for message in messages] == [
        index == 0 for index in range(len(messages))
    ]


def test_a_peer_that_goes_on_in_the_next_message_keeps_what_the_first_said(kernel: FakeKernel) -> None:
    kernel.message_networks = 2
    device = KernelDevice("wg0", kernel.wireguard)
    peer = wanted_peer(2, preshared=1, keepalive=25, allowed=frozenset(address(number) for number in range(5)))
    bring(device, wanted_device(peer))
    kernel.handshake("wg0", public_key(2), ("2001:db8::5", 77))
    seen = device.read().peers[public_key(2)]
    assert seen.allowed_ips == peer.allowed_ips
    assert seen.preshared_key == peer.preshared_key
    assert (seen.endpoint, seen.persistent_keepalive) == (Endpoint.parse("[2001:db8::5]:77"), 25)
    assert (seen.received, seen.sent) == (148, 92)


def test_a_handshake_is_shown_in_unix_time_with_its_fraction(kernel: FakeKernel, device: KernelDevice) -> None:
    kernel.clock = lambda: 1_800_000_000.25
    bring(device, wanted_device(wanted_peer(2)))
    assert device.read().peers[public_key(2)].latest_handshake is None
    kernel.handshake("wg0", public_key(2), ("192.0.2.1", 4))
    assert device.read().peers[public_key(2)].latest_handshake == pytest.approx(1_800_000_000.25, abs=1e-3)


def test_the_kernel_s_zero_preshared_key_is_none(kernel: FakeKernel, device: KernelDevice) -> None:
    bring(device, wanted_device(wanted_peer(2)))
    assert kernel.interfaces["wg0"].peers[public_key(2)].preshared_key == bytes(32)
    assert device.read().peers[public_key(2)].preshared_key is None


def test_an_update_takes_the_preshared_key_away(device: KernelDevice) -> None:
    bring(device, wanted_device(wanted_peer(2, preshared=1)))
    device.apply(Plan(update=(wanted_peer(2),)))
    assert_holds(device.read(), wanted_device(wanted_peer(2)))


def test_a_removal_asks_for_nothing_but_the_removal(kernel: FakeKernel, device: KernelDevice) -> None:
    bring(device, wanted_device(wanted_peer(2)))
    kernel.calls.clear()
    device.apply(Plan(remove=(public_key(2),)))
    assert [call for _, call in kernel.calls] == [
        {"listen_port": None, "peer": {"public_key": str(public_key(2)), "remove": True}}
    ]


def test_peers_are_added_as_they_come(device: KernelDevice) -> None:
    bring(device, wanted_device())
    device.add(wanted_peer(number) for number in range(2, 5))
    assert_holds(device.read(), wanted_device(*(wanted_peer(number) for number in range(2, 5))))


def test_the_device_s_own_key_is_no_peer(device: KernelDevice) -> None:
    bring(device, wanted_device())
    device.add([wanted_peer(1)])
    assert device.read().peers == {}


def test_an_interface_of_another_kind_is_refused(kernel: FakeKernel) -> None:
    kernel.add_interface("eth0")
    with pytest.raises(DeviceRefused, match="eth0"):
        KernelDevice("eth0", kernel.wireguard).read()


def test_a_kernel_without_wireguard_says_what_to_choose(kernel: FakeKernel, device: KernelDevice) -> None:
    kernel.has_wireguard = False
    with pytest.raises(DeviceError, match="no WireGuard; choose boringtun"):
        device.read()


def test_a_process_that_may_not_is_told_what_it_needs(kernel: FakeKernel, device: KernelDevice) -> None:
    kernel.permitted = False
    for call in (device.read, lambda: device.holds(public_key(2)), lambda: device.apply(Plan(listen_port=1))):
        with pytest.raises(DeviceError, match="CAP_NET_ADMIN"):
            call()


def test_a_socket_that_is_forbidden_is_told_the_same_way() -> None:
    def forbidden() -> Any:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with pytest.raises(DeviceError, match="CAP_NET_ADMIN"):
        KernelDevice("wg0", forbidden).read()


def test_any_other_error_number_is_kept() -> None:
    def odd() -> Any:
        raise NetlinkError(errno.ENOBUFS, "No buffer space available")

    with pytest.raises(DeviceRefused, match="dmesg") as caught:
        KernelDevice("wg0", odd).apply(Plan(remove=(public_key(2),)))
    assert caught.value.errno == errno.ENOBUFS


def test_an_interface_that_goes_away_is_missing(kernel: FakeKernel, device: KernelDevice) -> None:
    bring(device, wanted_device())
    del kernel.interfaces["wg0"]
    with pytest.raises(DeviceMissing):
        device.read()


def test_no_socket_stays_open_after_an_error(kernel: FakeKernel, device: KernelDevice) -> None:
    kernel.ports_in_use.add(7)
    kernel.interfaces["wg0"].up = True
    with pytest.raises(DeviceRefused):
        device.apply(Plan(private_key(1), 7))
    assert kernel.open_sockets == 0


@pytest.mark.parametrize(
    "attributes",
    [
        [("WGDEVICE_A_PUBLIC_KEY", b64encode(bytes(32)).decode())],
        [("WGDEVICE_A_PEERS", [{"attrs": []}])],
    ],
    ids=["a key of low order", "a peer without a key"],
)
def test_a_message_that_makes_no_sense_is_an_error(attributes: list[tuple[str, Any]]) -> None:
    with pytest.raises(DeviceError, match="cannot be read"):
        assemble([as_received(wgmsg, {"cmd": 0, "version": 1}, attributes)])


def test_a_dump_without_messages_is_a_device_without_anything() -> None:
    assert assemble([])[:2] == (None, 0)


@pytest.mark.parametrize(
    "request_", [{"public_key": str(public_key(2)), "allowed_ip": []}, {"remove": True}, {"public_keys": ""}]
)
def test_the_fake_fails_on_names_that_pyroute2_would_pass_over(kernel: FakeKernel, request_: dict[str, Any]) -> None:
    with kernel.wireguard() as netlink, pytest.raises(AssertionError, match="names"):
        netlink.set("wg0", peer=request_)


def test_the_fake_fails_on_calls_that_it_does_not_know(kernel: FakeKernel) -> None:
    with kernel.wireguard() as netlink, pytest.raises(AssertionError, match="knows no"):
        netlink.dump()
    with kernel.iproute() as netlink, pytest.raises(AssertionError, match="knows no"):
        netlink.flush_addr()
    with kernel.iproute() as netlink, pytest.raises(AssertionError, match="names"):
        netlink.link("add", ifname="wg1", kind="wireguard", mtu=1420)


def test_an_address_moves_to_whom_it_was_given_last(device: KernelDevice) -> None:
    bring(device, wanted_device(wanted_peer(2), wanted_peer(3)))
    device.apply(Plan(update=(wanted_peer(3, allowed=networks(str(address(2)))),)))
    peers = device.read().peers
    assert peers[public_key(2)].allowed_ips == frozenset()
    assert peers[public_key(3)].allowed_ips == networks(str(address(2)))


def test_a_peer_with_more_networks_than_a_message_holds_is_set_whole(kernel: FakeKernel, device: KernelDevice) -> None:
    former = wanted_peer(2, preshared=2, keepalive=25, allowed=networks("172.16.0.0/12"))
    many = wanted_peer(2, preshared=2, keepalive=25, allowed=frozenset(address(number) for number in range(5000)))
    bring(device, wanted_device(former))
    wanted = wanted_device(many, wanted_peer(3, allowed=networks("192.0.2.3/32")))
    assert_holds(bring(device, wanted), wanted)


def test_a_dump_that_a_change_interrupts_is_read_again(kernel: FakeKernel, device: KernelDevice) -> None:
    kernel.message_peers = 3
    everyone = [wanted_peer(number) for number in range(2, 12)]
    bring(device, wanted_device(*everyone))
    changes = iter([public_key(5)])

    def remove_the_next() -> None:
        for key in changes:
            KernelDevice("wg0", kernel.wireguard).apply(Plan(remove=(key,)))

    kernel.between_messages = remove_the_next
    # The kernel ends such a dump at the peer that is gone: those after it are not gone.
    assert_holds(device.read(), wanted_device(*(peer for peer in everyone if peer.public_key != public_key(5))))


def test_a_device_that_never_holds_still_is_an_error_and_not_half_read(
    kernel: FakeKernel, device: KernelDevice
) -> None:
    kernel.message_peers = 3
    bring(device, wanted_device(*(wanted_peer(number) for number in range(2, 12))))
    kernel.between_messages = lambda: KernelDevice("wg0", kernel.wireguard).apply(Plan(listen_port=7))
    with pytest.raises(DeviceError, match="wg0 changes faster than it can be read; try again"):
        device.holds(public_key(11))


def test_a_port_that_is_taken_is_said_when_the_interface_comes_up(kernel: FakeKernel, device: KernelDevice) -> None:
    kernel.ports_in_use.add(51820)
    device.apply(Plan(private_key(1), 51820))
    with pytest.raises(DeviceRefused, match="its UDP port is in use"):
        Link(kernel.iproute).configure("wg0", IPv4Interface("10.220.0.1/14"), 1420)
