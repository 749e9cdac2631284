"""The direction of the imports, and what starting a command may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]

COMMON = {"errors", "files", "config_env", "control", "logs", "signals", "version", "findings", "probes"}
MAY_IMPORT: dict[str, set[str]] = {
    "bin": {"serving", "hub", "component", "deploy", "registry", "firewall", "nft", "wireguard", *COMMON},
    "serving": {"hub", "registry", "firewall", "nft", "wireguard", *COMMON},
    "hub": {"registry", "firewall", "nft", "wireguard", *COMMON},
    "deploy": {"hub", "registry", "wireguard", *COMMON},
    "component": {"nft", "wireguard", *COMMON},
    "registry": {"wireguard", *COMMON},
    "firewall": {"registry", "nft", "wireguard", *COMMON},
    "control": set(),
    "version": set(),
    "nft": {"errors"},
    "wireguard": {"errors", "files"},
    "config_env": {"errors", "files"},
    "probes": {"errors", "findings"},
    "findings": {"errors"},
    "files": {"errors"},
    "logs": {"errors"},
    "errors": set(),
    "signals": set(),
}
WHY = {
    "wireguard": "it knows no hub and no type of peer, so that it can be used on its own",
    "component": "a component is installed at a hospital: nothing of the hub or its registry belongs there",
    "hub": "the hub works without what is served of it, and the daemon does not load it",
    "nft": "hub and component load their tables with it, and a component knows nothing of peers and policies",
    "probes": "every machine is looked at with it, also a host that has nothing of the project but its own tool",
    "registry": "the hub stands on the registry, and a second registry is to fit under the same hub",
}

HEAVY = ["dataclasses", "inspect", "logging", "pyroute2", "cryptography", "subprocess", "json", "asyncio", "wgconfig"]
HEAVY += ["csv", "rich", "segno"]
HEAVY += ["starlette", "uvicorn", "jinja2", "prometheus_client"]


def layer(module: str) -> str | None:
    """The part of the project that a module belongs to; None for what is not the project's."""
    parts = module.split(".")
    if parts[0] != "vpn" or len(parts) < 2:
        return None
    if parts[1] == "bin":
        return "bin"
    return parts[2] if len(parts) > 2 else None


def imported(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and module of every import, wherever it stands: in functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: 1 - node.level or None], *filter(None, [base])])
            # `from vpn.lib import x` imports the module vpn.lib.x.
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def complaints(source: str, module: str) -> list[str]:
    """What a module imports against the direction."""
    mine = layer(module)
    assert mine is not None
    found = []
    for line, name in imported(source, module.rpartition(".")[0]):
        theirs = layer(name)
        if theirs is not None and theirs != mine and theirs not in MAY_IMPORT.get(mine, set()):
            why = WHY.get(
                mine, "imports go from bin to hub and component, to registry, to wireguard, to errors and files"
            )
            found.append(f"{module}, line {line}: {mine} must not import {theirs}: {why}")
    return found


def modules() -> dict[str, Path]:
    """The library's and the scripts' modules that belong to a layer."""
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((ROOT / "vpn").rglob("*.py"))
    }
    return {name: path for name, path in paths.items() if layer(name) is not None}


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_what_lies_below_it(module: str) -> None:
    problems = complaints(modules()[module].read_text(), module)
    assert not problems, "\n".join(problems)


def test_every_part_of_the_library_has_its_place_in_the_order() -> None:
    assert {layer(module) for module in modules()} <= MAY_IMPORT.keys()


def test_the_order_has_no_circles() -> None:
    done: set[str] = set()
    while ready := {name for name, below in MAY_IMPORT.items() if name not in done and below <= done}:
        done |= ready
    assert done == MAY_IMPORT.keys()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("vpn.lib.wireguard.keys", "import vpn.lib.hub.service"),
        ("vpn.lib.wireguard.keys", "def late():\n    from vpn.lib.config_env import load"),
        ("vpn.lib.wireguard.keys", "from vpn.lib import logs"),
        ("vpn.lib.wireguard.keys", "from ..hub import service"),
        ("vpn.lib.registry.store", "if TYPE_CHECKING:\n    from vpn.lib.hub.settings import Settings"),
        ("vpn.lib.component.daemon", "from vpn.lib.registry.peer import Peer"),
        ("vpn.lib.component.daemon", "from vpn.lib.hub import settings"),
        ("vpn.lib.component.daemon", "from vpn.lib.firewall import policy"),
        ("vpn.lib.nft.component_table", "from vpn.lib.firewall.policy import Role"),
        ("vpn.lib.files", "from vpn.bin import configure_peer"),
        ("vpn.lib.findings", "from vpn.lib.probes import machine"),
        ("vpn.lib.probes.judging", "from vpn.lib.hub.listing import View"),
        ("vpn.lib.errors", "from vpn.lib.files import write"),
    ],
)
def test_an_import_against_the_order_is_found_wherever_it_stands(module: str, source: str) -> None:
    assert len(complaints(source, module)) == 1


def loaded_by(statement: str) -> set[str]:
    """The modules that are there after a statement, in a Python of its own."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["vpn.bin.configure_peer", "vpn.lib.hub.matrix"])
def test_a_command_starts_without_the_modules_that_take_long_to_import(module: str) -> None:
    too_much = loaded_by(f"import {module}").intersection(HEAVY)
    assert not too_much, f"a command must start fast; import these where they are used: {sorted(too_much)}"


def test_the_modules_that_take_long_to_import_can_be_told() -> None:
    assert loaded_by(f"import {', '.join(HEAVY)}").issuperset(HEAVY)
