"""``clean``: what goes at which level, what stays, and what it does not touch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.deploy.host import mode
from vpn.lib.deploy.removal import measure, remove
from vpn.lib.errors import StateError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.host import Host

STATE = (
    "vpnserver/run_mounts/config/ip_assign/registry.db",
    "vpnserver/run_mounts/config/wireguard/wg0.conf",
    "mqtt/run_mounts/config/wireguard/private.key",
    "mqtt/run_mounts/data/mosquitto.db",
    "restful/run_mounts/app/db.sqlite3",
    "restful/run_mounts/app/db.sqlite3-wal",
    "restful/run_mounts/app/uploads/a/b.pt",
    "restful/run_mounts/app/secret_key",
    "node/run_mounts/data/MNIST/images",
    "node/run_mounts/fbm-node/etc/config.ini",
    "researcher/run_mounts/config/notebook/token",
    "researcher/run_mounts/data/results",
    "researcher/run_mounts/fbm-researcher/x",
)


@pytest.fixture
def used(running: Host) -> Host:
    """A consortium with state in every folder."""
    for name in STATE:
        path = running.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" * 10)
    return running


def tree(folder: Path) -> set[str]:
    """The files in a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def test_level_1_is_the_containers(used: Host) -> None:
    before = tree(used.folder)
    said = used.done("clean", "1", "--yes")
    assert used.state["containers"] == {}
    assert tree(used.folder) == before
    assert "  container  fedbiomed-vpn-node\n" in said
    assert "images" not in said


def test_level_2_is_also_configuration_and_data(used: Host) -> None:
    before, hub = tree(used.folder), used.config("vpnserver").read_text()
    said = used.done("clean", "2", "--yes")
    left = tree(used.folder)
    assert {name for name in before - left if name in STATE} == set(STATE)
    assert all(name in STATE or "config_peers" in name for name in before - left)
    assert used.config("vpnserver").read_text() == hub
    for name in ("mqtt", "restful", "node", "researcher"):
        assert used.config(name).read_bytes() == b"\n"
        assert mode(used.config(name)) == 0o600
        assert f"  emptied    {used.config(name)}\n" in said
    assert f"  files      {used.folder}/restful/run_mounts/app: 4 files, 40 B\n" in said
    assert not any(
        (used.folder / "vpnserver/run_mounts/config" / name).exists() for name in ("config_peers", "ip_assign")
    )
    assert used.state["images"].keys() == {
        f"fedbiomed/vpn-{name}" for name in ("base", "vpnserver", "mqtt", "restful", "node", "researcher")
    }


def test_level_3_is_also_the_images(used: Host) -> None:
    used.done("clean", "3", "--yes", "node", "mqtt", "restful", "researcher")
    assert used.state["images"].keys() == {"fedbiomed/vpn-base", "fedbiomed/vpn-vpnserver"}
    used.done("clean", "3", "--yes")
    assert used.state["images"] == {}
    assert used.done("clean", "3", "--yes") == "there is nothing to clean\n"


def test_one_component(used: Host) -> None:
    before = tree(used.folder)
    used.done("clean", "2", "--yes", "node")
    assert all(name.startswith("node/") for name in before - tree(used.folder))
    assert "fedbiomed-vpn-mqtt" in used.state["containers"]


def test_after_a_clean_it_starts_anew(used: Host) -> None:
    used.done("clean", "2", "--yes")
    used.set(peers={})
    used.done("start")
    assert used.state["peers"]["node node1"]["state"] == "active"


def test_without_a_terminal_it_wants_yes(used: Host) -> None:
    before = tree(used.folder)
    outcome = used.run("clean", "2", stdin="yes\n")
    assert outcome.status == 1
    assert "nobody is there to ask (no terminal); nothing is destroyed, --yes" in outcome.err
    assert tree(used.folder) == before
    assert used.state["containers"]


@pytest.mark.parametrize(("answer", "code"), [("yes", 0), ("no", 1), ("", 1), ("y", 1)])
def test_it_asks(used: Host, answer: str, code: int) -> None:
    outcome = used.on_terminal("clean", "1", answers=[("Type yes to destroy it:", answer)])
    assert outcome.status == code
    assert (used.state["containers"] == {}) == (code == 0)
    assert ("the answer was not yes; nothing is destroyed" in outcome.out) == (code == 1)


@pytest.mark.parametrize("level", ["0", "4", "all"])
def test_levels_are_three(host: Host, level: str) -> None:
    assert "`fedbiomed_vpn clean --help`" in host.run("clean", level).err


def test_a_link_in_the_data_is_removed_and_not_followed(used: Host, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").write_text("mine")
    (used.folder / "node/run_mounts/data/link").symlink_to(mine)
    used.done("clean", "2", "--yes", "node")
    assert (mine / "file").read_text() == "mine"
    assert tree(used.folder / "node/run_mounts/data") == {".gitkeep"}


@pytest.mark.parametrize("place", ["data", "fbm-node", "config/wireguard"])
def test_a_link_in_the_place_of_a_folder_stops_it_before_anything_is_gone(
    used: Host, tmp_path: Path, place: str
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").write_text("mine")
    folder = used.folder / "node/run_mounts" / place
    if folder.exists():
        folder.rename(tmp_path / "away")
    folder.symlink_to(mine)
    line = used.refused("clean", "2", "--yes", "node")
    assert f"{folder} is a symbolic link or a file where a folder is due" in line
    assert (mine / "file").read_text() == "mine"
    assert "fedbiomed-vpn-node" in used.state["containers"]


def test_an_image_that_is_in_use(used: Host) -> None:
    used.set(image_in_use="fedbiomed/vpn-node")
    outcome = used.run("clean", "3", "--yes", "node")
    assert outcome.status == 1
    assert "fedbiomed/vpn-node stays: " in outcome.err
    assert "remove the containers that use it" in outcome.err


class TestRemoval:
    """On folders alone."""

    def test_a_gitkeep_keeps_its_folder_and_nothing_else(self, tmp_path: Path) -> None:
        for name in ("data/.gitkeep", "data/a/b/c", "data/a/.gitkeep", "data/d/e", "data/f"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (contents,) = measure(tmp_path, [("data",), ("none",), ("none", "either")])
        assert (contents.path, contents.files) == ("data", 3)
        remove(tmp_path, contents)
        assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} == {
            "data",
            "data/.gitkeep",
            "data/a",
            "data/a/.gitkeep",
        }
        assert measure(tmp_path, [("data",)]) == []

    def test_empty_folders_are_something(self, tmp_path: Path) -> None:
        (tmp_path / "data/inner").mkdir(parents=True)
        (contents,) = measure(tmp_path, [("data",)])
        remove(tmp_path, contents)
        assert not (tmp_path / "data").exists()

    def test_sockets_and_pipes_are_removed(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        os.mkfifo(tmp_path / "data/pipe")
        (contents,) = measure(tmp_path, [("data",)])
        remove(tmp_path, contents)
        assert not (tmp_path / "data").exists()

    def test_another_file_system_is_not_entered(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "data/mounted").mkdir(parents=True)
        (tmp_path / "data/mounted/file").touch()
        real = os.fstat
        inode = (tmp_path / "data/mounted").stat().st_ino

        def fstat(descriptor: int) -> os.stat_result:
            status = real(descriptor)
            if status.st_ino != inode:
                return status
            return os.stat_result((*status[:2], status.st_dev + 1, *status[3:10]))

        monkeypatch.setattr(os, "fstat", fstat)
        with pytest.raises(StateError, match="mounted is another file system that is mounted there; unmount it"):
            measure(tmp_path, [("data",)])
        assert (tmp_path / "data/mounted/file").exists()


def test_what_this_account_may_not_remove_is_named_before_anything_is_gone(
    used: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tests may run as root, whom nothing is forbidden: the questions to the system are answered as to another.
    locked = used.folder / "node/run_mounts/data/MNIST"
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(os, "access", lambda path, _: os.readlink(path) != str(locked))
    with pytest.raises(StateError, match=r"MNIST/images is not yours to remove \(user \d+'s\); clean as that user"):
        measure(used.folder, [("node", "run_mounts", "data")])
