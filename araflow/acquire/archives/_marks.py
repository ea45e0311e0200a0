"""How archives begin: by their own first bytes, or behind a program that unpacks them."""

from __future__ import annotations

from pathlib import Path

RAR4, RAR5 = b"Rar!\x1a\x07\x00", b"Rar!\x1a\x07\x01\x00"  # of RAR 1.5 to 4, and of RAR5
ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08", b"PK00PK\x03\x04")  # with members, empty, and in parts

_PROGRAMS = (b"MZ", b"\x7fELF", b"#!")
_LARGEST_PROGRAM = 4 << 20
"""Bytes before a self-extracting RAR's mark at most, as RARLAB's own readers look for it."""


def is_program(head: bytes) -> bool:
    """Whether a file that begins so may be a self-extracting archive."""
    return head.startswith(_PROGRAMS)


def rar_begin(path: Path) -> tuple[int, int] | None:
    """Return the generation of a RAR archive, 4 or 5, and where its mark is; ``None``: it is none.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(len(RAR5))
        if is_program(head):
            head += file.read(_LARGEST_PROGRAM)
    found = [(at, generation) for generation, mark in ((4, RAR4), (5, RAR5)) if (at := head.find(mark)) >= 0]
    return (min(found)[1], min(found)[0]) if found else None
