"""Where output goes to when nobody reads it, and where the scripts run from."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.bin.scripts import ROOT, public_key

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bin.scripts import Argument, Scripts


def shell(scripts: Scripts, redirection: str, *arguments: Argument, script: str = "configure_peer") -> tuple[int, str]:
    """Run a script with its streams redirected by a shell; its status and stderr."""
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *scripts.command(script, *arguments)],
        env=scripts.environ,
        cwd=scripts.elsewhere,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", [["list"], ["genconf", "node", "new"], ["--help"], ["list", "--json"]])
def test_a_reader_that_went_away_is_no_traceback(hub: Scripts, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        hub.command("configure_peer", *arguments),
        env=hub.environ,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("arguments", [["list"], ["genconf", "node", "new"], ["--help"]])
@pytest.mark.parametrize("redirection", [">&-", "<&- >&-", "<&- >&- 2>&-", "2>&-"])
def test_closed_streams_are_no_traceback(hub: Scripts, arguments: list[str], redirection: str) -> None:
    assert shell(hub, redirection, *arguments) == (0, "")


def test_what_is_written_with_closed_streams_is_not_damaged(fresh: Scripts) -> None:
    # A file that is opened first would get the number of a closed stream, and what is printed.
    assert shell(fresh, "<&- >&- 2>&-", "genconf", "node", "node1") == (0, "")
    peers = json.loads(fresh.done("list", "--json"))
    assert [peer["id"] for peer in peers] == ["node1"]
    assert "VPN_IP=10.221.0.2\n" in (fresh.folder / "config_peers/node/node1/config.env").read_text()


def test_warnings_do_not_go_to_standard_output_when_stderr_is_closed(hub: Scripts) -> None:
    (hub.folder / "ip_assign").chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", '"$@" 2>&-', "sh", *hub.command("configure_peer", "public-key")],
        env=hub.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout == hub.done("public-key")


def test_a_full_disk_behind_standard_output_is_one_line(hub: Scripts) -> None:
    status, err = shell(hub, ">/dev/full", "list")
    assert status == 1
    assert err == "configure_peer: No space left on device; free some space on that file system, then try again\n"


def test_the_package_as_it_is_installed_works_without_the_checkout(fresh: Scripts, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "installed"
    source.mkdir()
    for name in ("vpn", "setup.cfg", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    # What `pip install` copies, without the network that an isolated build needs.
    build = ["import setuptools; setuptools.setup()", "--quiet", "build", "--build-lib", str(target)]
    subprocess.run([sys.executable, "-c", *build], cwd=source, check=True, capture_output=True, timeout=120)
    shutil.rmtree(source)
    assert (target / "vpn" / "py.typed").exists()
    fresh.bin = target / "vpn" / "bin"
    fresh.done("genconf", "node", "node1")
    fresh.done("add", "node", "node1", public_key(1))
    # As the console script does it.
    script = "import vpn; from vpn.bin.configure_peer import main; print(vpn.__file__); main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "list"],
        env={**fresh.environ, "PYTHONPATH": str(target)},
        cwd=fresh.elsewhere,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith(f"{target}/vpn/__init__.py\n")
    assert "node  node1  10.221.0.2  added" in done.stdout
