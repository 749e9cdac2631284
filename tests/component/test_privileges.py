"""What an application does not inherit."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import subprocess
from vpn.lib.component.privileges import without_ambient_capabilities

def show():
    subprocess.run(["grep", "CapAmb", "/proc/self/status"], check=True)

show()
with without_ambient_capabilities():
    show()
show()
try:
    with without_ambient_capabilities():
        raise OSError
except OSError:
    show()
"""


def shown(*prefix: str) -> list[int]:
    done = subprocess.run([*prefix, sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    return [int(line.split()[1], 16) for line in done.stdout.splitlines()]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a capability to give up")
def test_the_ambient_capability_is_given_up_for_the_application_alone() -> None:
    net_admin = 1 << 12
    ambient = ["setpriv", "--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin", "--"]
    assert shown(*ambient) == [net_admin, 0, net_admin, net_admin]


def test_where_there_is_none_nothing_is_done() -> None:
    assert shown() == [0, 0, 0, 0]
