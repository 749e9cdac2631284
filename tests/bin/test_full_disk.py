"""Every command on a disk without a byte left: told in one line, nothing changed, and the next try succeeds."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.bin.scripts import Scripts, public_key
from tests.registry import schema1
from tests.registry.stored import peer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system

COMMANDS = {
    "genconf": ["genconf", "node", "new"],
    "add": ["add", "node", "node1", public_key(1)],
    "remove": ["remove", "node", "node2"],
    "remove --leaked": ["remove", "node", "node2", "--leaked"],
    "removeconf": ["removeconf", "node", "node2"],
    "backup": ["backup", "{folder}/new", "--plain"],
    "restore": ["restore", "{elsewhere}/saved"],
    "a migration": ["list"],
    "a table": ["genconf", "--from", "{elsewhere}/peers.csv"],
    "export with a new key": ["export", "node", "node2", "--make-key", "--output", "{folder}/laptop.conf"],
    "export --all": ["export", "--all", "{folder}/all"],
}


@pytest.fixture
def small(hub: Scripts) -> Iterator[Scripts]:
    """The hub on a disk of 4 MiB, with a backup of another state elsewhere."""
    assert hub.peer("backup", hub.elsewhere / "saved", "--plain").status == 0
    hub.done("genconf", "node", "node3")
    (hub.elsewhere / "peers.csv").write_text("type,id\nnode,new1\nnode,new2\n")
    disk = hub.elsewhere / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "none", str(disk)], check=True)
    shutil.copytree(hub.folder, disk / "config")
    yield Scripts(disk / "config", hub.elsewhere)
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(folder: Path) -> Path:
    """Use up what is left, to the last byte and the last inode's page."""
    path = folder.parent / "others"
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return path
    raise AssertionError("the disk never filled up")


def peers(scripts: Scripts) -> dict[tuple[str, str], tuple[str, str | None]]:
    """Who is registered, where, and with which key."""
    listed = json.loads(scripts.peer("list", "--json").out)
    return {(item["type"], item["id"]): (item["address"], item["public_key"]) for item in listed}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_on_a_full_disk_is_refused_and_succeeds_with_room(small: Scripts, name: str) -> None:
    command = [argument.format(folder=small.folder, elsewhere=small.elsewhere) for argument in COMMANDS[name]]
    registry = small.folder / "ip_assign" / "registry.db"
    before: dict[tuple[str, str], tuple[str, str | None]]
    if name == "a migration":
        registry.unlink()
        schema1.write(registry, peer(2))
        before = {("node", "node2"): ("10.221.0.2", None)}
    else:
        before = peers(small)
    others = fill(small.folder)
    outcome = small.peer(*command)
    assert outcome.status == 1
    assert re.fullmatch(r"configure_peer: .*(full|No space left|free space|cannot be opened).*\n", outcome.err), outcome
    assert outcome.out == ""
    assert not (small.folder / "laptop.conf").exists()
    assert not (small.folder / "all").exists()
    others.unlink()
    assert peers(small) == before
    again = small.peer(*command)
    assert (again.status, "Traceback" in again.err) == (0, False), again
    assert small.done("audit", "--verify").startswith("whole: ")
    if name == "backup":
        assert peers(small) == before
        assert small.peer("restore", small.folder / "new").status == 0


def test_a_full_disk_is_told_by_the_hub_that_starts(small: Scripts) -> None:
    before = peers(small)
    others = fill(small.folder)
    outcome = small.run("vpn_server")
    assert outcome.status == 1
    assert outcome.err.count("\n") == 1
    assert re.search(r"full|No space left|free space", outcome.err), outcome
    others.unlink()
    assert peers(small) == before
