"""What araflow writes into folders: whole files, and the names by which it knows its own."""

from __future__ import annotations

from pathlib import Path

PROOF = ".araflow.json"
"""The clip's record: the proof that it is complete."""
STATE = ".araflow"
"""Hidden folder of everything that is not output."""


def replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; leave it untouched if it says the same already.

    Raises:
        OSError: It cannot be written.
    """
    if not isinstance(path, Path):  # an object, which appears whole
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)
        return
    part = path.with_name(path.name + ".part")
    if path.is_file() and path.read_bytes() == content:
        part.unlink(missing_ok=True)  # of a run that was killed
        return
    part.write_bytes(content)
    part.replace(path)
