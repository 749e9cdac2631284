"""Completion of what is typed in a shell: the scripts for bash and zsh, and what they ask.

``COMMAND --complete WORD...`` prints what the last word, the one that is being typed, may become, one a line. It is
made from the command's own parser, so that it knows every option that there is.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vpn.bin import Parser, run_guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Values = Mapping[str, Callable[[Mapping[str, str]], Iterable[str]]]

FILES = "/files"
FOLDERS = "/folders"
"""What the shell knows better: it completes these itself."""

OF_THE_SHELL = {"FILE": FILES, "PATH": FILES, "ARCHIVE": FILES, "DIR": FOLDERS}
COMMANDS = ("configure_peer", "vpn_server", "vpn_client", "fedbiomed_vpn")

BASH = """# bash: completion of {names}, with or without .py.
# In ~/.bashrc:  source <(configure_peer completion bash)
_fedbiomed_vpn_complete() {{
    local command=${{COMP_WORDS[0]}} current=${{COMP_WORDS[COMP_CWORD]}} line path
    COMPREPLY=()
    [[ $command == '~/'* ]] && command=$HOME/${{command#'~/'}}
    [[ $current == '=' ]] && current=
    while IFS= read -r line; do
        case $line in
            {files} | {folders})
                compopt -o filenames 2> /dev/null
                while IFS= read -r path; do
                    COMPREPLY+=("$path")
                done < <(if [[ $line == {files} ]]; then compgen -f -- "$current"; else compgen -d -- "$current"; fi)
                ;;
            *) COMPREPLY+=("$line") ;;
        esac
    done < <("$command" --complete "${{COMP_WORDS[@]:1:COMP_CWORD}}" 2> /dev/null)
}}
complete -F _fedbiomed_vpn_complete {words}
"""

ZSH = """# zsh: completion of {names}, with or without .py.
# In ~/.zshrc:  source <(configure_peer completion zsh)
_fedbiomed_vpn_complete() {{
    local line command=$words[1]
    local -a found
    [[ $command == '~/'* ]] && command=$HOME/${{command#'~/'}}
    for line in "${{(@f)$("$command" --complete "${{(@)words[2,CURRENT]}}" 2> /dev/null)}}"; do
        case $line in
            {files}) _files ;;
            {folders}) _files -/ ;;
            ?*) found+=("$line") ;;
        esac
    done
    (( $#found )) && compadd -- $found
}}
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit; }}
compdef _fedbiomed_vpn_complete {words}
"""


def add_parser(commands: argparse._SubParsersAction[Parser]) -> None:
    """The arguments of ``completion``."""
    child = commands.add_parser(
        "completion",
        help="print a script that lets a shell complete these commands",
        description="Print a script that lets bash or zsh complete commands, types, ids and options of configure_peer,"
        " vpn_server, vpn_client and fedbiomed_vpn. Ids are those of the registry, where it may be read.",
        epilog="""examples:
  configure_peer.py completion bash > ~/.fedbiomed-vpn-completion
      then, in ~/.bashrc: source ~/.fedbiomed-vpn-completion
  configure_peer.py completion zsh > ~/.fedbiomed-vpn-completion""",
    )
    child.add_argument("shell", metavar="SHELL", choices=("bash", "zsh"), help="bash or zsh")


def script(shell: str) -> str:
    """What the shell has to read."""
    return {"bash": BASH, "zsh": ZSH}[shell].format(
        names=", ".join(COMMANDS),
        words=" ".join(f"{name} {name}.py" for name in COMMANDS),
        files=FILES,
        folders=FOLDERS,
    )


def answer(program: str, parser: Parser, words: Sequence[str], values: Values | None = None) -> int:
    """Print what the last of ``words`` may become.

    ``values`` gives, by the name of an argument, what it may be, from the arguments before it.
    """

    def run() -> int:
        found = candidates(parser, words, values or {})
        if found:
            print("\n".join(found))
        return 0

    return run_guarded(program, run)


def candidates(parser: Parser, words: Sequence[str], values: Values) -> list[str]:
    """What the last word may become."""
    *before, current = _joined(words) or [""]
    place = _Place(parser)
    for word in before:
        if not place.pass_over(word):
            return []
    action = place.waiting
    lead = ""
    if action is None and current.startswith("-") and not place.literal:
        name, equals, rest = current.partition("=")
        action = place.parser.options.get(name) if equals else None
        if action is None:
            return _beginning(current, place.options())
        lead, current = f"{name}=", rest
    if action is None:
        if not place.positions:
            return _beginning(current, place.options())
        action = place.positions[0]
        if action.nargs == argparse.REMAINDER:
            return [FILES] if place.literal or action.dest in place.seen else _beginning(current, ["--"])
    if isinstance(action.metavar, str) and action.metavar in OF_THE_SHELL:
        return [OF_THE_SHELL[action.metavar]]
    known: Iterable[str] = ()
    if action.dest in values and not isinstance(action.choices, Mapping):
        known = values[action.dest](place.seen)
    elif action.choices is not None:
        known = map(str, action.choices)
    return [lead + word for word in _beginning(current, known)]


class _Place:
    """Where on a command line one is, after the words that were passed over."""

    def __init__(self, parser: Parser) -> None:
        self.seen: dict[str, str] = {}
        self.literal = False
        self.waiting: argparse.Action | None = None
        self._enter(parser)

    def _enter(self, parser: Parser) -> None:
        self.parser = parser
        self.positions = list(parser.positions)
        self._used: set[str] = set()

    def options(self) -> list[str]:
        """The options that may follow."""
        return [
            name
            for name, action in self.parser.options.items()
            if name.startswith("--") and action.dest not in self._used and action.help != argparse.SUPPRESS
        ]

    def pass_over(self, word: str) -> bool:
        """Go on behind the word; false where nothing is known of what comes after it."""
        if self.waiting is not None:
            self.seen[self.waiting.dest] = word
            self.waiting = None
        elif word == "--" and not self.literal:
            self.literal = True
        elif word.startswith("-") and word != "-" and not self.literal:
            name, equals, _ = word.partition("=")
            action = self.parser.options.get(name)
            if action is None:
                return False
            self._used.add(action.dest)
            self.waiting = action if action.nargs is None and not equals else None
        elif self.positions:
            action = self.positions[0]
            if isinstance(action.choices, Mapping):
                child = action.choices.get(word)
                if child is None:
                    return False
                self._enter(child)
                return True
            self.seen[action.dest] = word
            if action.nargs not in ("*", "+", argparse.REMAINDER):
                self.positions.pop(0)
        return True


def _joined(words: Sequence[str]) -> list[str]:
    """The words, where bash has broken ``--format=json`` into three."""
    joined: list[str] = []
    for number, word in enumerate(words):
        if word == "=" and joined and joined[-1].startswith("--"):
            if number == len(words) - 1:
                joined.append("")
            continue
        joined.append(word)
    return joined


def _beginning(with_this: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(with_this)]
