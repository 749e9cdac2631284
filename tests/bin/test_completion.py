"""Completion in a shell: what a real bash offers, and what it costs the registry: nothing."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.bin.scripts import BIN, public_key
from tests.registry.snapshot import snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bin.scripts import Scripts


def installed(hub: Scripts) -> Path:
    """A folder with the commands as pip puts them on the PATH."""
    folder = hub.elsewhere / "bin"
    folder.mkdir(exist_ok=True)
    for name in ("configure_peer", "vpn_server", "vpn_client", "fedbiomed_vpn"):
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {BIN / name}.py "$@"\n')
        path.chmod(0o755)
    return folder


class Bash:
    """A bash that has read the script."""

    def __init__(self, hub: Scripts) -> None:
        self.hub = hub
        self.environ = {**hub.environ, "PATH": f"{installed(hub)}:{hub.environ['PATH']}"}

    def offers(self, *words: str) -> list[str]:
        """What may stand in the place of the last word."""
        line = (
            "source <(configure_peer completion bash);"
            ' set -- $(complete -p "$1" | sed "s/.*-F \\([^ ]*\\).*/\\1/") "$@";'
            ' COMP_WORDS=("${@:2}"); COMP_CWORD=$(($# - 2)); "$1"; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", line, "bash", *words],
            env=self.environ,
            cwd=self.hub.elsewhere,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout.split()


@pytest.fixture
def bash(hub: Scripts) -> Bash:
    return Bash(hub)


COMMANDS = {"genconf", "add", "remove", "removeconf", "show", "list", "export", "policy", "audit", "backup", "restore"}
COMMANDS |= {"disable", "enable", "rename", "rotate", "move-hub", "public-key", "completion"}


def test_commands_types_ids_and_options_are_offered(bash: Bash) -> None:
    assert set(bash.offers("configure_peer", "")) >= COMMANDS
    assert bash.offers("configure_peer", "ge") == ["genconf"]
    assert bash.offers("configure_peer", "add", "") == ["management", "node", "researcher"]
    assert bash.offers("configure_peer", "add", "r") == ["researcher"]
    assert bash.offers("configure_peer", "add", "node", "") == ["node1", "node2"]
    assert bash.offers("configure_peer", "show", "researcher", "no") == ["node1"]
    assert bash.offers("configure_peer", "add", "management", "") == []
    assert bash.offers("configure_peer", "add", "node", "node1", "") == []
    options = bash.offers("configure_peer", "add", "node", "node1", "KEY", "")
    assert sorted(options) == ["--dry-run", "--from", "--help", "--keep-going", "--until"]
    assert bash.offers("configure_peer", "rename", "node", "n") == ["node1", "node2"]
    assert bash.offers("configure_peer", "remove", "node", "node1", "--l") == ["--leaked"]
    assert bash.offers("configure_peer", "remove", "--leaked", "node", "n") == ["node1", "node2"]
    assert "--leaked" not in bash.offers("configure_peer", "remove", "--leaked", "-")
    assert bash.offers("configure_peer", "policy", "ch") == ["check"]
    assert bash.offers("configure_peer", "policy", "check", "node/", "") == [
        "mqtt", "restful", "management", "node", "researcher", "hub", "node/node1", "node/node2", "researcher/node1",
    ]  # fmt: skip


def test_values_of_options_are_offered(bash: Bash) -> None:
    assert bash.offers("configure_peer", "export", "node", "node1", "--format", "") == ["env", "wg-quick", "qr", "json"]
    # As bash breaks the words at an equals sign.
    assert bash.offers("configure_peer", "export", "--format", "=") == ["env", "wg-quick", "qr", "json"]
    assert bash.offers("configure_peer", "export", "--format", "=", "q") == ["qr"]
    assert bash.offers("configure_peer", "export", "--format", "=", "qr", "node", "node2") == ["node2"]


def test_files_are_offered_where_files_are_due(bash: Bash) -> None:
    (bash.hub.elsewhere / "a file").touch()
    (bash.hub.elsewhere / "all").mkdir()
    assert " ".join(bash.offers("configure_peer", "backup", "a")) in ("a file all", "all a file")
    assert bash.offers("configure_peer", "export", "--all", "a") == ["all"]
    assert bash.offers("configure_peer", "show", "node", "a") == []


def test_the_other_commands_are_completed_too(bash: Bash) -> None:
    assert bash.offers("vpn_server", "") == ["run", "health", "doctor", "page"]
    assert bash.offers("vpn_server", "--log-format", "") == ["human", "json"]
    assert bash.offers("vpn_client", "") == ["run", "public-key", "health", "environment", "doctor"]
    assert bash.offers("vpn_client", "run", "") == ["--"]
    assert bash.offers("vpn_client", "run", "--l") == ["--log-format"]
    assert bash.offers("fedbiomed_vpn", "st") == ["start", "stop", "status"]
    assert bash.offers("fedbiomed_vpn", "start", "node", "re") == ["restful", "researcher"]
    assert bash.offers("fedbiomed_vpn", "clean", "") == ["1", "2", "3"]
    assert bash.offers("fedbiomed_vpn", "clean", "2", "mq") == ["mqtt"]


def test_a_path_to_a_script_is_completed_too(bash: Bash) -> None:
    folder = bash.hub.elsewhere / "bin"
    (folder / "configure_peer").rename(folder / "configure_peer.py")
    (folder / "configure_peer").symlink_to("configure_peer.py")
    bash.environ["HOME"] = str(bash.hub.elsewhere)
    line = (
        "source <(configure_peer completion bash); complete -p configure_peer.py > /dev/null || exit;"
        ' COMP_WORDS=("$1" add node ""); COMP_CWORD=3; _fedbiomed_vpn_complete; echo "${COMPREPLY[@]}"'
    )
    for path in ("./bin/configure_peer.py", "~/bin/configure_peer.py"):
        done = subprocess.run(
            ["bash", "--norc", "-c", line, "bash", path],
            env=bash.environ,
            cwd=bash.hub.elsewhere,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert (done.stdout, done.stderr) == ("node1 node2\n", "")


@pytest.mark.parametrize("words", [["frobnicate", ""], ["add", "server", ""], ["list", "--nothing", ""]])
def test_nothing_is_offered_where_nothing_is_known(bash: Bash, words: list[str]) -> None:
    assert [word for word in bash.offers("configure_peer", *words) if word != "--help"] == []


def ids(hub: Scripts) -> list[str]:
    return hub.done("--complete", "add", "node", "").split()


def test_the_registry_is_read_without_a_trace(hub: Scripts) -> None:
    for name in ("registry.db-wal", "registry.db-shm"):
        assert not (hub.folder / "ip_assign" / name).exists()
    before = snapshot(hub.folder)
    assert ids(hub) == ["node1", "node2"]
    assert snapshot(hub.folder) == before
    assert {path.name for path in (hub.folder / "ip_assign").iterdir()} == {"registry.db", "commands.lock"}


def test_what_a_running_hub_has_not_yet_moved_into_the_file_is_offered_too(hub: Scripts) -> None:
    with closing(sqlite3.connect(hub.folder / "ip_assign" / "registry.db")) as other:
        other.execute("SELECT count(*) FROM peer").fetchone()
        hub.done("genconf", "node", "node3")
        assert (hub.folder / "ip_assign" / "registry.db-wal").stat().st_size
        assert ids(hub) == ["node1", "node2", "node3"]


def test_a_log_without_its_index_makes_nothing(hub: Scripts) -> None:
    # As a copy of a running hub's files has it.
    folder = hub.folder / "ip_assign"
    with closing(sqlite3.connect(folder / "registry.db")) as other:
        other.execute("SELECT count(*) FROM peer").fetchone()
        hub.done("genconf", "node", "node3")
        shutil.copytree(hub.folder, hub.elsewhere / "copy", ignore=shutil.ignore_patterns("*-shm"))
    hub.environ["VPN_CONFIG_DIR"] = str(hub.elsewhere / "copy")
    assert set(ids(hub)) >= {"node1", "node2"}
    assert not (hub.elsewhere / "copy" / "ip_assign" / "registry.db-shm").exists()


def test_it_is_silent_where_there_is_nothing_to_read(fresh: Scripts) -> None:
    before = snapshot(fresh.folder)
    assert ids(fresh) == []
    assert snapshot(fresh.folder) == before
    fresh.environ["VPN_CONFIG_DIR"] = "/nowhere"
    assert ids(fresh) == []


@pytest.mark.parametrize("content", [b"", b"no database at all", b"SQLite format 3\0" + bytes(4000)])
def test_it_is_silent_where_the_registry_is_damaged(hub: Scripts, content: bytes) -> None:
    (hub.folder / "ip_assign" / "registry.db").write_bytes(content)
    assert ids(hub) == []


def test_it_is_silent_where_the_registry_may_not_be_read(hub: Scripts) -> None:
    (hub.folder / "ip_assign").chmod(0)
    # Root may read everything, unless it gives that up.
    limited = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    try:
        assert hub.peer("--complete", "add", "node", "", through=limited) == (0, "", "")
    finally:
        (hub.folder / "ip_assign").chmod(0o700)


def test_a_name_that_no_peer_can_have_is_not_offered(hub: Scripts) -> None:
    with closing(sqlite3.connect(hub.folder / "ip_assign" / "registry.db")) as database:
        database.execute("UPDATE peer SET id = '$(id)' WHERE type = 'node' AND id = 'node1'")
        database.commit()
    assert ids(hub) == ["node2"]


def test_the_script_for_zsh_asks_the_same(hub: Scripts) -> None:
    script = hub.done("completion", "zsh")
    assert '"$command" --complete "${(@)words[2,CURRENT]}"' in script
    last = script.splitlines()[-1].split()
    assert last[:2] == ["compdef", "_fedbiomed_vpn_complete"]
    assert {"configure_peer", "configure_peer.py", "fedbiomed_vpn", "vpn_client.py", "vpn_server"} <= set(last)
    # zsh leaves the words whole.
    assert hub.done("--complete", "export", "--format=q") == "--format=qr\n"


def test_completion_of_an_unknown_shell_is_refused(hub: Scripts) -> None:
    problems = hub.refusal("completion", "fish", status=2, saying="invalid choice: 'fish'")
    problems += hub.refusal("completion", status=2, saying="required: SHELL")
    assert problems == []
    assert public_key(2) not in hub.done("completion", "bash")
