"""The application that a component runs."""

from __future__ import annotations

import os
import pwd
import select
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from vpn.lib.component.application import Account, Application
from vpn.lib.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ME = pwd.getpwuid(os.getuid())


@contextmanager
def running(*command: str, variables: Mapping[str, str] | None = None, **environ: str) -> Iterator[Application]:
    """The application, which is gone afterwards."""
    application = Application(command, variables or {}, {"PATH": os.environ["PATH"], **environ})
    try:
        yield application
    finally:
        application.kill()
        application.close()


def ended(application: Application) -> int:
    """Its status, once it has ended."""
    select.select([application.pidfd], [], [], 30)
    status = application.status
    assert status is not None
    return status


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_the_exit_status_is_passed_on(code: int) -> None:
    with running("sh", "-c", f"exit {code}") as application:
        assert ended(application) == code


def test_death_by_a_signal_is_128_and_its_number() -> None:
    with running("sleep", "60") as application:
        assert application.status is None
        application.signal(signal.SIGTERM)
        assert ended(application) == 128 + signal.SIGTERM


def test_it_gets_its_own_variables_literally(tmp_path: Path) -> None:
    out = tmp_path / "out"
    variables = {"ONE": "$(id) `id` 'x'", "PATH_LIKE": "a:b"}
    code = "import os, json, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"
    with running(sys.executable, "-c", code, str(out), variables=variables, ONE="from outside") as application:
        assert ended(application) == 0
    text = out.read_text()
    assert '"ONE": "$(id) `id` \'x\'"' in text
    assert '"PATH_LIKE": "a:b"' in text


def test_a_kill_takes_its_children_along(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    application = Application(["sh", "-c", f"sleep 60 >/proc/self/fd/{writer} & wait"], {}, dict(os.environ))
    os.close(writer)
    application.kill()
    application.close()
    # The pipe ends when the last of them is gone.
    assert select.select([reader], [], [], 30)[0] == [reader]
    assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.mark.parametrize("command", ["no-such-program", "/etc/passwd", "/"])
def test_what_cannot_be_run_is_named(command: str) -> None:
    with pytest.raises(InvalidInput, match=f"cannot run {command}: .*; "):
        Application([command], {}, {"PATH": os.environ["PATH"]})


def test_who_it_runs_as() -> None:
    assert (Account({}).user, Account({}).environment) == (None, {})
    named = Account({"CONTAINER_USER": ME.pw_name})
    assert (named.user, named.group, named.environment["HOME"]) == (ME.pw_uid, ME.pw_gid, ME.pw_dir)
    numbered = Account({"CONTAINER_UID": "54321", "CONTAINER_GID": "54322", "CONTAINER_USER": "fed", "HOME": "/h"})
    assert (numbered.user, numbered.group) == (54321, 54322)
    assert numbered.environment == {"USER": "fed", "LOGNAME": "fed", "HOME": "/h"}
    assert numbered.groups == []
    with pytest.raises(InvalidInput, match="there is no user 'nobody-of-that-name' here; set CONTAINER_UID"):
        Account({"CONTAINER_USER": "nobody-of-that-name"})
    with pytest.raises(InvalidInput, match="must be numbers"):
        Account({"CONTAINER_UID": "fed"})
