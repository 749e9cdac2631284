"""Each fake daemon answers as the program does, request by request.

When a new release of a program behaves in another way, this says so; the library and its fake follow.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.contract.benches import fake_daemon, real_daemon
from tests.contract.samples import private_key, public_key
from tests.fakes.raw_uapi import CLOSED, SILENCE, ask
from vpn.lib.wireguard.daemons import DAEMONS

OWN, A, B = private_key(1), public_key(2).hex(), public_key(3).hex()
KEY = f"set=1\nprivate_key={OWN.hex()}"
PSK, ZERO = "ab" * 32, "0" * 64


def peer(key: str, *lines: str) -> str:
    """A peer's block of a request."""
    return "\n".join([f"public_key={key}", *lines])


def request(*blocks: str) -> str:
    """A set of these blocks."""
    return "\n".join(["set=1", *blocks])


FULL = (f"preshared_key={PSK}", "endpoint=192.0.2.1:5", "persistent_keepalive_interval=7", "allowed_ip=10.0.0.1/32")
ADD_A = request(peer(A, "allowed_ip=10.0.0.1/32"))

CASES: dict[str, tuple[str, ...]] = {
    "fresh": (),
    "key and port": (KEY + "\nlisten_port=5555",),
    "key and peer in one": (KEY + "\n" + peer(A),),
    "peer before the key": (ADD_A,),
    "removal before the key": (request(peer(A, "remove=true")),),
    "a whole peer": (KEY, request(peer(A, *FULL, "allowed_ip=fd00:1::/64"))),
    "nothing stated after a whole peer": (KEY, request(peer(A, *FULL), peer(B, "allowed_ip=10.0.0.2/32"))),
    "zeros for none": (KEY, request(peer(A, f"preshared_key={ZERO}", "persistent_keepalive_interval=0"))),
    "the order of a new peer's lines": (
        KEY,
        request(peer(A, "allowed_ip=10.0.0.1/32", "replace_allowed_ips=true", "allowed_ip=10.0.0.2/32")),
    ),
    "networks with host bits": (KEY, request(peer(A, "allowed_ip=10.0.0.1/24", "allowed_ip=fd00::5/64"))),
    "an address given to a second peer": (KEY, ADD_A, request(peer(B, "allowed_ip=10.0.0.1/32"))),
    "the former holder is removed": (
        KEY,
        ADD_A,
        request(peer(B, "allowed_ip=10.0.0.1/32")),
        request(peer(A, "remove=true")),
    ),
    "more networks for a peer that is there": (KEY, ADD_A, request(peer(A, "allowed_ip=10.0.0.2/32"))),
    "a peer that is there, replaced": (
        KEY,
        request(peer(A, *FULL)),
        request(
            peer(
                A,
                f"preshared_key={ZERO}",
                "persistent_keepalive_interval=0",
                "replace_allowed_ips=true",
                "allowed_ip=10.0.0.9/32",
            )
        ),
    ),
    "the same peer twice in one": (KEY, request(peer(A, "allowed_ip=10.0.0.1/32"), peer(A, "allowed_ip=10.0.0.2/32"))),
    "a removal": (KEY, ADD_A, request(peer(A, "remove=true"))),
    "two removals in one": (KEY, ADD_A, request(peer(B)), request(peer(A, "remove=true"), peer(B, "remove=true"))),
    "a removal of nobody": (KEY, ADD_A, request(peer(B, "remove=true"))),
    "a removal, then another peer in one": (
        KEY,
        ADD_A,
        request(peer(A, "remove=true"), peer(B, "allowed_ip=10.0.0.2/32")),
    ),
    "a removal, then the same peer in one": (
        KEY,
        ADD_A,
        request(peer(A, "remove=true"), peer(A, "allowed_ip=10.0.0.2/32")),
    ),
    "all peers replaced": (KEY, ADD_A, request("replace_peers=true", peer(B, "allowed_ip=10.0.0.2/32"))),
    "the device itself as a peer": (KEY, request(peer(OWN.public_key().hex(), "allowed_ip=10.0.0.1/32"))),
    "the key that it has, with peers": (KEY, ADD_A, KEY),
    "only an update, of nobody": (KEY, request(peer(A, "update_only=true", "allowed_ip=10.0.0.1/32"))),
    "an unknown line for the device": (KEY + "\nlisten_port=5555\nsomething=1",),
    "an unknown line for a peer": (KEY, request(peer(A, "allowed_ip=10.0.0.1/32", "something=1"))),
    "an unknown line for the second peer": (
        KEY,
        request(peer(A, "allowed_ip=10.0.0.1/32"), peer(B, "allowed_ip=10.0.0.2/32", "something=1")),
    ),
    "a line without a value": (KEY, request("nonsense")),
    "a key that is none": (KEY, request("public_key=zz")),
    "a network that is none": (KEY, request(peer(A, "allowed_ip=10.0.0.1/99"))),
    "a flag that is none": (KEY, request(peer(A, "remove=yes"))),
    "a command that is none": (KEY, "something=1"),
    "another version of get": (KEY, "get=2"),
}


class Seen(NamedTuple):
    """What came of a case: the answers, and what was shown afterwards, twice, or CLOSED or SILENCE."""

    answers: tuple[str, ...]
    afterwards: object
    once_more: object


def see(path: str, requests: tuple[str, ...]) -> Seen:
    """Send the requests of a case."""
    answers = tuple(ask(path, text) for text in requests)
    return Seen(answers, canonical(ask(path, "get=1")), canonical(ask(path, "get=1")))


def canonical(answer: str) -> object:
    """What an answer to get says, without the order of its peers and lines, and a port that nobody asked for."""
    if answer in (CLOSED, SILENCE):
        return answer
    head, *blocks = answer.replace("own_public_key=", "own=").split("public_key=")
    interface = {line for line in head.splitlines() if not (line.startswith("listen_port=") and "5555" not in line)}
    if blocks:
        blocks[-1], _, end = blocks[-1].rpartition("\n")
        interface.add(end)
    return frozenset(interface), frozenset((block[:64], frozenset(block[64:].split())) for block in blocks)


@pytest.mark.system
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", DAEMONS)
def test_the_fake_answers_as_the_program_does(name: str, case: str) -> None:
    with real_daemon(name) as real, fake_daemon(name) as fake:
        seen = see(str(real.path), CASES[case])
        assert see(str(fake.path), CASES[case]) == seen
