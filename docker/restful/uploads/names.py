"""The name that a file came with: for people to read, never a path."""

from __future__ import annotations

import unicodedata

LONGEST = 150
"""Characters; even as four bytes each, quoted in a header, that is far below what clients accept."""

_LONGEST_SUFFIX = 20
NAMELESS = "upload"


def clean(name: str) -> str:
    """``name`` without folders and without what cannot be seen or turns the text around; never empty.

    A long name is shortened before its suffix.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    shown = unicodedata.normalize("NFC", "".join(c for c in last if c.isprintable())).strip(" .")
    if len(shown) > LONGEST:
        stem, dot, suffix = shown.rpartition(".")
        ending = dot + suffix if stem and len(suffix) <= _LONGEST_SUFFIX else ""
        shown = (shown[: LONGEST - len(ending)] + ending).strip(" .")
    return shown or NAMELESS
