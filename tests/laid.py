"""Files laid out in a folder, where only their names matter."""

from pathlib import Path


def lay(folder: Path, *names: str, data: bytes = b"x") -> Path:
    """Write a file of each name, with the folders on the way to it."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
