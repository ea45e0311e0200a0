"""A clip's source: what its bytes are, and whether it is still the one that was looked at."""

from __future__ import annotations

import hashlib
from pathlib import Path

from araflow.core.reading import open_file
from araflow.media import source_files


def hash_source(source: Path) -> tuple[int, str]:
    """Return the size in bytes and the SHA-256 of a video file, or of the names and bytes of a folder's frames.

    Raises:
        OSError: It cannot be read.
    """
    if not source.is_dir():
        with open_file(source) as file:
            checksum = hashlib.file_digest(file, "sha256")
            return file.tell(), checksum.hexdigest()
    total, checksum = 0, hashlib.sha256()
    for path in source_files.frame_files(source):
        size, inner = hash_source(path)
        total += size
        checksum.update(f"{path.name}\0{inner}\n".encode("utf-8", "surrogateescape"))
    return total, checksum.hexdigest()


def stamp(source: Path) -> str:
    """Return what the file system says of a source, which is another text once it was written to or replaced.

    Of a folder of frames, that is what it says of each of them. Whoever sets the time of the last write to what it was
    cannot set that of the last change of the entry (``st_ctime``).
    """
    try:
        paths = [source, *source_files.frame_files(source)] if source.is_dir() else [source]
        seen = [(path.name, path.stat()) for path in paths]
    except OSError as error:
        return f"unreadable: {error.strerror}"
    facts = [(name, one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for name, one in seen]
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()
