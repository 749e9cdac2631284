"""``audit`` and ``--leaked``, and a registry of an older release, from the command line."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.bin.scripts import public_key
from tests.registry import schema1
from tests.registry.snapshot import mode_of, secrets
from tests.registry.stored import key, peer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bin.scripts import Scripts


@pytest.fixture
def registry(hub: Scripts) -> Path:
    """The registry's file."""
    return hub.folder / "ip_assign" / "registry.db"


def tamper(registry: Path, statement: str) -> None:
    """Write to the log as nobody should."""
    with closing(sqlite3.connect(registry, isolation_level=None)) as database:
        for trigger in ("log_is_append_only_update", "log_is_append_only_delete"):
            database.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        database.executescript(statement)


def test_the_table_tells_who_did_what_newest_last(hub: Scripts) -> None:
    hub.done("remove", "node", "node2", environ={"SUDO_UID": "4242"})
    head, *rows = [line.split() for line in hub.done("audit").splitlines()]
    assert head == ["NUMBER", "TIME", "BY", "LOGIN", "COMMAND", "PEER", "WHAT"]
    assert [row[0] for row in rows] == [str(number) for number in range(1, 6)]
    assert rows[0][-2:] == ["genconf", "10.221.0.2"]
    assert rows[-1][-5:] == ["remove", "node", "node2", "remove", public_key(2)]
    assert f"({os.geteuid()})" in rows[-1]


def test_json_is_for_programs_and_holds_no_secret(hub: Scripts) -> None:
    out = hub.done("audit", "--json")
    entries = json.loads(out)
    assert [(entry["number"], entry["command"], entry["type"], entry["id"]) for entry in entries] == [
        (1, "genconf", "node", "node1"),
        (2, "genconf", "node", "node2"),
        (3, "add", "node", "node2"),
        (4, "genconf", "researcher", "node1"),
    ]
    assert {entry["uid"] for entry in entries} == {os.geteuid()}
    assert entries[2]["what"] == f"add {public_key(2)}"
    known = secrets(hub.folder)
    assert len(known) >= 4
    assert not any(secret in out + hub.done("audit") for secret in known)
    answer = json.loads(hub.done("audit", "--verify", "--json"))
    assert answer == {"entries": 4, "head": entries[-1]["hash"], "broken": None}


def test_what_is_whole_is_said_so_with_its_head(hub: Scripts) -> None:
    head = json.loads(hub.done("audit", "--json"))[-1]["hash"]
    assert hub.done("audit", "--verify") == f"whole: 4 entries, the last one's hash is {head}\n"


def test_tampering_is_named_and_the_status_says_so(hub: Scripts, registry: Path) -> None:
    tamper(registry, "UPDATE log SET uid = 99, what = 'add' || char(10) || 'x' WHERE number = 3")
    outcome = hub.peer("audit", "--verify")
    assert (outcome.status, outcome.err) == (1, "")
    assert outcome.out.startswith("broken at entry 3 (")
    assert outcome.out.count("\n") == 1
    # A line break, or what acts on a terminal, does not get out of the table either.
    assert "  add\\nx\n" in hub.done("audit")
    assert json.loads(hub.peer("audit", "--verify", "--json").out)["broken"]["number"] == 3
    tamper(registry, "DELETE FROM log WHERE number = 3")
    assert "broken at entry 3: it is missing" in hub.peer("audit", "--verify").out
    # The hub works on: who tampered must not be able to stop it as well.
    hub.done("genconf", "node", "new")


def test_a_tail_that_was_cut_off_is_named(hub: Scripts, registry: Path) -> None:
    tamper(registry, "DELETE FROM log WHERE number = 4")
    outcome = hub.peer("audit", "--verify")
    assert outcome.status == 1
    assert outcome.out.startswith("broken at entry 4: it is missing: the end of the log was cut off;")


def test_a_hub_without_a_registry_has_no_entries(fresh: Scripts) -> None:
    assert fresh.done("audit", "--json") == "[]\n"
    assert "no components yet" in fresh.done("audit", "--verify")
    assert not (fresh.folder / "ip_assign").exists()


def test_a_leaked_key_is_refused_in_one_line(hub: Scripts) -> None:
    out = hub.done("remove", "node", "node2", "--leaked")
    assert f"The key {public_key(2)} is marked as leaked: it is refused for ever" in out
    problems: list[str] = []
    for command in (["node", "node2"], ["node", "node1"], ["researcher", "node1"]):
        problems += hub.refusal("add", *command, public_key(2), saying="was marked as leaked and is refused for ever")
    assert problems == []
    assert "is marked as leaked" in hub.done("remove", "--leaked", "node", "node2")
    hub.done("add", "node", "node2", public_key(3))
    assert f"The key {public_key(3)} is marked" in hub.done("removeconf", "node", "node2", "--leaked")
    assert f"leaked {public_key(3)}" in hub.done("audit").splitlines()[-1]


def test_a_removal_without_leaked_lets_the_key_in_again(hub: Scripts) -> None:
    hub.done("remove", "node", "node2")
    assert "added with address" in hub.done("add", "node", "node2", public_key(2))


def test_leaked_where_it_means_nothing_is_refused(hub: Scripts) -> None:
    problems = hub.refusal("remove", "node", "node1", "--leaked", saying="never had a key that could have leaked")
    problems += hub.refusal("removeconf", "node", "ghost", "--leaked", saying="never had a key that could have leaked")
    problems += hub.refusal("genconf", "node", "x", "--leaked", status=2, saying="--help` shows how")
    problems += hub.refusal("add", "node", "node1", "--leaked", saying="copy it whole")
    problems += hub.refusal("remove", "node", "--leaked", status=2, saying="--help` shows how")
    assert problems == []


def test_a_registry_of_an_older_release_is_brought_up_to_date(hub: Scripts, registry: Path) -> None:
    registry.unlink()
    schema1.write(registry, peer(2), peer(3, public_key=key(3)))
    outcome = hub.peer("list", "--json")
    assert outcome.status == 0
    assert [(item["id"], item["address"]) for item in json.loads(outcome.out)] == [
        ("node2", "10.221.0.2"),
        ("node3", "10.221.0.3"),
    ]
    (copy,) = registry.parent.glob("registry-v1-*.db")
    told = f"configure_peer: brought registry.db up to date with this release; a copy of the former one is {copy}\n"
    assert outcome.err == told
    assert mode_of(copy) == 0o600
    assert hub.done("audit", "--verify").startswith("whole: 5 entries")


def test_a_registry_that_cannot_be_brought_up_to_date_stays_as_it_is(hub: Scripts, registry: Path) -> None:
    registry.unlink()
    schema1.write(registry, peer(2))
    with closing(sqlite3.connect(registry, isolation_level=None)) as database:
        database.execute("CREATE TABLE leaked (x)")
    saying = "registry.db could not be brought from schema 1 to 3 and is as it was: .*leaked already exists"
    problems: list[str] = []
    for command in (["list"], ["genconf", "node", "new"], ["audit"]):
        problems += hub.refusal(*command, saying=saying)
    problems += hub.refusal_of("vpn_server", saying=saying)
    assert problems == []
