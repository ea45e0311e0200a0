"""Which files lie in a folder, and which of them are archives by their names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from araflow.acquire.archives import ARCHIVE_SUFFIXES


def files(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder that is not hidden; links are followed, but not in circles."""
    seen = set()

    def fail(error: OSError) -> None:
        raise error  # a folder that cannot be read would be taken for an empty one

    for root, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        status = Path(root).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders[:] = []
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in names if not name.startswith("."))


def is_archive_name(name: str) -> bool:
    """Whether a name suggests an archive; of one in several volumes, only the first."""
    if (volume := re.search(r"\.part(\d+)\.rar$", name, re.IGNORECASE)) and int(volume[1]) != 1:
        return False
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def holds_archives(folder: Path) -> bool:
    """Whether an archive lies in a folder or below it; a pipe, or a link that leads nowhere, is none."""
    return any(is_archive_name(file.name) and file.is_file() for file in files(folder))
