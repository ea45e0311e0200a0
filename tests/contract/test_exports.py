"""What holds for every export: it says what it wrote, writes it again byte for byte, and replaces nothing."""

import csv
from pathlib import Path

import pytest

from araflow import exports
from araflow.core import resources
from araflow.core.errors import OutputError, SpecError
from araflow.store.manifest import Manifest

OUTPUT = Path(__file__).parents[1] / "guards" / "output"
every_export = pytest.mark.parametrize("name", resources.plugins("exports"))


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@every_export
def test_what_is_written_is_said_and_the_same_each_time(name: str, tmp_path: Path):
    manifest = Manifest.read(OUTPUT)
    for folder in (tmp_path / "first" / "below", tmp_path / "second"):
        written = exports.load(name).write(manifest, folder)
        assert written == sorted(path for path in folder.rglob("*") if path.is_file())
    assert files(tmp_path / "first" / "below") == files(tmp_path / "second")
    assert all(files(tmp_path / "second").values())


@every_export
def test_what_lies_there_stays(name: str, tmp_path: Path):
    for path in exports.load(name).write(Manifest.read(OUTPUT), tmp_path):
        path.write_text("mine")
    (tmp_path / "notes.txt").write_text("mine, too")
    before = files(tmp_path)
    with pytest.raises(OutputError, match="is there already; remove it, or choose another folder"):
        exports.load(name).write(Manifest.read(OUTPUT), tmp_path)
    assert files(tmp_path) == before


def test_an_unknown_format_is_refused_by_name():
    with pytest.raises(SpecError, match=r"export: 'cvs' is no format; allowed: csv; did you mean csv\?|did you mean"):
        exports.load("cvs")


def test_csv_holds_every_row_and_column(tmp_path: Path):
    manifest = Manifest.read(OUTPUT)
    (file,) = exports.load("csv").write(manifest, tmp_path)
    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    assert [(row["key"], row["outcome"]) for row in rows] == list(manifest.columns("key", "outcome"))
    assert list(rows[0]) == manifest.table.column_names
    assert {row["radii"] for row in rows} == {""}
    assert [row["bound"] for row in rows if row["outcome"] == "done"] == ["20"] * 3
