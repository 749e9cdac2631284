"""--help of every command: enough by itself, and its examples are right."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pytest

from vpn.bin import deploy_parser, peer_parser, vpn_client, vpn_server

if TYPE_CHECKING:
    from tests.bin.scripts import Scripts
    from vpn.bin import Parser

PARSERS = {
    "configure_peer": peer_parser.build()[0],
    "vpn_server": vpn_server._parser(),
    "vpn_client": vpn_client._parser(),
    "fedbiomed_vpn": deploy_parser.build(),
}
VERBS = {"be", "take", "let", "register", "forget", "show", "list", "print", "tell", "write", "make", "set", "join"}
VERBS |= {"start", "stop", "remove", "give", "have", "say"}


def walk(parser: Parser, path: str) -> Iterator[tuple[str, Parser]]:
    """The parser and all below it."""
    yield path, parser
    for action in parser.positions:
        if isinstance(action.choices, Mapping):
            for name, child in action.choices.items():
                yield from walk(child, f"{path} {name}")


ALL = {path: parser for name, top in PARSERS.items() for path, parser in walk(top, name)}


def examples(parser: Parser) -> list[list[str]]:
    """The arguments of each example; of a pipe, of its last command."""
    found = []
    for line in (parser.epilog or "").splitlines():
        if line.startswith("  ") and not line.startswith("   "):
            command = re.split(r"\s{2,}| > ", line.strip())[0].rpartition("| ")[2]
            found.append(shlex.split(command))
    return found


def test_all_commands_are_looked_at() -> None:
    assert len(ALL) > 30
    assert {"configure_peer policy check", "fedbiomed_vpn import", "vpn_client run"} <= ALL.keys()


@pytest.mark.parametrize("path", ALL)
def test_a_command_is_described_with_examples_that_it_understands(path: str) -> None:
    parser = ALL[path]
    assert re.match(r"[A-Z][^.]+.*\.$", parser.description or "", re.DOTALL)
    lines = examples(parser)
    assert lines, "no examples"
    for program, *arguments in lines:
        name = program.removesuffix(".py")
        if name == "configure_peer":
            known = PARSERS[name]
            words = peer_parser._as_positions(arguments, peer_parser.build()[1])
        else:
            known, words = PARSERS[name], arguments
        if words[-1:] == ["--help"] or words[-2:] == ["--help", "--"]:
            words = words[: words.index("--help")]
            assert words[0] in {path.split()[1] for path in ALL if path.startswith(f"{name} ")}
        else:
            known.parse_args(words)


def test_a_command_is_the_same_with_the_others_and_alone() -> None:
    together = peer_parser.build()[1]
    for name, parser in together.items():
        (alone,) = [child for path, child in peer_parser.build(name)[1].items() if path == name]
        assert alone.format_help() == parser.format_help()
        assert len(peer_parser.build(name)[1]) <= 5


@pytest.mark.parametrize("path", ALL)
def test_an_argument_is_explained(path: str) -> None:
    parser = ALL[path]
    for action in (*parser.positions, *parser.options.values()):
        assert action.help or isinstance(action.choices, Mapping), action
        if isinstance(action, argparse._SubParsersAction):
            # What a command does is said by its list of commands, in a verb.
            said = {item.dest: item.help or "" for item in action._get_subactions()}
            assert said.keys() == action.choices.keys()
            assert {text.split()[0] for text in said.values()} <= VERBS


@pytest.mark.parametrize("script", PARSERS)
def test_help_needs_neither_settings_nor_rights(fresh: Scripts, script: str) -> None:
    outcome = fresh.run(script, "--help", environ={"VPN_CONFIG_DIR": "/nowhere"})
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith(f"usage: {script}")
    assert "\nexamples:\n" in outcome.out
