"""What only the kernel's device does, on the fake kernel and on the true one: dumps of many messages."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.contract.benches import REAL, FakeKernelBench, RealKernelBench, bench
from tests.contract.samples import address, assert_holds, bring, networks, public_key, wanted_device, wanted_peer
from vpn.lib.wireguard.daemons import DAEMONS
from vpn.lib.wireguard.plan import Plan, plan

if TYPE_CHECKING:
    from collections.abc import Iterator

KERNEL = REAL[len(DAEMONS) :]
NLM_F_DUMP_INTR = 0x10


@pytest.fixture(params=["fake-kernel", *KERNEL])
def kernel(request: pytest.FixtureRequest) -> Iterator[FakeKernelBench | RealKernelBench]:
    """The fake kernel's device, and the true one's where there is one."""
    with bench(request.param) as one:
        assert isinstance(one, FakeKernelBench | RealKernelBench)
        if isinstance(one, FakeKernelBench):
            # About as much as fits into a message of the true kernel's.
            one.kernel.message_peers, one.kernel.message_networks = 30, 130
        yield one


def test_thousands_of_peers_are_read_back_exactly(kernel: FakeKernelBench | RealKernelBench) -> None:
    # The fake is slow with many; its messages are put together all the same.
    count = 5000 if isinstance(kernel, RealKernelBench) else 1000
    wanted = wanted_device(
        *(
            wanted_peer(number, preshared=number, keepalive=number % 3, endpoint="192.0.2.1:7" if number % 2 else None)
            for number in range(2, 2 + count)
        )
    )
    observed = bring(kernel.device, wanted)
    assert_holds(observed, wanted)
    assert plan(wanted, observed).empty
    assert len(observed.peers) == count


def test_a_peer_that_is_split_over_messages_is_read_back_exactly(kernel: FakeKernelBench | RealKernelBench) -> None:
    """Among others, so that messages begin and end in the middle of it, and at it."""
    older = frozenset(address(number) for number in range(70000, 73000))
    newer = networks(*(f"fd00:{number:x}::/64" for number in range(2000)))
    many = wanted_peer(3, preshared=3, keepalive=25, endpoint="192.0.2.3:7", allowed=older | newer)
    others = [wanted_peer(number, preshared=number) for number in (2, *range(4, 60))]
    wanted = wanted_device(many, *others)
    observed = bring(kernel.device, wanted)
    assert_holds(observed, wanted)
    assert plan(wanted, observed).empty
    # All but a few of them taken away again.
    fewer = wanted_device(many._replace(allowed_ips=networks("fd00:7::/64")), *others)
    assert_holds(bring(kernel.device, fewer), fewer)


def test_a_dump_ends_at_a_peer_that_goes_meanwhile_and_says_so(kernel: FakeKernelBench | RealKernelBench) -> None:
    """Why the device reads such a dump again."""
    bring(kernel.device, wanted_device(*(wanted_peer(number) for number in range(2, 402))))
    with kernel.dump() as messages:
        first = next(messages)
        kernel.device.apply(Plan(remove=tuple(public_key(number) for number in range(30, 401))))
        rest = list(messages)
    assert not flags(first) & NLM_F_DUMP_INTR
    assert any(flags(message) & NLM_F_DUMP_INTR for message in rest)
    assert kernel.device.holds(public_key(401))
    assert bytes(public_key(401)) not in b"".join([first, *rest])


def flags(message: bytes) -> int:
    """Of a netlink message (netlink(7))."""
    return int(struct.unpack_from("=IHH", message)[2])
