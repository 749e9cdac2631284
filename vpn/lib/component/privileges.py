"""What an application must not inherit: the capability that its tunnel needs."""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PR_CAP_AMBIENT = 47
_IS_SET, _RAISE, _CLEAR_ALL = 1, 2, 4
_CAP_NET_ADMIN = 12
"""Numbers of prctl(2) and capability.h."""


@contextmanager
def without_ambient_capabilities() -> Iterator[None]:
    """Programs that this thread starts meanwhile get no ambient capability (capabilities(7)).

    Where the component runs as an ordinary user, CAP_NET_ADMIN is ambient, so that the WireGuard daemon has it; an
    application has no use for it. Raises OSError.
    """
    if _prctl(_IS_SET, _CAP_NET_ADMIN) != 1:
        yield
        return
    _prctl(_CLEAR_ALL, 0)
    try:
        yield
    finally:
        _prctl(_RAISE, _CAP_NET_ADMIN)


def _prctl(operation: int, capability: int) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    done = int(library.prctl(_PR_CAP_AMBIENT, operation, capability, 0, 0))
    if done < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return done
