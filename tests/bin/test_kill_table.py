"""``genconf --from`` and ``add --from``: killed, or on a failing disk, at each writing system call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bin.scripts import public_key
from tests.bin.test_kill import (
    Bench,
    Case,
    test_a_command_that_is_killed_leaves_the_old_or_the_new_state as test_all_or_none_is_there_after_a_kill,
    test_a_disk_that_fails_is_told_in_one_line,
)
from vpn.lib.hub import batches, peer_table

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bin.scripts import Scripts

pytestmark = pytest.mark.system

__all__ = ["test_a_disk_that_fails_is_told_in_one_line", "test_all_or_none_is_there_after_a_kill"]

TABLES = {
    "genconf": "type,id\nnode,a\nnode,b\nnode,node1\nresearcher,c\n",
    "add": f"type,id,key\nnode,node1,{public_key(1)}\nnode,node2,{public_key(3)}\nresearcher,node1,{public_key(4)}\n",
}


class TableBench(Bench):
    """Runs a command over a table."""

    def arguments(self, scripts: Scripts) -> tuple[str, ...]:
        command = self.case.arguments[0]
        path = scripts.elsewhere / "table.csv"
        path.write_text(TABLES[command])
        return (command, "--from", str(path))

    def again(self, folder: Path) -> None:
        command = self.case.arguments[0]
        columns = peer_table.KEYS if command == "add" else peer_table.REGISTRATIONS
        table = peer_table.parse(TABLES[command].encode(), "table.csv", columns)
        with self.open(folder) as hub:
            if command == "add":
                batches.add(hub, table)
            else:
                batches.genconf(hub, table)


@pytest.fixture(params=list(TABLES))
def bench(request: pytest.FixtureRequest, hub: Scripts) -> Bench:
    """A bench for each command."""
    return TableBench(hub, Case("hub", (request.param,)))
