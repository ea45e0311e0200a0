import contextlib
import os
import shutil
from pathlib import Path

import pytest
from makers import read

from araflow.acquire.archives import open_archive, unpack
from araflow.core.errors import ArchiveError


class There:
    """Writes an archive and unpacks it; what lies beside the target afterwards is looked at, too."""

    def __init__(self, folder: Path) -> None:
        self.archive = folder / "in" / "archive"
        self.archive.parent.mkdir()
        self.target = folder / "out" / "unpacked"
        self.folder = folder

    def __call__(self, data: bytes, **options) -> dict[str, bytes]:
        self.archive.write_bytes(data)
        self.done = unpack(self.archive, self.target, **options)
        assert self.beside() == ["unpacked"]
        found = self.read()
        assert self.done.files == len(found)
        assert self.done.bytes == sum(map(len, found.values()))
        return found

    def read(self) -> dict[str, bytes]:
        return read(self.target)

    def everything(self) -> list[str]:
        """Return every file, folder and link below the target."""
        return sorted(path.relative_to(self.target).as_posix() for path in self.target.rglob("*"))

    def beside(self) -> list[str]:
        return sorted(path.name for path in self.target.parent.iterdir()) if self.target.parent.exists() else []

    def refuses(self, data: bytes, match: str) -> None:
        """Neither listing nor unpacking ends in anything but our error, and nothing is left."""
        self.archive.write_bytes(data)
        with pytest.raises(ArchiveError, match=match) as caught:
            unpack(self.archive, self.target)
        assert str(self.archive) in str(caught.value)
        assert not self.target.exists()
        assert self.beside() == []
        with contextlib.suppress(ArchiveError), open_archive(self.archive) as archive:
            archive.members()


@pytest.fixture
def there(tmp_path):
    return There(tmp_path)


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Decides which tools are found: real ones by name, and scripts of one's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    outside = os.environ["PATH"]

    def decide(*names: str, **scripts: str) -> None:
        for name in names:
            (folder / name).symlink_to(shutil.which(name, path=outside))
        for name, script in scripts.items():
            path = folder / name.replace("_", "-")
            path.write_text(f"#!/bin/sh\nPATH='{outside}'\n{script}\n")
            path.chmod(0o755)

    monkeypatch.setenv("PATH", str(folder))
    return decide
