"""What every device does alike: the kernel's and each daemon's, on the fake and on what it imitates."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from tests.contract.benches import (
    REAL,
    AnyBench,
    DaemonBench,
    FakeDaemonBench,
    FakeKernelBench,
    RealDaemonBench,
    RealKernelBench,
    bench,
)
from tests.contract.samples import (
    PORT,
    address,
    assert_holds,
    bring,
    networks,
    private_key,
    public_key,
    walks,
    wanted_device,
    wanted_peer,
)
from vpn.lib.errors import DeviceError, DeviceMissing, DeviceRefused, DeviceTimeout
from vpn.lib.wireguard.daemons import DAEMONS
from vpn.lib.wireguard.keys import PublicKey
from vpn.lib.wireguard.plan import Plan, plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vpn.lib.wireguard.types import WantedDevice

FAKES = ["fake-kernel", *(f"fake-{name}" for name in DAEMONS)]


@pytest.fixture(params=[*FAKES, *REAL])
def made(request: pytest.FixtureRequest) -> Iterator[AnyBench]:
    """Each implementation in turn."""
    with bench(request.param) as one:
        yield one


@pytest.fixture(params=[*FAKES[1:], *REAL[: len(DAEMONS)]])
def daemon(request: pytest.FixtureRequest) -> Iterator[DaemonBench]:
    """Each daemon in turn: the kernel never hangs."""
    with bench(request.param) as one:
        assert isinstance(one, FakeDaemonBench | RealDaemonBench)
        yield one


def test_a_fresh_device_has_no_key_and_no_peers(made: AnyBench) -> None:
    observed = made.device.read()
    assert observed.public_key is None
    assert observed.peers == {}


def test_a_device_takes_its_key_and_port(made: AnyBench) -> None:
    assert_holds(bring(made.device, wanted_device()), wanted_device())


def test_port_zero_leaves_the_port_to_the_device(made: AnyBench) -> None:
    before = bring(made.device, wanted_device(port=PORT))
    assert before.listen_port == PORT
    assert bring(made.device, wanted_device(port=0)).listen_port == PORT


def bring_to_another_key_or_port(made: AnyBench, wanted: WantedDevice) -> None:
    """Bring the device there, or see that one that cannot says so and stays as it was."""
    before = made.device.read()
    if takes_another_key(made):
        assert_holds(bring(made.device, wanted), wanted)
    else:
        with pytest.raises(DeviceError, match="restart it"):
            bring(made.device, wanted)
        assert made.device.read() == before


def takes_another_key(made: AnyBench) -> bool:
    return isinstance(made, FakeKernelBench | RealKernelBench) or made.daemon.dialect.rekeys


def test_a_port_can_be_changed_while_there_are_peers(made: AnyBench) -> None:
    bring(made.device, wanted_device(wanted_peer(2)))
    bring_to_another_key_or_port(made, wanted_device(wanted_peer(2), port=PORT + 7))


def test_the_key_and_port_that_it_has_can_be_given_again(made: AnyBench) -> None:
    wanted = wanted_device(wanted_peer(2))
    bring(made.device, wanted)
    made.device.apply(Plan(wanted.private_key, wanted.listen_port))
    assert_holds(made.device.read(), wanted)


def test_a_new_peer_has_no_handshake_and_no_traffic(made: AnyBench) -> None:
    peer = bring(made.device, wanted_device(wanted_peer(2, preshared=1))).peers[public_key(2)]
    assert (peer.latest_handshake, peer.received, peer.sent, peer.endpoint) == (None, 0, 0, None)


def test_a_peer_is_added_with_all_that_is_stated(made: AnyBench) -> None:
    allowed = networks("10.0.0.2/32", "10.9.0.0/16", "fd00:1::/64", "fd00:2::2/128", "0.0.0.0/0")
    peer = wanted_peer(2, preshared=1, allowed=allowed, endpoint="[2001:db8::7]:51821", keepalive=65535)
    seen = bring(made.device, wanted_device(peer)).peers[public_key(2)]
    assert seen[:5] == peer


def test_a_peer_without_networks_is_added(made: AnyBench) -> None:
    wanted = wanted_device(wanted_peer(2, allowed=networks()))
    assert_holds(bring(made.device, wanted), wanted)


def test_a_peer_with_many_networks_is_read_back_whole(made: AnyBench) -> None:
    many = frozenset(address(number) for number in range(1000, 1100))
    wanted = wanted_device(wanted_peer(2), wanted_peer(3, allowed=many), wanted_peer(4, preshared=4))
    assert_holds(bring(made.device, wanted), wanted)


def test_many_peers_are_added_changed_and_removed(made: AnyBench) -> None:
    everyone = [wanted_peer(number, preshared=number) for number in range(2, 1202)]
    wanted = wanted_device(*everyone)
    assert_holds(bring(made.device, wanted), wanted)
    changed = wanted_device(*(peer._replace(persistent_keepalive=25) for peer in everyone[:600]))
    assert_holds(bring(made.device, changed), changed)


def test_holds_says_whether_a_peer_is_there(made: AnyBench) -> None:
    bring(made.device, wanted_device(wanted_peer(2), wanted_peer(3)))
    assert made.device.holds(public_key(2))
    assert made.device.holds(public_key(3))
    assert not made.device.holds(public_key(4))
    assert not made.device.holds(private_key(1).public_key()), "the device's own key is no peer"


def test_a_removed_peer_is_gone_and_the_others_stay(made: AnyBench) -> None:
    bring(made.device, wanted_device(wanted_peer(2), wanted_peer(3, preshared=3), wanted_peer(4)))
    made.device.apply(Plan(remove=(public_key(2), public_key(4))))
    assert not made.device.holds(public_key(2))
    assert_holds(made.device.read(), wanted_device(wanted_peer(3, preshared=3)))


def test_removing_a_peer_that_is_not_there_does_no_harm(made: AnyBench) -> None:
    bring(made.device, wanted_device(wanted_peer(2)))
    made.device.apply(Plan(remove=(public_key(3), public_key(2), public_key(4))))
    assert_holds(made.device.read(), wanted_device())


@pytest.mark.parametrize(
    "after",
    [
        wanted_peer(2),
        wanted_peer(2, preshared=2, keepalive=25),
        wanted_peer(2, preshared=1, keepalive=0),
        wanted_peer(2, preshared=1, keepalive=25, allowed=networks("10.0.0.2/32", "10.5.0.0/16")),
        wanted_peer(2, preshared=1, keepalive=25, allowed=networks("10.0.0.3/32")),
        wanted_peer(2, preshared=1, keepalive=25, allowed=networks()),
    ],
    ids=["less", "preshared key", "keepalive", "one network more", "another network", "no network"],
)
def test_a_peer_that_is_there_is_brought_to_exactly_what_is_wanted(made: AnyBench, after: object) -> None:
    bystander = wanted_peer(9, preshared=9)
    bring(made.device, wanted_device(wanted_peer(2, preshared=1, keepalive=25), bystander))
    wanted = wanted_device(after, bystander)  # type: ignore[arg-type]  # the parameter has no type of its own
    assert_holds(bring(made.device, wanted), wanted)


def test_an_update_of_a_peer_that_is_not_there_adds_it(made: AnyBench) -> None:
    bring(made.device, wanted_device(wanted_peer(2)))
    made.device.apply(Plan(update=(wanted_peer(3, preshared=3, keepalive=25),)))
    assert_holds(made.device.read(), wanted_device(wanted_peer(2), wanted_peer(3, preshared=3, keepalive=25)))


def test_an_address_goes_from_a_peer_that_leaves_to_one_that_comes(made: AnyBench) -> None:
    bring(made.device, wanted_device(wanted_peer(2), wanted_peer(4)))
    wanted = wanted_device(wanted_peer(3, allowed=networks(str(address(2)))), wanted_peer(4))
    # The form that the hub uses: the former holder out, the new one in, in one plan.
    made.device.apply(Plan(remove=(public_key(2),), update=(wanted.peers[public_key(3)],)))
    assert_holds(made.device.read(), wanted)
    assert routed(made, 2) in (public_key(3).hex(), None)


def test_two_peers_that_stay_swap_their_addresses(made: AnyBench) -> None:
    bring(made.device, wanted_device(wanted_peer(2), wanted_peer(3)))
    swapped = wanted_device(
        wanted_peer(2, allowed=networks(str(address(3)))), wanted_peer(3, allowed=networks(str(address(2))))
    )
    assert_holds(bring(made.device, swapped), swapped)
    assert routed(made, 2) in (public_key(3).hex(), None)
    assert routed(made, 3) in (public_key(2).hex(), None)


def test_an_address_that_somebody_else_disputed_goes_back_to_its_peer(made: AnyBench) -> None:
    wanted = wanted_device(wanted_peer(2), wanted_peer(3))
    bring(made.device, wanted)
    # A stranger, as `wg set` by hand makes one, takes peer 2's address.
    made.device.apply(Plan(add=(wanted_peer(7, allowed=networks(str(address(2)))),)))
    assert_holds(bring(made.device, wanted), wanted)
    assert routed(made, 2) in (public_key(2).hex(), None)


def routed(made: AnyBench, number: int) -> str | None:
    """Which peer the packets to an address go to, in hex; None where only the device knows."""
    if isinstance(made, FakeDaemonBench):
        return made.server.daemon.routes.get(address(number), "nobody")
    if isinstance(made, FakeKernelBench):
        peers = made.kernel.interfaces["wg0"].peers
        return next((key.hex() for key, peer in peers.items() if address(number) in peer.allowed), "nobody")
    return None


def test_peers_of_all_shapes_added_at_once_keep_to_themselves(made: AnyBench) -> None:
    shapes = [
        wanted_peer(2 + index, preshared=preshared, endpoint=endpoint, keepalive=keepalive)
        for index, (preshared, endpoint, keepalive) in enumerate(
            (preshared, endpoint, keepalive)
            for preshared in (1, None, 2)
            for endpoint in ("192.0.2.1:1000", None, "192.0.2.2:1000")
            for keepalive in (25, 0, 60)
        )
    ]
    observed = bring(made.device, wanted_device(*shapes))
    for peer in shapes:
        assert observed.peers[peer.public_key][:5] == peer


def test_a_change_of_key_takes_the_peers_along(made: AnyBench) -> None:
    peers = [wanted_peer(number, preshared=number, keepalive=25) for number in range(2, 8)]
    bring(made.device, wanted_device(*peers))
    bring_to_another_key_or_port(made, wanted_device(*peers[1:], wanted_peer(20), key=9))


def test_a_peer_s_own_key_may_become_the_device_s(made: AnyBench) -> None:
    bring(made.device, wanted_device(wanted_peer(2), wanted_peer(3)))
    bring_to_another_key_or_port(made, wanted_device(wanted_peer(3), key=2))


def test_applying_a_plan_twice_changes_nothing(made: AnyBench) -> None:
    wanted = wanted_device(wanted_peer(2, preshared=2, keepalive=25), wanted_peer(3, endpoint="192.0.2.1:1"))
    first = Plan(wanted.private_key, wanted.listen_port, (), tuple(wanted.peers.values()), ())
    made.device.apply(first)
    once = made.device.read()
    made.device.apply(Plan(update=first.update))
    assert made.device.read() == once
    assert plan(wanted, once).empty


def test_an_empty_plan_asks_nothing_of_the_device(made: AnyBench) -> None:
    made.absent().apply(Plan())


def test_a_device_that_is_not_there_is_missing(made: AnyBench) -> None:
    absent = made.absent()
    with pytest.raises(DeviceMissing):
        absent.read()
    with pytest.raises(DeviceMissing):
        absent.holds(public_key(2))
    with pytest.raises(DeviceMissing):
        absent.apply(Plan(remove=(public_key(2),)))


def test_a_port_that_is_taken_is_refused_with_an_error_number(made: AnyBench) -> None:
    made.occupy(PORT)
    with pytest.raises(DeviceRefused) as caught:
        made.device.apply(Plan(private_key(1), PORT))
    # EADDRINUSE; gotatun says EINVAL.
    assert caught.value.errno in (98, 22)
    assert len(str(caught.value).splitlines()) == 1


def test_a_daemon_that_hangs_is_given_up_within_its_time_limit(daemon: DaemonBench) -> None:
    bring(daemon.device, wanted_device(wanted_peer(2)))
    hurried = daemon.hurried()
    daemon.freeze()
    try:
        for call in (hurried.read, lambda: hurried.holds(public_key(2)), lambda: hurried.apply(Plan(listen_port=9))):
            started = time.monotonic()
            with pytest.raises(DeviceTimeout):
                call()
            assert time.monotonic() - started < 5
    finally:
        daemon.thaw()
    assert daemon.device.holds(public_key(2)), "it goes on where it was"


def walk(made: AnyBench, steps: list[WantedDevice]) -> None:
    for step in steps:
        wanted = step if takes_another_key(made) else step._replace(private_key=private_key(1), listen_port=PORT)
        observed = bring(made.device, wanted)
        assert_holds(observed, wanted)
        assert plan(wanted, observed).empty


@pytest.mark.parametrize("name", FAKES)
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(steps=walks(4))
def test_a_random_walk_ends_at_what_is_wanted_after_each_step(name: str, steps: list[WantedDevice]) -> None:
    with bench(name) as made:
        walk(made, steps)


@pytest.mark.parametrize("name", REAL)
def test_a_random_walk_on_the_program_ends_at_what_is_wanted_after_each_step(name: str) -> None:
    with bench(name) as made:

        @settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
        @given(steps=walks(5))
        def steps_of_one_device(steps: list[WantedDevice]) -> None:
            walk(made, steps)

        steps_of_one_device()


def test_a_stranger_with_a_key_of_low_order_is_seen_and_removed(made: AnyBench) -> None:
    """The daemons take such a key from anybody; one that could not be read would stay for good."""
    bring(made.device, wanted_device())
    stranger = wanted_peer(1)._replace(public_key=PublicKey.observed(bytes(31) + b"\x80"))
    made.device.add([stranger])
    assert made.device.holds(stranger.public_key)
    assert_holds(bring(made.device, wanted_device()), wanted_device())
