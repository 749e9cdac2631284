"""Hypothesis strategies for spoilt input: arbitrary, or a real sample with a few things done to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hypothesis import settings, strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = os.environ.get("FUZZ_EXAMPLES")
fuzzed = (
    settings(max_examples=150)
    if EXAMPLES is None
    else settings(max_examples=int(EXAMPLES), derandomize=False, deadline=None)
)
"""How much of it: the same few examples each time, or many new ones."""

TOKENS = (
    *(
        "",
        "=",
        "==",
        "\n",
        "\r\n",
        "\r",
        " ",
        "\t",
        "#",
        "'",
        '"',
        "\\",
        "$(id)",
        "`id`",
        "export ",
        "[",
        "]",
        "[[",
        "{",
    ),
    *("\0", "\x1b[2J", "\u202e", "\ufeff", "\ud7ff", "é", "\u0660", "²", "\U0001d7d9"),
    *("0", "-1", "65536", "1e9", "0x10", "NaN", "inf", "99999999999999999999999999", "9" * 5000),
    *(
        "::",
        "0.0.0.0/0",
        "10.220.0.1/33",
        "10.221.0.2/32",
        "fe80::1%eth0",
        "[::1]:1",
        "256.1.1.1",
        "1.2.3",
        "010.1.1.1",
    ),
    *("A" * 43 + "=", "a" * 64, "0" * 64, "f" * 64, "public_key=", "own_public_key=", "errno=0", "errno=-5", "\n\n"),
)


def mutated(samples: Sequence[str]) -> st.SearchStrategy[str]:
    """Text: any, or one of the samples with up to six spoilt places."""
    return st.one_of(st.text(max_size=300), st.builds(_spoil, st.sampled_from(samples), _edits))


def mutated_bytes(samples: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes: any, or one of the samples with up to six spoilt places."""
    return st.one_of(st.binary(max_size=300), st.builds(_spoil_bytes, st.sampled_from(samples), _byte_edits))


_position = st.floats(0, 1)
_edits = st.lists(
    st.tuples(_position, st.integers(0, 80), st.one_of(st.sampled_from(TOKENS), st.text(max_size=8))), max_size=6
)
_byte_edits = st.lists(st.tuples(_position, st.integers(0, 80), st.binary(max_size=8)), max_size=6)


def _spoil(text: str, edits: list[tuple[float, int, str]]) -> str:
    for where, length, replacement in edits:
        start = int(where * len(text))
        text = text[:start] + replacement + text[start + length :]
    return text


def _spoil_bytes(data: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    for where, length, replacement in edits:
        start = int(where * len(data))
        data = data[:start] + replacement + data[start + length :]
    return data
