"""The plan between what is wanted and what is observed, on a model of a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, strategies as st

from tests.contract.samples import (
    PORT,
    address,
    assert_holds,
    networks,
    private_key,
    public_key,
    wanted_device,
    wanted_devices,
    wanted_peer,
)
from vpn.lib.wireguard.plan import Plan, plan
from vpn.lib.wireguard.types import Endpoint, ObservedDevice, ObservedPeer

if TYPE_CHECKING:
    from vpn.lib.wireguard.types import WantedDevice, WantedPeer


class Model:
    """A device as simple as can be: a plan is carried out in its order, and an address has one holder."""

    def __init__(self) -> None:
        self.observed = ObservedDevice(None, 40001, {})

    def apply(self, changes: Plan) -> None:
        """Carry the plan out."""
        key, port, held = self.observed
        peers = {public: peer for public, peer in held.items() if public not in changes.remove}
        if changes.private_key is not None:
            key = changes.private_key.public_key()
        for peer in changes.add:
            assert peer.public_key not in peers, "added, yet there already"
        for peer in (*changes.update, *changes.add):
            for other, there in tuple(peers.items()):
                peers[other] = there._replace(allowed_ips=there.allowed_ips - peer.allowed_ips)
            before = peers.get(peer.public_key)
            endpoint = peer.endpoint or (before and before.endpoint)
            peers[peer.public_key] = observed_peer(peer)._replace(endpoint=endpoint)
        self.observed = ObservedDevice(key, changes.listen_port or port, peers)


def observed_peer(peer: WantedPeer) -> ObservedPeer:
    """The peer as a device shows it."""
    return ObservedPeer(*peer, None, 0, 0)


def observed_device(*peers: WantedPeer, key: int = 1) -> ObservedDevice:
    """A device with these peers."""
    return ObservedDevice(public_key(key), PORT, {peer.public_key: observed_peer(peer) for peer in peers})


@given(st.lists(st.one_of(wanted_devices(same_key=True), wanted_devices()), min_size=1, max_size=4))
def test_applying_the_plan_gives_what_is_wanted_and_leaves_nothing_to_do(steps: list[WantedDevice]) -> None:
    model = Model()
    for wanted in steps:
        model.apply(plan(wanted, model.observed))
        assert_holds(model.observed, wanted)
        assert plan(wanted, model.observed).empty


@given(wanted_devices(same_key=True), wanted_devices(same_key=True))
def test_a_plan_names_differences_only(before: WantedDevice, after: WantedDevice) -> None:
    model = Model()
    model.apply(plan(before, model.observed))
    changes = plan(after, model.observed)
    assert changes.private_key is None
    assert set(changes.remove) == before.peers.keys() - after.peers.keys()
    assert {peer.public_key for peer in changes.add} == after.peers.keys() - before.peers.keys()
    for peer in changes.update:
        assert before.peers[peer.public_key] != after.peers[peer.public_key]


def test_a_fresh_device_is_given_everything() -> None:
    wanted = wanted_device(wanted_peer(2), wanted_peer(3))
    assert plan(wanted, ObservedDevice(None, 40001, {})) == Plan(
        private_key(1), PORT, (), (), (wanted_peer(2), wanted_peer(3))
    )


def test_port_zero_is_never_a_change() -> None:
    assert plan(wanted_device(port=0), ObservedDevice(public_key(1), 40001, {})).empty


def test_what_is_observed_only_takes_no_part() -> None:
    peer = wanted_peer(2, preshared=1)
    seen = observed_peer(peer)._replace(
        endpoint=Endpoint.parse("192.0.2.1:1"), latest_handshake=1.7e9, received=10**12, sent=10**12
    )
    assert plan(wanted_device(peer), ObservedDevice(public_key(1), PORT, {peer.public_key: seen})).empty


def test_an_endpoint_is_set_where_there_is_none_and_left_where_there_is_one() -> None:
    wanted = wanted_peer(2, endpoint="192.0.2.1:1")
    assert plan(wanted_device(wanted), observed_device(wanted_peer(2))).update == (wanted,)
    learnt = wanted_peer(2, endpoint="192.0.2.9:9")
    assert plan(wanted_device(wanted), observed_device(learnt)).empty


def test_a_peer_that_is_set_anew_keeps_the_endpoint_that_was_learnt() -> None:
    learnt = wanted_peer(2, endpoint="192.0.2.9:9")
    for endpoint in ("192.0.2.1:1", None):
        wanted = wanted_device(wanted_peer(2, endpoint=endpoint, keepalive=25))
        assert plan(wanted, observed_device(learnt)).update == (learnt._replace(persistent_keepalive=25),)
        assert plan(wanted._replace(private_key=private_key(9)), observed_device(learnt)).add == (
            learnt._replace(persistent_keepalive=25),
        )


def test_another_key_takes_every_peer_out_first_and_in_again() -> None:
    wanted = wanted_device(wanted_peer(2), wanted_peer(3), key=9)
    changes = plan(wanted, observed_device(wanted_peer(2), wanted_peer(7)))
    assert changes == Plan(private_key(9), None, (public_key(2), public_key(7)), (), (wanted_peer(2), wanted_peer(3)))


def test_whoever_is_wanted_at_a_disputed_address_is_set_anew() -> None:
    # As boringtun shows it after the address of 2 was given to 7.
    stranger = wanted_peer(7, allowed=networks(str(address(2))))
    wanted = wanted_device(wanted_peer(2), wanted_peer(3))
    changes = plan(wanted, observed_device(wanted_peer(2), wanted_peer(3), stranger))
    assert changes == Plan(remove=(public_key(7),), update=(wanted_peer(2),))


def test_a_dispute_between_peers_that_stay_sets_both_anew() -> None:
    both = networks(str(address(2)), str(address(3)))
    wanted = wanted_device(wanted_peer(2), wanted_peer(3))
    changes = plan(wanted, observed_device(wanted_peer(2, allowed=both), wanted_peer(3)))
    assert changes == Plan(update=(wanted_peer(2), wanted_peer(3)))


def test_only_a_plan_without_anything_is_empty() -> None:
    assert Plan().empty
    for changes in (
        Plan(private_key=private_key(1)),
        Plan(listen_port=1),
        Plan(remove=(public_key(2),)),
        Plan(update=(wanted_peer(2),)),
        Plan(add=(wanted_peer(2),)),
    ):
        assert not changes.empty


def test_a_plan_shows_no_secret() -> None:
    changes = plan(wanted_device(wanted_peer(2, preshared=1)), ObservedDevice(None, 0, {}))
    (peer,) = changes.add
    assert peer.preshared_key is not None
    for secret in (private_key(1), peer.preshared_key):
        assert secret.reveal() not in repr(changes)
        assert secret.hex() not in repr(changes)
