"""A state directory that is damaged, too open, or not writable."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.bin.scripts import public_key
from tests.registry.snapshot import mode_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bin.scripts import Scripts

# Root may write everywhere; without its capabilities, modes count for root too.
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"] if os.geteuid() == 0 else []
COMMANDS = (["genconf", "node", "new"], ["list"], ["removeconf", "node", "node1"])


@pytest.fixture
def registry(hub: Scripts) -> Path:
    """The registry's file."""
    return hub.folder / "ip_assign" / "registry.db"


def test_a_damaged_registry_is_refused_with_the_ways_out_and_left_alone(hub: Scripts, registry: Path) -> None:
    whole = registry.read_bytes()
    ways_out = "is damaged .*; put back a copy of it, or move it away: the next command rebuilds it"
    problems: list[str] = []
    for content in (b"", whole[: len(whole) // 2], b"no database at all\n" * 500, bytes(len(whole)), b"x"):
        registry.write_bytes(content)
        for command in COMMANDS:
            problems += hub.refusal(*command, saying=ways_out)
    assert problems == []


def test_a_registry_of_a_newer_release_is_refused(hub: Scripts, registry: Path) -> None:
    with closing(sqlite3.connect(registry)) as database:
        database.execute("PRAGMA user_version = 99")
    problems: list[str] = []
    for command in COMMANDS:
        problems += hub.refusal(*command, saying="written by a newer release; install that release, or a later one")
    assert problems == []


def test_something_else_in_the_place_of_the_registry_is_refused(hub: Scripts, registry: Path) -> None:
    registry.rename(hub.elsewhere / "registry.db")
    registry.symlink_to(hub.elsewhere / "registry.db")
    problems = hub.refusal("list", saying="registry.db is a symbolic link; put the file itself there")
    registry.unlink()
    registry.symlink_to(hub.elsewhere / "nowhere")
    problems += hub.refusal("genconf", "node", "new", saying="registry.db is a symbolic link; put the file itself")
    registry.unlink()
    registry.mkdir()
    problems += hub.refusal("list", saying="registry.db.*is not a regular file; move it away")
    assert problems == []


def test_symbolic_links_in_the_place_of_folders_are_refused_and_not_followed(hub: Scripts) -> None:
    target = hub.elsewhere / "target"
    target.mkdir()
    places = {
        "config_peers/node/planted": ["genconf", "node", "planted"],
        "config_peers/management": ["genconf", "management", "mqtt"],
        "config_peers/node/node1": ["genconf", "node", "node1"],
    }
    problems: list[str] = []
    for place, command in places.items():
        path = hub.folder / place
        if path.exists():
            shutil.rmtree(path)
        path.symlink_to(target)
        problems += hub.refusal(*command, saying=f"{place} is a symbolic link or a file where a folder is due; move it")
        path.unlink()
    (hub.folder / "config_peers" / "node" / "node1").mkdir()
    (hub.folder / "config_peers/node/node1/config.env").symlink_to(target / "config.env")
    problems += hub.refusal("genconf", "node", "node1", saying="node1/config.env is not a regular file; move it away")
    assert problems == []
    assert not list(target.iterdir())


@pytest.mark.parametrize("name", ["ip_assign", "config_peers", "wireguard"])
def test_a_symbolic_link_in_the_place_of_a_top_folder_is_refused(hub: Scripts, name: str) -> None:
    (hub.folder / name).rename(hub.elsewhere / name)
    (hub.folder / name).symlink_to(hub.elsewhere / name)
    assert hub.refusal("genconf", "node", "new", saying=f"{name} is a symbolic link or a file where a folder") == []


def test_forgetting_a_peer_does_not_delete_through_a_symbolic_link(hub: Scripts) -> None:
    folder, target = hub.folder / "config_peers/node/node2", hub.elsewhere / "target"
    folder.rename(target)
    folder.symlink_to(target)
    outcome = hub.peer("removeconf", "node", "node2")
    assert outcome.status == 1
    assert "node2 is a symbolic link or a file where a folder is due; move it away" in outcome.err
    assert (target / "config.env").is_file()
    assert '"id": "node2"' in hub.done("list", "--json")
    # A planted link must not keep it in: its key can be taken away all the same.
    assert hub.peer("remove", "node", "node2").status == 0


def test_one_damaged_peer_file_hides_nothing(hub: Scripts) -> None:
    path = hub.folder / "config_peers/node/node1/config.env"
    before = path.read_bytes()
    for damage in (b"", before[: len(before) // 2], b"\xff\xfe", b"exportVPN_IP=1\n"):
        path.write_bytes(damage)
        peers = [(peer["type"], peer["id"]) for peer in json.loads(hub.done("list", "--json"))]
        assert peers == [("node", "node1"), ("node", "node2"), ("researcher", "node1")]
        hub.done("genconf", "node", "node1")
        assert path.read_bytes() == before


def test_loosened_modes_are_repaired_loudly(hub: Scripts, registry: Path) -> None:
    folders = [hub.folder / name for name in ("ip_assign", "wireguard", "config_peers")]
    for folder in folders:
        folder.chmod(0o755)
    registry.chmod(0o644)
    outcome = hub.peer("list")
    assert outcome.status == 0
    lines = outcome.err.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("configure_peer: warning: ") for line in lines)
    for path in [*folders, registry]:
        assert any(f"{path} was open to other users; its mode is" in line for line in lines)
    assert [mode_of(folder) for folder in folders] == [0o700] * 3
    assert mode_of(registry) == 0o600
    hub.done("list")


@pytest.mark.parametrize("umask", ["0", "077", "0777"])
def test_modes_do_not_depend_on_the_umask(fresh: Scripts, umask: str) -> None:
    through = ["sh", "-c", f'umask {umask}; exec "$@"', "sh"]
    fresh.done("genconf", "node", "node1", through=through)
    fresh.done("add", "node", "node1", public_key(1), through=through)
    modes = {str(path.relative_to(fresh.folder)): mode_of(path) for path in fresh.folder.rglob("*")}
    del modes["config.env"]
    assert {name: oct(mode) for name, mode in modes.items()} == {
        name: "0o700" if (fresh.folder / name).is_dir() else "0o600" for name in modes
    }
    assert "ip_assign/registry.db" in modes


def test_leftover_temporary_files_are_ignored_and_cleaned(hub: Scripts) -> None:
    leftovers = [
        hub.folder / "config_peers/node/node1/.config.env.tmp",
        hub.folder / "config_peers/node/new/.config.env.tmp",
    ]
    for path in leftovers:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
        path.chmod(0o644)
    hub.done("genconf", "node", "node1")
    hub.done("genconf", "node", "new")
    assert not any(path.exists() for path in leftovers)
    leftovers[0].write_text("half")
    hub.done("removeconf", "node", "node1")
    assert not leftovers[0].parent.exists()


def test_a_leftover_of_a_registry_in_the_making_is_replaced(fresh: Scripts) -> None:
    (fresh.folder / "ip_assign").mkdir(mode=0o700)
    leftover = fresh.folder / "ip_assign/.registry.db.tmp"
    leftover.write_text("half")
    log = fresh.folder / "ip_assign/registry.db-wal"
    log.write_text("of another registry")
    log.chmod(0o600)
    fresh.done("genconf", "node", "node1")
    assert not leftover.exists()
    assert "node1" in fresh.done("list")


def test_a_folder_that_may_not_be_written_is_named(hub: Scripts) -> None:
    peers = hub.folder / "config_peers" / "node"
    peers.chmod(0o500)
    problems = []
    outcome = hub.peer("genconf", "node", "new", through=POWERLESS)
    if outcome.status != 1 or outcome.err.count("\n") != 1 or "cannot write" not in outcome.err:
        problems.append(outcome)
    peers.chmod(0o700)
    assert problems == []
    # The registration was durable before; the retry writes the file.
    hub.done("genconf", "node", "new")
    assert (peers / "new" / "config.env").is_file()


def test_a_state_directory_that_may_not_be_written_is_named(fresh: Scripts) -> None:
    fresh.folder.chmod(0o500)
    problems = fresh.refusal(
        "genconf", "node", "a", through=POWERLESS, saying="cannot prepare .*Permission denied; run"
    )
    fresh.folder.chmod(0o700)
    assert problems == []


def test_a_registry_that_may_not_be_written_is_named(hub: Scripts, registry: Path) -> None:
    registry.chmod(0o400)
    registry.parent.chmod(0o500)
    saying = "registry.db: it cannot be (written|opened).*writable"
    problems = hub.refusal("genconf", "node", "new", through=POWERLESS, saying=saying)
    registry.parent.chmod(0o700)
    registry.chmod(0o000)
    problems += hub.refusal("list", through=POWERLESS, saying="registry.db: it cannot be opened; check that")
    assert problems == []
