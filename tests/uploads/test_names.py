"""The names that files come with."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from uploads import names


@pytest.mark.parametrize(
    ("given_name", "shown"),
    [
        ("model.bin", "model.bin"),
        ("../../etc/passwd", "passwd"),
        ("C:\\models\\m.pt", "m.pt"),
        ("a\0b", "ab"),
        ("a\r\nX-Evil: 1", "aX-Evil: 1"),
        ("photo\u202egnp.exe", "photognp.exe"),
        ("", "upload"),
        ("..", "upload"),
        ("a/", "upload"),
        ("Modell für Köln.pt", "Modell für Köln.pt"),
        ("x" * 300 + ".tar.gz", "x" * 147 + ".gz"),
        ("a." + "y" * 300, "a." + "y" * 148),
    ],
)
def test_what_is_shown(given_name: str, shown: str) -> None:
    assert names.clean(given_name) == shown


@given(st.text())
def test_whatever_it_was_it_can_be_shown(name: str) -> None:
    shown = names.clean(name)
    assert shown.isprintable()
    assert 0 < len(shown) <= names.LONGEST
    assert not set("/\\") & set(shown)
    assert shown not in {".", ".."}
    assert names.clean(shown) == shown
