"""One deployment with everything in it for the tests that only look, or put back what they change."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.containers.deployment import COMPONENTS, Deployment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

UID = 1234
"""Neither the uid that the images were built for nor the one that runs the tests."""

PORT = 52820 + 100 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
"""The first of the ports that this process's deployments publish."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process makes the common deployment, another all the others: an engine has addresses for 30 networks.

    First of all such hooks: xdist's looks for the marks.
    """
    for item in items:
        if item.get_closest_marker("containers") is not None:
            own = "another" in getattr(item, "fixturenames", ())
            item.add_marker(pytest.mark.xdist_group("another" if own else "common"))


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Hub, broker, upload service, node and researcher, made by the procedure and joined."""
    made = Deployment(tmp_path_factory.mktemp("consortium"), f"-test{os.getpid()}", UID, PORT)
    try:
        made.up("vpnserver")
        made.wait_healthy("vpnserver")
        for name in COMPONENTS:
            made.enrol(name)
        made.wait_healthy(*COMPONENTS)
        yield made
    finally:
        made.down()


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """Makes further deployments, which are gone after the test."""
    made: list[Deployment] = []

    def make(**environ: str) -> Deployment:
        number = len(made) + 1
        folder = tmp_path / str(number)
        made.append(Deployment(folder, f"-test{os.getpid()}-{number}", UID, PORT + 10 * number, **environ))
        return made[-1]

    yield make
    for one in made:
        one.down()
