"""``list``: what is chosen, in what form, and live on a terminal."""

from __future__ import annotations

import json
import os
import re
import signal
import termios
import time
from typing import TYPE_CHECKING

import pytest

from tests.bin.terminal import Terminal
from vpn.lib.hub import life, settings as hub_settings
from vpn.lib.hub.outcomes import Terms
from vpn.lib.hub.service import Hub
from vpn.lib.hub.status import open_device
from vpn.lib.registry.peer import PeerName, PeerType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bin.scripts import Scripts

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def varied(hub: Scripts) -> Scripts:
    """node1 registered, node2 with a key, guest invited, gone disabled, researcher node1 registered."""
    settings = hub_settings.load(hub.environ)
    with Hub(settings, open_device(settings)) as library:
        library.genconf(PeerName(PeerType.NODE, "guest"), Terms(valid=3600.0))
        gone = library.genconf(PeerName(PeerType.NODE, "gone")).peer.name
        life.disable(library, gone)
    return hub


def ids(out: str) -> list[str]:
    return [line.split()[1] for line in out.splitlines()[1:]]


def test_the_table_has_a_state_and_a_version_for_each(varied: Scripts) -> None:
    head, *rows = varied.done("list").splitlines()
    columns = ["TYPE", "ID", "ADDRESS", "STATE", "HANDSHAKE", "RECEIVED", "SENT", "ENDPOINT", "VERSION", "UNTIL"]
    assert head.split() == columns
    assert re.fullmatch(r".* 20\d\d-\d\d-\d\d \d\d:\d\d", rows[1]), "when the invitation ends"
    assert [row.split()[:4] for row in rows] == [
        ["node", "gone", "10.221.0.5", "disabled"],
        ["node", "guest", "10.221.0.4", "invited"],
        ["node", "node1", "10.221.0.2", "registered"],
        ["node", "node2", "10.221.0.3", "added"],
        ["researcher", "node1", "10.222.0.2", "registered"],
    ]


def test_types_and_states_are_chosen_one_by_one_or_together(varied: Scripts) -> None:
    assert ids(varied.done("list", "--type", "researcher")) == ["node1"]
    assert len(ids(varied.done("list", "--type", "node,researcher"))) == 5
    assert len(ids(varied.done("list", "--type", "node", "--type", "researcher"))) == 5
    assert ids(varied.done("list", "--state", "invited,disabled")) == ["gone", "guest"]
    assert ids(varied.done("list", "--state", "invited", "--state", "disabled")) == ["gone", "guest"]
    assert ids(varied.done("list", "--state", "registered", "--type", "node")) == ["node1"]
    assert ids(varied.done("list", "--stale", "1h")) == ["node2"]
    assert ids(varied.done("list", "--sort", "address", "--type", "node")) == ["node1", "node2", "guest", "gone"]
    nobody = "no component is like that; `configure_peer.py list` shows all of them\n"
    assert varied.done("list", "--state", "active") == nobody


def test_json_is_chosen_alike_and_says_until_when(varied: Scripts) -> None:
    (guest,) = json.loads(varied.done("list", "--json", "--state", "invited"))
    assert guest["id"] == "guest"
    assert 3000 < guest["invited_until"] - time.time() <= 3600
    assert (guest["until"], guest["version"]) == (None, None)
    assert json.loads(varied.done("list", "--json", "--state", "active")) == []
    assert re.search(r"invited until: +20..-..-.. ..:..:.. UTC\n", varied.done("show", "node", "guest"))


def test_wrong_choices_are_status_2(hub: Scripts) -> None:
    lines = {
        ("--type", "server"): "'server' is no type; choose from management, node, researcher",
        ("--state", "active,"): "'' is no state; choose from invited, registered",
        ("--state", "Active"): "'Active' is no state",
        ("--stale", "1w"): "'1w' is no duration; write one such as 30m, 48h or 7d",
        ("--stale", ""): "'' is no duration",
        ("--sort", "colour"): "invalid choice: 'colour'",
        ("--watch", "0"): "'0' is no number of seconds from 0.2 to 3600",
        ("--watch", "nan"): "'nan' is no number",
        ("--watch", "--json"): "not allowed with argument",
        ("node", "node1"): "unrecognized arguments: node node1",
    }
    problems: list[str] = []
    for words, saying in lines.items():
        problems += hub.refusal("list", *words, status=2, saying=saying)
    assert problems == []


def test_in_a_pipe_there_are_no_colours_and_nothing_is_drawn(varied: Scripts) -> None:
    assert "\x1b" not in varied.done("list", environ={"TERM": "xterm-256color", "FORCE_COLOR": "1"})
    problems = varied.refusal(
        "list", "--watch", saying="--watch draws on a terminal.*leave it out", environ={"TERM": "xterm"}
    )
    assert problems == []


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def test_on_a_terminal_there_are_colours_unless_they_are_not_wanted(varied: Scripts, terminals: list[Terminal]) -> None:
    plain = varied.done("list")
    for environ, coloured in (
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({"NO_COLOR": ""}, True),
    ):
        terminal = Terminal(varied, "list", **environ)
        terminals.append(terminal)
        assert terminal.end() == 0
        assert ("\x1b[36minvited" in terminal.seen) == coloured
        assert ESCAPES.sub("", terminal.seen).replace("\r\n", "\n") == plain


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_watch_follows_and_leaves_the_terminal_as_it_was(varied: Scripts, terminals: list[Terminal], how: str) -> None:
    terminal = Terminal(varied, "list", "--watch", "0.2", "--type", "node")
    terminals.append(terminal)
    terminal.until("guest")
    assert "5 components: 1 invited, 2 registered, 1 added, 1 disabled" in terminal.seen
    assert "researcher" not in terminal.seen
    varied.done("genconf", "node", "late")
    terminal.until("late")
    if how == "Ctrl-C":
        os.write(terminal.master, b"\x03")
    else:
        terminal.process.send_signal(signal.SIGTERM)
    assert terminal.end() == 0
    assert "Traceback" not in terminal.seen
    # The other screen was left, the cursor is shown, and keys are echoed as before.
    assert terminal.seen.count("\x1b[?1049h") == terminal.seen.count("\x1b[?1049l") == 1
    assert terminal.seen.rindex("\x1b[?25h") > terminal.seen.rindex("\x1b[?25l")
    assert termios.tcgetattr(terminal.slave) == terminal.before


def test_watch_shows_as_many_as_there_is_room_for(hub: Scripts, terminals: list[Terminal]) -> None:
    settings = hub_settings.load(hub.environ)
    with Hub(settings, open_device(settings)) as library:
        library.genconf_all([PeerName(PeerType.NODE, f"many{number:02}") for number in range(40)])
    terminal = Terminal(hub, "list", "--watch", "0.2")
    terminals.append(terminal)
    terminal.until("Ctrl-C ends it")
    assert "and 25 more; --type, --state" in terminal.seen
    assert "many17" in terminal.seen
    assert "many18" not in terminal.seen


def test_watch_ends_with_a_line_when_the_registry_cannot_be_read(hub: Scripts, terminals: list[Terminal]) -> None:
    terminal = Terminal(hub, "list", "--watch", "0.2")
    terminals.append(terminal)
    terminal.until("node2")
    (hub.folder / "ip_assign" / "registry.db").write_bytes(b"no registry any more")
    assert terminal.end() == 1
    assert re.search(r"\?1049l.*configure_peer: .*registry\.db is damaged", terminal.seen, re.DOTALL)
    assert "Traceback" not in terminal.seen


def test_where_nobody_is_registered_nothing_is_watched(fresh: Scripts, terminals: list[Terminal]) -> None:
    terminal = Terminal(fresh, "list", "--watch")
    terminals.append(terminal)
    assert terminal.end() == 0
    assert "no components yet" in terminal.seen
    assert not (fresh.folder / "ip_assign").exists()
