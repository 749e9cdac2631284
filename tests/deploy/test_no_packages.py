"""The tool needs a Python and nothing else, and of this project little."""

from __future__ import annotations

import subprocess
import sys

from tests.bin.scripts import ROOT
from vpn.lib.deploy.exporting import TOOL

EVERYTHING = """
import importlib, pkgutil, sys
sys.path.insert(0, {root!r})
import vpn.bin.completion, vpn.bin.fedbiomed_vpn, vpn.lib.deploy
for module in pkgutil.iter_modules(vpn.lib.deploy.__path__):
    importlib.import_module("vpn.lib.deploy." + module.name)
print(*sys.modules)
"""


def test_only_the_standard_library_is_imported() -> None:
    # -S: without the packages of the machine; -I: without what the environment adds.
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", EVERYTHING.format(root=str(ROOT))],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    modules = set(done.stdout.split())
    foreign = {name for name in modules if name.partition(".")[0] not in {*sys.stdlib_module_names, "vpn", "__main__"}}
    assert not foreign
    ours = {name for name in modules if name.startswith("vpn.") and not name.startswith("vpn.lib.deploy")}
    handed_over = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in TOOL}
    assert ours == handed_over - {"vpn"}
