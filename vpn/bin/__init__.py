"""Entry points: parse arguments, call the library, print, exit."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from vpn.lib.errors import VpnError, describe_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vpn.lib.findings import Finding

COMPLETE = "--complete"
"""The first argument of a command whose other arguments are the words of a line that a shell is to complete."""


class Help(argparse.HelpFormatter):
    """Help whose examples stay in the lines in which they are written."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" not in text:
            return super()._fill_text(text, width, indent)
        return "\n".join(indent + line for line in text.splitlines())


class Parser(argparse.ArgumentParser):
    """argparse, with its errors as one line that cannot act on a terminal. Exit status 2."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": Help, **options})

    @property
    def options(self) -> Mapping[str, argparse.Action]:
        """The options by each of their names."""
        return self._option_string_actions

    @property
    def positions(self) -> list[argparse.Action]:
        """The arguments that are no options, in order."""
        return self._get_positional_actions()

    def error(self, message: str) -> NoReturn:
        """Print the line and exit."""
        line = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in message)
        self.exit(2, f"{self.prog}: {line[:400]}; `{self.prog} --help` shows how\n")


def run_guarded(program: str, run: Callable[[], int]) -> int:
    """Run, and turn every error that a user can meet into one line on stderr; the exit status.

    A reader that went away (``| head``) is no error of ours to report.
    """
    _open_closed_streams()
    try:
        try:
            return run()
        finally:
            _flush()
    except BrokenPipeError:
        return 1
    except VpnError as error:
        line = str(error)
    except OSError as error:
        line = describe_os_error(error)
    except KeyboardInterrupt:
        line = "interrupted; nothing is half done, run it again"
    except ModuleNotFoundError as error:
        line = f"the Python package {error.name} is missing; install this project with pip"
    print(f"{program}: {' '.join(line.splitlines())}", file=sys.stderr)
    return 1


def coloured(stream: TextIO) -> bool:
    """Whether to write in colours there: on a terminal that has them, to somebody who wants them (no-color.org)."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")


def report(findings: Sequence[Finding], *, as_json: bool) -> int:
    """Print what a doctor found, with colours on a terminal; the exit status."""
    from vpn.lib import findings as library

    print(library.as_json(findings) if as_json else library.as_text(findings, colour=coloured(sys.stdout)))
    return library.status(findings)


def leave(status: int) -> NoReturn:
    """End the process at once: taking the interpreter apart costs a command a tenth of its time."""
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        # The interpreter flushes stdout once more at its end; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _open_closed_streams() -> None:
    """Let closed standard streams lead nowhere.

    Else the first file that is opened gets the number of one, and what is printed goes into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
