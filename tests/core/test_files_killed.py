"""A file is the old one or the new one, whenever the process that writes it is killed."""

from pathlib import Path

import kills

from araflow.core import files


def test_killed_at_any_moment_it_is_the_old_one_or_the_new_one(tmp_path: Path):
    file = tmp_path / "a.bin"
    files.replace(file, b"old")
    seen = kills.moments(lambda: files.replace(file, b"new"))
    assert [what for what in seen if what.endswith("rename a.bin") or "fsync" in what.partition(" .")[0]]
    for moment, what in enumerate(seen, 1):
        files.replace(file, b"old")
        assert kills.in_a_child(lambda: files.replace(file, b"new"), moment) == -9
        assert file.read_bytes() == (b"new" if moment > seen.index("before rename a.bin") + 1 else b"old"), what
        files.replace(file, b"new")
        assert [path.name for path in tmp_path.iterdir()] == ["a.bin"], what
