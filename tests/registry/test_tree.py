"""The config_peers tree."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.registry.snapshot import difference, mode_of, snapshot
from vpn.lib.errors import StateError
from vpn.lib.files import Owner
from vpn.lib.registry.peer import PeerName, PeerType
from vpn.lib.registry.tree import Tree

if TYPE_CHECKING:
    from pathlib import Path

NAME = PeerName(PeerType.NODE, "node1")
OTHER = PeerName(PeerType.RESEARCHER, "node1")
PLACES = ("config_peers", "config_peers/node", "config_peers/node/node1", "config_peers/node/node1/config.env")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """An empty tree."""
    return Tree(tmp_path)


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
@pytest.mark.parametrize("many", [False, True])
def test_modes_are_right_whatever_the_umask(tree: Tree, tmp_path: Path, umask: int, many: bool) -> None:
    before = os.umask(umask)
    try:
        if many:
            tree.write_all([(NAME, "a"), (OTHER, "b")])
        else:
            tree.write(NAME, "a")
    finally:
        os.umask(before)
    modes = {path.name: mode_of(path) for path in tmp_path.rglob("*")}
    assert {name: oct(mode) for name, mode in modes.items()} == {
        name: "0o600" if name == "config.env" else "0o700" for name in modes
    }
    assert tree.path(NAME).read_text() == "a"


def test_writing_replaces_and_tightens(tree: Tree) -> None:
    tree.write(NAME, "a")
    tree.path(NAME).chmod(0o644)
    tree.write(NAME, "b")
    assert tree.path(NAME).read_text() == "b"
    assert mode_of(tree.path(NAME)) == 0o600


def test_a_reader_keeps_the_file_that_it_opened(tree: Tree) -> None:
    tree.write(NAME, "old" * 1000)
    with tree.path(NAME).open() as file:
        tree.write(NAME, "new")
        assert file.read() == "old" * 1000


@pytest.mark.parametrize("place", PLACES)
def test_symbolic_links_on_the_way_are_refused_by_all(tree: Tree, tmp_path: Path, place: str) -> None:
    target = tmp_path / "target"
    target.mkdir()
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target / "config.env" if place.endswith("env") else target)
    before = snapshot(tmp_path)
    with pytest.raises(StateError, match="move it away, then try again"):
        tree.write(NAME, "x")
    with pytest.raises(StateError, match="move it away, then try again"):
        tree.write_all([(NAME, "x")])
    with pytest.raises(StateError, match="move it away, then try again"):
        tree.check(NAME)
    assert not tree.matches(NAME, "x")
    assert difference(before, snapshot(tmp_path)) == []


@pytest.mark.parametrize("place", PLACES[:3])
def test_deleting_follows_no_symbolic_link(tree: Tree, tmp_path: Path, place: str) -> None:
    tree.write(NAME, "x")
    (tmp_path / place).rename(tmp_path / "target")
    (tmp_path / place).symlink_to(tmp_path / "target")
    before = snapshot(tmp_path)
    with pytest.raises(StateError, match="symbolic link"):
        tree.delete(NAME)
    assert difference(before, snapshot(tmp_path)) == []


def test_a_planted_link_in_the_place_of_the_file_is_deleted_not_followed(tree: Tree, tmp_path: Path) -> None:
    tree.write(NAME, "x")
    tree.path(NAME).unlink()
    (tmp_path / "target").write_text("precious")
    tree.path(NAME).symlink_to(tmp_path / "target")
    tree.delete(NAME)
    assert (tmp_path / "target").read_text() == "precious"
    assert not tree.path(NAME).parent.exists()


@pytest.mark.parametrize("place", PLACES)
def test_a_file_or_folder_of_the_wrong_kind_is_refused(tree: Tree, tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if place.endswith("env"):
        path.mkdir()
    else:
        path.write_text("a file")
    with pytest.raises(StateError, match="move it away, then try again"):
        tree.write(NAME, "x")
    with pytest.raises(StateError, match="move it away, then try again"):
        tree.check(NAME)


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_leftover_temporary_file_is_replaced(tree: Tree, tmp_path: Path, kind: str) -> None:
    leftover = tree.path(NAME).with_name(".config.env.tmp")
    leftover.parent.mkdir(parents=True)
    if kind == "file":
        leftover.write_text("half")
        leftover.chmod(0o666)
    else:
        (tmp_path / "target").write_text("precious")
        leftover.symlink_to(tmp_path / "target")
    tree.write(NAME, "whole")
    assert tree.path(NAME).read_text() == "whole"
    assert mode_of(tree.path(NAME)) == 0o600
    assert not leftover.is_symlink()
    assert not leftover.exists()
    if kind == "link":
        assert (tmp_path / "target").read_text() == "precious"


def test_deleting_takes_its_own_and_leaves_the_rest(tree: Tree, tmp_path: Path) -> None:
    tree.write_all([(NAME, "a"), (OTHER, "b")])
    tree.delete(NAME)
    assert tree.path(OTHER).read_text() == "b"
    assert not tree.path(NAME).parent.exists()
    tree.delete(NAME)
    tree.path(OTHER).with_name("notes").touch()
    tree.delete(OTHER)
    assert [path.name for path in tree.path(OTHER).parent.iterdir()] == ["notes"]


def test_matches_wants_the_text_and_the_mode(tree: Tree) -> None:
    assert not tree.matches(NAME, "a")
    tree.write(NAME, "a")
    assert tree.matches(NAME, "a")
    assert not tree.matches(NAME, "b")
    tree.path(NAME).chmod(0o640)
    assert not tree.matches(NAME, "a")


def test_files_and_folders_belong_to_the_owner_that_is_asked_for(tmp_path: Path) -> None:
    # Not root: only one's own numbers can be asked for, which still walks the same way.
    owner = Owner(4242, 4243) if os.geteuid() == 0 else Owner(os.geteuid(), os.getegid())
    Tree(tmp_path, owner).write(NAME, "a")
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in tmp_path.rglob("*")}
    assert owners == {owner}
