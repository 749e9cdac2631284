"""What is said of a machine that works, and of one that does not: with a program in the place of the emulator."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from lab.machine.run import FAILED, Limits, main, pack

CONSOLE = 'for word in "$@"; do case $word in file:*) console=${word#file:};; esac; done\n'


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The emulator's program; it does nothing yet."""
    program = tmp_path / "bin" / "qemu-system-x86_64"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def be(emulator: Path, *lines: str) -> None:
    emulator.write_text("#!/bin/sh\n" + CONSOLE + "\n".join(lines) + "\n")
    emulator.chmod(0o755)


@pytest.mark.parametrize("status", [0, 1, 5])
def test_the_tests_lines_are_shown_and_their_exit_status_is_returned(
    emulator: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], status: int
) -> None:
    be(
        emulator,
        "echo machine: Linux 6.1; printf 'one\\r\\n=== 1 passed'; sleep 0.1; echo ' in 2.0s ==='",
        f"echo machine: exit status {status}",
        "exec sleep 100",
    )
    assert main([], image=tmp_path) == status
    assert capfd.readouterr().out == "machine: Linux 6.1\none\n=== 1 passed in 2.0s ===\n"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("exit 1",), "the machine did not boot"),
        (("exec sleep 100",), "the machine has not booted within 1 s"),
        (("echo machine: Linux 6.1", "exit 0"), "the machine ended without a result"),
        (("echo machine: Linux 6.1", "exec sleep 100"), "the tests have not ended within 2 s"),
        (("echo machine: Linux 6.1", "while :; do echo more; sleep 0.1; done"), "the tests have not ended within 2 s"),
    ],
)
def test_a_machine_that_fails_is_told_in_one_line_with_the_end_of_its_console(
    emulator: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], lines: tuple[str, ...], said: str
) -> None:
    record = tmp_path / "pid"
    be(emulator, f"echo $$ > {record}; seq 100 > $console", *lines)
    assert main([], image=tmp_path, limits=Limits(1, 2)) == FAILED
    errors = capfd.readouterr().err.splitlines()
    assert errors[0] == f"make test-kernel: {said}; the end of its console:"
    assert errors[1:] == [str(number) for number in range(76, 101)]
    assert not Path(f"/proc/{record.read_text().strip()}").exists(), "it is ended"


def test_an_emulator_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([], image=tmp_path) == FAILED
    assert capfd.readouterr().err == "qemu-system-x86_64 is not installed; as root, `make test-kernel` installs it\n"


def test_the_machine_gets_the_project_and_pytests_arguments_whatever_they_are(tmp_path: Path) -> None:
    pack(tmp_path / "project", ["-k", "one or 'two'", "tests"])
    with tarfile.open(tmp_path / "project") as archive:
        names = archive.getnames()
        arguments = archive.extractfile("arguments")
        assert arguments is not None
        assert arguments.read() == b"-k\none or 'two'\ntests\n"
    assert {"vpn/bin/vpn_server.py", "lab/machine/inside", "tests/machine/test_run.py", "setup.cfg"} <= set(names)
    assert not [name for name in names if name.startswith((".venv", ".git", "docker"))]
