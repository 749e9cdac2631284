"""The component's own firewall: when it is wanted, and what of its settings is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from vpn.lib.component.shield import EVERYWHERE, FIRST_ONLY, PUBLISHED, SETTING, published, wanted
from vpn.lib.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path


def test_by_default_a_machine_with_other_tasks_keeps_its_visitors(tmp_path: Path) -> None:
    assert not wanted({}, tmp_path), "what cannot be seen is somebody's"
    (tmp_path / EVERYWHERE).touch()
    assert wanted({}, tmp_path)
    (tmp_path / FIRST_ONLY).touch()
    assert not wanted({}, tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces")
def test_another_network_namespace_is_told() -> None:
    code = "from vpn.lib.component.shield import wanted; print(wanted({}))"
    done = subprocess.run(["unshare", "--net", sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_it_can_be_chosen(tmp_path: Path) -> None:
    (tmp_path / EVERYWHERE).touch()
    assert not wanted({SETTING: "off"}, tmp_path)
    (tmp_path / FIRST_ONLY).touch()
    assert wanted({SETTING: "on"}, tmp_path)
    assert wanted({SETTING: "ON"}, tmp_path)
    with pytest.raises(InvalidInput, match="VPN_COMPONENT_FIREWALL=yes is none of on, off, auto"):
        wanted({SETTING: "yes"})


def test_published_ports_are_numbers_with_commas_between() -> None:
    assert published({}) == frozenset()
    assert published({PUBLISHED: "8888"}) == {8888}
    assert published({PUBLISHED: " 8888, 9000,"}) == {8888, 9000}
    for bad in ("x", "0", "65536", "8888 9000", "-1"):
        with pytest.raises(InvalidInput, match=r"VPN_PUBLISHED_PORTS=.*: not a port"):
            published({PUBLISHED: bad})
