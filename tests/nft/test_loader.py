"""Running nft: what it is given, what it prints, and all the ways in which it fails. The program is a stand-in."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from lab.network import wait_until
from vpn.lib.errors import FirewallError
from vpn.lib.nft import loader
from vpn.lib.nft.loader import Counter, Nft
from vpn.lib.nft.table import REMOVAL

if TYPE_CHECKING:
    from pathlib import Path

# What nft 1.0.6 prints.
NO_TABLE = "Error: No such file or directory\nlist table inet fedbiomed_vpn\n                ^^^^^^^^^^^^^\n"
NOT_PERMITTED = (
    "netlink: Error: cache initialization failed: Operation not permitted\nOperation not permitted (you must be root)\n"
)
NO_MODULE = "/dev/stdin:1:1-24: Error: Could not process rule: Operation not supported\ntable inet x\n^^^^^^^^\n"
NO_EXPRESSION = "/dev/stdin:9:3-29: Error: Could not process rule: No such file or directory\n\t\tlog prefix\n"


class Stand:
    """A program ``nft`` that notes what it is given, and says and does what it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nft = Nft({"PATH": str(folder), "LC_ALL": "de_DE.UTF-8", "SECRET": "x"})
        (folder / "nft").write_text(
            f"#!{sys.executable} -I\n"
            "import os, pathlib, sys, time\n"
            "here = pathlib.Path(__file__).parent\n"
            "(here / 'arguments').write_text(' '.join(sys.argv[1:]))\n"
            "(here / 'environ').write_text(' '.join(sorted(os.environ)) + ' ' + os.environ['LC_ALL'])\n"
            "(here / 'given').write_text(sys.stdin.read())\n"
            "if (here / 'hang').exists():\n"
            "    time.sleep(60)\n"
            "sys.stdout.write((here / 'out').read_text())\n"
            "sys.stderr.write((here / 'err').read_text())\n"
            "sys.exit(int((here / 'status').read_text()))\n"
        )
        (folder / "nft").chmod(0o755)
        self.says()

    def says(self, out: str = "", err: str = "", status: int = 0) -> None:
        for name, text in (("out", out), ("err", err), ("status", str(status))):
            (self.folder / name).write_text(text)

    def noted(self, name: str) -> str:
        return (self.folder / name).read_text()


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path)


def test_a_text_is_given_on_stdin_and_nothing_else_of_ours_goes_along(stand: Stand) -> None:
    stand.nft.load("table inet x {}\n")
    assert stand.noted("arguments") == "-f -"
    assert stand.noted("given") == "table inet x {}\n"
    assert stand.noted("environ") == "LC_ALL PATH C"


def test_the_table_is_removed_whether_it_is_there_or_not(stand: Stand) -> None:
    stand.nft.remove()
    assert stand.noted("given") == REMOVAL == "table inet fedbiomed_vpn\ndelete table inet fedbiomed_vpn\n"


def test_a_listing_is_of_our_table_without_what_its_counters_count(stand: Stand) -> None:
    stand.says("table inet fedbiomed_vpn {\n}\n")
    assert stand.nft.listing() == "table inet fedbiomed_vpn {\n}\n"
    assert stand.noted("arguments") == "--stateless list table inet fedbiomed_vpn"


def test_a_table_that_is_not_there_has_an_empty_listing_and_no_counters(stand: Stand) -> None:
    stand.says(err=NO_TABLE, status=1)
    assert stand.nft.listing() == ""
    assert stand.nft.counters() == {}


def test_counters_are_read(stand: Stand) -> None:
    stand.says(
        '{"nftables": [{"metainfo": {"json_schema_version": 1}}, {"counter": {"family": "inet", "name": "node_to_node",'
        ' "table": "fedbiomed_vpn", "handle": 5, "packets": 3, "bytes": 252}}]}'
    )
    assert stand.nft.counters() == {"node_to_node": Counter(3, 252)}
    assert stand.noted("arguments") == "--json list counters table inet fedbiomed_vpn"


@pytest.mark.parametrize(
    "out", ["", "{}", "[]", '{"nftables": [{"counter": {"name": "x"}}]}', '{"nftables": [{"counter": 1}]}']
)
def test_counters_that_are_none_are_refused(stand: Stand, out: str) -> None:
    stand.says(out)
    with pytest.raises(FirewallError, match="printed counters that are none"):
        stand.nft.counters()


@pytest.mark.parametrize(
    ("err", "saying"),
    [
        (NOT_PERMITTED, "run this as root, or with CAP_NET_ADMIN"),
        (NO_MODULE, "this kernel has no nf_tables, or not all .*modprobe nf_tables"),
        ("netlink: Error: cache initialization failed: Invalid argument\n", "this kernel has no nf_tables"),
        ("Unable to initialize Netlink socket: Protocol not supported\n", "this kernel has no nf_tables"),
        (NO_EXPRESSION, r"nft refused the rules \(/dev/stdin:9:3-29: Error: .*the kernel may lack a module"),
        ("", r"nft refused the rules \(without a word\)"),
        ("\x1b[2Jx" * 200, r"nft refused the rules \( \[2Jx"),
    ],
)
def test_what_nft_refuses_is_told_in_one_line_that_says_what_to_do(stand: Stand, err: str, saying: str) -> None:
    stand.says(err=err, status=1)
    calls = [lambda: stand.nft.load("x"), stand.nft.counters, stand.nft.listing]
    for call in calls if err != NO_EXPRESSION else calls[:1]:
        with pytest.raises(FirewallError, match=saying) as caught:
            call()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400


def test_a_missing_nft_is_told(tmp_path: Path) -> None:
    with pytest.raises(FirewallError, match=r"nft is not installed .*; install the package nftables"):
        Nft({"PATH": str(tmp_path)}).load("x")


def test_an_nft_that_does_not_start_is_told(stand: Stand) -> None:
    (stand.folder / "nft").write_text("#!/nowhere/python\n")
    with pytest.raises(FirewallError, match=r"nft does not start \(No such file or directory\)"):
        stand.nft.load("x")


def test_an_nft_that_ends_before_it_has_read_is_told_by_what_it_said(stand: Stand) -> None:
    (stand.folder / "nft").write_text("#!/bin/sh\necho Error: broken >&2\nexit 1\n")
    with pytest.raises(FirewallError, match=r"nft refused the rules \(Error: broken\)"):
        stand.nft.load("x" * 1_000_000)


def test_an_nft_that_hangs_is_ended(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    (stand.folder / "hang").touch()
    monkeypatch.setattr(loader, "LIMIT", 0.5)
    with pytest.raises(FirewallError, match="nft did not end within"):
        stand.nft.load("x")


def test_a_waiting_hub_can_end_its_nft_from_a_signal_handler(stand: Stand) -> None:
    (stand.folder / "hang").touch()

    def strike() -> None:
        wait_until(lambda: (stand.folder / "given").exists(), 20, "nft runs")
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: stand.nft.kill())
    try:
        thread = threading.Thread(target=strike)
        thread.start()
        with pytest.raises(FirewallError, match="nft refused the rules"):
            stand.nft.load("x")
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    stand.nft.kill()  # there is none, and that is well
