"""The WireGuard implementations that the central tests run over."""

import os

from tests.contract.benches import KERNELS
from vpn.lib.wireguard import daemons

DAEMONS = tuple(daemons.DAEMONS)
"""What can be killed, and can hang."""

ASKED = os.environ.get("LAB_WIREGUARD")
"""The one to run over, where it is named: a machine that is emulated is too slow for all of them."""

WIREGUARDS = (ASKED,) if ASKED else (*DAEMONS, *KERNELS)
"""What this machine can run: the kernel's too, where it has WireGuard."""

DEFAULT = ASKED or "boringtun"
"""For the tests that run over one."""
