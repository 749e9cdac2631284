"""The one netlink message: its bytes, and the kernel's answers."""

from __future__ import annotations

import errno
import struct

import pytest

from vpn.lib.nft.generation import REQUEST, parse


def answer(kind: int, *attributes: bytes) -> bytes:
    body = struct.pack("!BBH", 0, 0, 7) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 77) + body


def attribute(name: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), name) + value + bytes(-len(value) % 4)


NEWGEN = 10 << 8 | 15
GENERATION = attribute(1, struct.pack("!I", 41))


def test_the_request_is_a_getgen_of_nftables() -> None:
    assert struct.pack("=IHHII", 20, 0x0A10, 1, 1, 0) + bytes(4) == REQUEST


def test_the_number_is_found_among_other_attributes_whatever_their_length() -> None:
    # The kernel also tells the process that made the change, and its name.
    others = (attribute(2, struct.pack("!I", 1234)), attribute(3, b"nft\0x"))
    assert parse(answer(NEWGEN, GENERATION)) == 41
    assert parse(answer(NEWGEN, *others, GENERATION)) == 41


def test_an_error_is_told_with_its_number() -> None:
    refused = struct.pack("=IHHII", 36, 2, 0, 1, 77) + struct.pack("=i", -errno.EPERM) + REQUEST[:16]
    with pytest.raises(OSError, match="Operation not permitted") as caught:
        parse(refused)
    assert caught.value.errno == errno.EPERM


@pytest.mark.parametrize(
    "given",
    [
        b"",
        answer(NEWGEN)[:10],
        answer(NEWGEN),
        answer(NEWGEN, attribute(2, b"1234")),
        answer(3, GENERATION),
        answer(NEWGEN, GENERATION)[:-2],
        answer(NEWGEN, bytes(8)),
        struct.pack("=IHHII", 16, 2, 0, 1, 77),
    ],
)
def test_what_is_no_answer_is_an_error(given: bytes) -> None:
    with pytest.raises(OSError, match="an answer that is none"):
        parse(given)
