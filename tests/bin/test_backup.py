"""``backup`` and ``restore`` from the command line."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.bin.scripts import Scripts, public_key
from tests.registry.snapshot import mode_of, secrets, snapshot
from vpn.lib.hub.backup_file import Contents, pack, unpack

if TYPE_CHECKING:
    from pathlib import Path

PASSPHRASE = b"correct horse"


@pytest.fixture
def passphrase(hub: Scripts) -> Path:
    """The file that holds it."""
    path = hub.elsewhere / "passphrase"
    path.write_bytes(PASSPHRASE + b"\n")
    return path


@pytest.fixture
def made(hub: Scripts, passphrase: Path) -> Path:
    """A backup of the hub with its policy; after it node2 has left, node1 has a key, and there is a node3."""
    (hub.folder / "policy.toml").write_text("allow = []\n")
    path = hub.elsewhere / "backup"
    hub.done("backup", path, "--passphrase-file", passphrase)
    hub.done("removeconf", "node", "node2")
    hub.done("add", "node", "node1", public_key(1))
    hub.done("genconf", "node", "node3")
    (hub.folder / "policy.toml").unlink()
    (hub.folder / "config.env").write_text("export VPN_SERVER_PUBLIC_ADDR=other.example.org\n")
    return path


def everything(scripts: Scripts) -> tuple[object, str, dict[str, str]]:
    """Peers, the hub's key, and what is handed out."""
    told = json.loads(scripts.done("list", "--json")), scripts.done("public-key")
    tree = scripts.folder / "config_peers"
    files = {str(path.relative_to(tree)): path.read_text() for path in sorted(tree.glob("*/*/config.env"))}
    return *told, files


def repacked(made: Path, **files: bytes | None) -> bytes:
    """The backup with other contents, sealed again."""
    contents = unpack(made.read_bytes(), "b", lambda: PASSPHRASE)
    changed = {**contents.files, **{name.replace("_", "."): data for name, data in files.items()}}
    kept = {name: data for name, data in changed.items() if data is not None}
    return pack(Contents(contents.made, kept), PASSPHRASE)


def with_registry(made: Path, *statements: str) -> bytes:
    """The backup with statements executed on its registry."""
    contents = unpack(made.read_bytes(), "b", lambda: PASSPHRASE)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.deserialize(contents.files["registry.db"])
        for statement in statements:
            database.execute(statement)
        return repacked(made, registry_db=database.serialize())


def test_a_backup_holds_no_secret_in_the_open(hub: Scripts, made: Path) -> None:
    raw = made.read_bytes()
    known = secrets(hub.folder)
    assert len(known) >= 4
    assert not any(secret.encode() in raw or bytes.fromhex(secret) in raw for secret in known if len(secret) == 64)
    assert mode_of(made) == 0o600
    assert [path.name for path in made.parent.iterdir() if path.name.startswith(".")] == []


def test_a_plain_backup_says_what_it_is(hub: Scripts) -> None:
    outcome = hub.peer("backup", hub.elsewhere / "plain", "--plain")
    assert outcome.status == 0
    assert outcome.err == "configure_peer: warning: it is not encrypted and holds all secrets of this hub\n"
    assert mode_of(hub.elsewhere / "plain") == 0o600
    before = everything(hub)
    hub.done("removeconf", "node", "node2")
    assert "restored as of" in hub.done("restore", hub.elsewhere / "plain")
    assert everything(hub) == before


def test_a_backup_and_who_made_it_are_in_the_log(hub: Scripts, made: Path) -> None:
    assert f"backup to {made}" in hub.done("audit")
    hub.done("backup", "relative", "--passphrase-file", "-", stdin=b"x")
    assert f"backup to {hub.elsewhere / 'relative'}" in hub.done("audit")


def test_a_restored_hub_is_the_one_of_the_backup(hub: Scripts, passphrase: Path) -> None:
    (hub.folder / "policy.toml").write_text("allow = []\n")
    path = hub.elsewhere / "backup"
    hub.done("backup", path, "--passphrase-file", passphrase)
    before = everything(hub)
    hub.done("removeconf", "node", "node2")
    hub.done("genconf", "node", "node3")
    (hub.folder / "policy.toml").unlink()
    (hub.folder / "config.env").write_text("export VPN_SERVER_PUBLIC_ADDR=other.example.org\n")
    hub.done("genconf", "node", "node1")
    outcome = hub.peer("restore", path, "--passphrase-file", passphrase)
    assert (outcome.status, outcome.err) == (0, "")
    assert ", 3 components\n" in outcome.out
    assert "In by the keys of the backup, and not so before: node node2\n" in outcome.out
    assert everything(hub) == before
    assert (hub.folder / "policy.toml").read_text() == "allow = []\n"
    assert "hub.example.org" in (hub.folder / "config.env").read_text()
    assert "node2" in (hub.folder / "wireguard" / "wg0.conf").read_text()
    assert hub.done("audit", "--verify").startswith("whole: ")
    assert "restore of the backup of " in hub.done("audit").splitlines()[-1]
    for file in hub.folder.rglob("*"):
        if file.name != "config.env" or file.parent != hub.folder:
            assert mode_of(file) in (0o600, 0o700), file


def test_what_was_there_is_kept_and_can_be_used(hub: Scripts, made: Path, passphrase: Path) -> None:
    before = everything(hub)
    out = hub.done("restore", made, "--passphrase-file", passphrase)
    (kept,) = hub.folder.glob("backup-*")
    assert f"What was here before is in {kept}, with its secrets." in out
    assert everything(hub) != before
    assert everything(Scripts(kept, hub.elsewhere)) == before
    assert {mode_of(path) for path in [kept, *kept.rglob("*")]} == {0o600, 0o700}


@pytest.mark.parametrize("lost", ["everything", "registry", "damaged registry", "halved registry", "newer registry"])
def test_a_hub_that_lost_its_state_is_restored(hub: Scripts, passphrase: Path, lost: str) -> None:
    before = everything(hub)
    hub.done("backup", hub.elsewhere / "backup", "--passphrase-file", passphrase)
    registry = hub.folder / "ip_assign" / "registry.db"
    if lost == "everything":
        for path in hub.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif lost == "registry":
        registry.unlink()
    elif lost == "newer registry":
        with closing(sqlite3.connect(registry, isolation_level=None)) as database:
            database.execute("PRAGMA user_version = 99")
    else:
        whole = registry.read_bytes()
        registry.write_bytes(b"no database" if lost == "damaged registry" else whole[: len(whole) // 2])
    hub.done("restore", hub.elsewhere / "backup", "--passphrase-file", passphrase)
    assert everything(hub) == before
    assert hub.done("audit", "--verify").startswith("whole: ")


def test_a_damaged_config_of_the_hub_can_be_restored(hub: Scripts, made: Path, passphrase: Path) -> None:
    (hub.folder / "config.env").write_bytes(b"\xff half")
    assert hub.peer("list").status == 1
    hub.done("restore", made, "--passphrase-file", passphrase)
    assert "node2" in hub.done("list")


def test_a_key_that_leaked_since_does_not_come_back(hub: Scripts, made: Path, passphrase: Path) -> None:
    hub.done("genconf", "node", "node2")
    hub.done("add", "node", "node2", public_key(2))
    hub.done("remove", "node", "node2", "--leaked")
    for lose_registry in (False, True):
        if lose_registry:
            (hub.folder / "ip_assign" / "registry.db").unlink()
        out = hub.done("restore", made, "--passphrase-file", passphrase)
        assert "not so before" not in out
        peers = {(item["type"], item["id"]): item["public_key"] for item in json.loads(hub.done("list", "--json"))}
        assert peers == {("node", "node1"): None, ("node", "node2"): None, ("researcher", "node1"): None}
        assert hub.refusal("add", "node", "node1", public_key(2), saying="marked as leaked and is refused") == []
        assert hub.done("audit", "--verify").startswith("whole: ")


def test_a_file_that_is_no_good_backup_changes_nothing(hub: Scripts, made: Path, passphrase: Path) -> None:
    whole = made.read_bytes()
    registry = unpack(whole, "b", lambda: PASSPHRASE).files["registry.db"]
    bad = {
        "is empty or cut short": b"",
        "cut short: 1 bytes are missing": whole[:-1],
        "cut short: [0-9]+ bytes are missing": whole[: len(whole) // 2],
        "cut short or damaged": whole[:50],
        "is no backup of a hub; give the file": (hub.folder / "ip_assign" / "registry.db").read_bytes(),
        "the passphrase does not fit .*bad, or the file is damaged": whole[:-1] + bytes([whole[-1] ^ 1]),
        "made by a newer release": whole.replace(b'"format": 1', b'"format": 2'),
        "the registry in .* is damaged, or none": repacked(made, registry_db=b"no database"),
        "the registry in .*bad is damaged": repacked(made, registry_db=registry[: len(registry) // 2]),
        "the registry in .* is damaged, or": repacked(made, registry_db=b""),
        "bad was made by a newer release": with_registry(made, "PRAGMA user_version = 99"),
        "registry in .* is damaged, or none of this": with_registry(made, "PRAGMA user_version = 0"),
        "registry in .* is damaged": with_registry(made, "CREATE TRIGGER x AFTER INSERT ON peer BEGIN SELECT 1; END"),
        "in .* is damaged": with_registry(made, "DELETE FROM hub"),
        "in .*bad is damaged, or none of": with_registry(made, "UPDATE hub SET public_key = randomblob(32)"),
        "in .*bad is damaged, or none": with_registry(made, "UPDATE peer SET type = 'server' WHERE id = 'node2'"),
        "the settings in .*bad are damaged: config.env, line 1": repacked(made, config_env=b"half"),
        "the settings in .*bad are damaged": repacked(made, config_env=b"export VPN_SERVER_PORT=0\n"),
        "the settings in .*damaged": repacked(made, config_env=b"\xff"),
    }
    path = hub.elsewhere / "bad"
    problems: list[str] = []
    for saying, content in bad.items():
        path.write_bytes(content)
        problems += hub.refusal("restore", path, "--passphrase-file", passphrase, saying=saying)
    assert problems == [], "\n".join(problems)


def test_a_broken_audit_log_is_refused_and_can_be_taken_all_the_same(
    hub: Scripts, made: Path, passphrase: Path
) -> None:
    path = hub.elsewhere / "broken"
    path.write_bytes(with_registry(made, "UPDATE hub SET log_count = 9"))
    saying = (
        "the audit log in .*broken is broken at entry 6: it is missing.*or add --broken-audit to take it all the same"
    )
    assert hub.refusal("restore", path, "--passphrase-file", passphrase, saying=saying) == []
    assert "restored as of" in hub.done("restore", path, "--passphrase-file", passphrase, "--broken-audit")
    assert hub.peer("audit", "--verify").status == 1
    outcome = hub.peer("backup", hub.elsewhere / "again", "--passphrase-file", passphrase)
    assert outcome.status == 0
    assert "warning: the audit log is broken at entry 6; `audit --verify` says more" in outcome.err


def test_wrong_passphrases_and_files_change_nothing(hub: Scripts, made: Path, passphrase: Path) -> None:
    nobody = ["--passphrase-file", "-"]
    wrong = hub.elsewhere / "wrong"
    wrong.write_text("not this one")
    problems = hub.refusal("restore", made, "--passphrase-file", wrong, saying="the passphrase does not fit")
    problems += hub.refusal("restore", made, *nobody, stdin=b"not this one", saying="the passphrase does not fit")
    problems += hub.refusal("restore", made, saying="there is no terminal to ask for the passphrase; give")
    problems += hub.refusal("backup", "new", saying="there is no terminal to ask for the passphrase; give")
    problems += hub.refusal("restore", made, "--passphrase-file", "nowhere", saying="nowhere: No such file.*check the")
    for empty in (b"", b"\n", b"a\nb", b"x" * 5000):
        for command in ("restore", "backup"):
            problems += hub.refusal(command, made, *nobody, stdin=empty, saying="the passphrase is empty, longer")
    problems += hub.refusal("restore", "nowhere", saying="nowhere is not there, or is no file; give the file")
    problems += hub.refusal("restore", hub.folder, saying="is not there, or is no file; give the file")
    problems += hub.refusal("restore", "/dev/zero", saying="is not there, or is no file; give the file")
    for name in ("", "a\nb", b"\xff"):
        problems += hub.refusal("restore", name, saying="that file name is empty, not UTF-8, or holds a control")
        problems += hub.refusal("backup", name, "--plain", saying="that file name is empty, not UTF-8, or holds")
    problems += hub.refusal("backup", "x", "--plain", "--passphrase-file", passphrase, status=2, saying="not allowed")
    problems += hub.refusal("backup", status=2, saying="--help` shows how")
    assert problems == [], "\n".join(problems)
    assert sorted(path.name for path in hub.elsewhere.iterdir()) == ["backup", "passphrase", "wrong"]


def test_a_backup_replaces_only_a_backup(hub: Scripts, made: Path, passphrase: Path) -> None:
    (hub.elsewhere / "link").symlink_to(made)
    refused = {
        str(hub.folder / "ip_assign" / "registry.db"): "is there and is no backup; give another name",
        str(hub.folder / "config.env"): "is there and is no backup",
        str(hub.elsewhere): "is a folder; give the name of a file",
        str(hub.elsewhere / "link"): "link is not a regular file; move it away",
        str(hub.elsewhere / "nowhere" / "backup"): "cannot write .*No such file or directory",
        "/proc/backup": "cannot write /proc/backup",
    }
    problems: list[str] = []
    for path, saying in refused.items():
        problems += hub.refusal("backup", path, "--passphrase-file", passphrase, saying=saying)
    assert problems == [], "\n".join(problems)
    before = made.read_bytes()
    hub.done("backup", made, "--passphrase-file", passphrase)
    assert made.read_bytes() != before


def test_without_a_registry_there_is_nothing_to_back_up(fresh: Scripts) -> None:
    assert fresh.refusal("backup", "x", "--plain", saying="there is nothing to back up") == []


def test_a_hub_that_runs_on_a_damaged_registry_has_to_be_stopped(hub: Scripts, made: Path, passphrase: Path) -> None:
    (hub.folder / "ip_assign" / "registry.db").write_bytes(b"no database")
    with (hub.folder / "wireguard" / "daemon.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        saying = "the hub runs on a registry that cannot be read; stop it, then run this again"
        assert hub.refusal("restore", made, "--passphrase-file", passphrase, saying=saying) == []
    hub.done("restore", made, "--passphrase-file", passphrase)


def test_the_environment_overrides_the_settings_of_the_backup(hub: Scripts, made: Path, passphrase: Path) -> None:
    environ = {"VPN_SUBNET_PREFIX": "16", "VPN_IP": "10.99.0.1", "VPN_NODE_IP_ASSIGN": "10.99.1.0/24"}
    environ |= {"VPN_MANAGEMENT_IP_ASSIGN": "10.99.2.0/24", "VPN_RESEARCHER_IP_ASSIGN": "10.99.3.0/24"}
    outcome = hub.peer("restore", made, "--passphrase-file", passphrase, environ=environ)
    assert outcome.status == 0
    lines = outcome.err.splitlines()
    assert len(lines) == 3
    assert all("warning: " in line and "is not one for a peer of the VPN 10.99.0.1/16" in line for line in lines)


def test_a_restore_that_broke_off_is_finished_by_the_next_command(hub: Scripts, made: Path, passphrase: Path) -> None:
    hub.done("restore", made, "--passphrase-file", passphrase)
    after = everything(hub)
    policy = (hub.folder / "policy.toml").read_text()
    with closing(sqlite3.connect(hub.folder / "ip_assign" / "registry.db", isolation_level=None)) as database:
        database.execute("INSERT INTO pending VALUES ('config.env', ?)", ((hub.folder / "config.env").read_bytes(),))
        database.execute("INSERT INTO pending VALUES ('policy.toml', ?)", (policy.encode(),))
        database.execute("INSERT INTO pending VALUES ('config_peers', NULL)")
    (hub.folder / "config.env").write_text("export VPN_SERVER_PUBLIC_ADDR=old.example.org\n")
    (hub.folder / "policy.toml").unlink()
    shutil.rmtree(hub.folder / "config_peers" / "node")
    stale = hub.folder / "config_peers" / "node" / "gone" / "config.env"
    stale.parent.mkdir(parents=True)
    stale.write_text("old")
    outcome = hub.peer("genconf", "node", "node1")
    assert outcome.status == 1
    saying = "a restore that was interrupted is finished, with its config.env; run this again"
    assert outcome.err == f"configure_peer: {saying}\n"
    assert everything(hub) == after
    assert (hub.folder / "policy.toml").read_text() == policy
    before = snapshot(hub.folder)
    hub.done("list")
    assert snapshot(hub.folder) == before


def test_the_files_belong_to_the_owner_of_the_state(hub: Scripts, made: Path, passphrase: Path) -> None:
    hub.done("restore", made, "--passphrase-file", passphrase)
    owner = hub.folder.stat()
    assert {(path.stat().st_uid, path.stat().st_gid) for path in hub.folder.rglob("*")} == {
        (owner.st_uid, owner.st_gid)
    }
    assert made.stat().st_uid == os.geteuid()
