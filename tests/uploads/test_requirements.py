"""The versions in the image are those that are tested, and all that is needed is among them."""

from __future__ import annotations

import configparser
import importlib.metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from tests.uploads.service import PACKAGE

ROOT = Path(__file__).resolve().parents[2]


def pinned() -> dict[NormalizedName, str]:
    """Name and version, from the image's requirements."""
    lines = (PACKAGE / "requirements.txt").read_text().split()
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


def test_the_tests_run_on_what_the_image_has() -> None:
    assert {name: importlib.metadata.version(name) for name in pinned()} == pinned()


def test_the_test_extra_asks_for_the_same() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    asked = [Requirement(line) for line in setup["options.extras_require"]["test"].strip().splitlines()]
    theirs = {canonicalize_name(r.name): str(r.specifier) for r in asked}
    for name in ("django", "djangorestframework", "gunicorn"):
        assert theirs[canonicalize_name(name)] == f"=={pinned()[canonicalize_name(name)]}"


def test_nothing_is_missing_from_the_image() -> None:
    needed = {
        canonicalize_name(requirement.name)
        for name in pinned()
        for requirement in map(Requirement, importlib.metadata.requires(name) or [])
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    }
    assert needed <= set(pinned())
