"""The generation of the rule set: whether anybody changed anything, for the price of one netlink message.

Running ``nft`` to look takes a process each time; this takes microseconds, so that the daemons can look often.
"""

from __future__ import annotations

import os
import socket
import struct

from vpn.lib.errors import FirewallError

# linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
NETLINK_NETFILTER = 12
NLM_F_REQUEST, NLMSG_ERROR = 1, 2
NFNL_SUBSYS_NFTABLES = 10
NFT_MSG_NEWGEN, NFT_MSG_GETGEN = 15, 16
NFTA_GEN_ID = 1

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_FAMILY = struct.Struct("!BBH")  # struct nfgenmsg: family, version, resource
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type

REQUEST = _HEADER.pack(
    _HEADER.size + _FAMILY.size, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, NLM_F_REQUEST, 1, 0
) + _FAMILY.pack(0, 0, 0)


def generation() -> int:
    """A number that is another one after each change of any table in this network namespace.

    Raises FirewallError where the kernel has no nf_tables, or this process may not ask.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as link:
            link.settimeout(2.0)
            link.send(REQUEST)
            return parse(link.recv(65536))
    except OSError as error:
        raise FirewallError(
            f"the kernel does not tell the state of nf_tables ({error.strerror or 'no answer'}); it needs the module"
            " nf_tables, and this process CAP_NET_ADMIN"
        ) from error


def parse(answer: bytes) -> int:
    """The number in the kernel's answer. Raises OSError for an error, and for what is no such answer."""
    try:
        length, kind, _, _, _ = _HEADER.unpack_from(answer)
        if kind == NLMSG_ERROR:
            (code,) = struct.unpack_from("=i", answer, _HEADER.size)
            raise OSError(-code, os.strerror(-code))
        position = _HEADER.size + _FAMILY.size
        while kind == NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN and position < length:
            size, name = _ATTRIBUTE.unpack_from(answer, position)
            if name == NFTA_GEN_ID:
                (number,) = struct.unpack_from("!I", answer, position + _ATTRIBUTE.size)
                return int(number)
            # Attributes are aligned to 4 bytes; one of no length would never end.
            position += max(size + 3 & ~3, _ATTRIBUTE.size)
    except struct.error:
        pass
    raise OSError(0, "an answer that is none")
