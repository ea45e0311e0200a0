"""A manifest from anybody: what it says is looked at before anything is done with it."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from araflow.core.clip import Clip, ClipRecord, Outcome
from araflow.core.errors import ManifestError, OutputError
from araflow.store.manifest import SCHEMA, Manifest

KEYS = ("a/1", "b/2")


@pytest.fixture(scope="module")
def table() -> pa.Table:
    clips = [Clip("test", key, key[0]) for key in KEYS]
    sizes = {"frames": 3, "flows": 2, "width": 8, "height": 8, "fingerprint": "0" * 16}
    records = [ClipRecord(key, Outcome.DONE, "complete", **sizes) for key in KEYS]
    return Manifest.of(clips, records, labels=["a", "b"], split_of={}, metadata={}, folder=Path()).table


def write(folder: Path, table: pa.Table, header: object = None, **edits: Any) -> Path:
    """Write a manifest whose second row says something else."""
    first, second = table.to_pylist()
    encoded = json.dumps({"schema_version": 1} if header is None else header)
    changed = pa.Table.from_pylist([first, second | edits], schema=SCHEMA).replace_schema_metadata({"araflow": encoded})
    pq.write_table(changed, folder / "manifest.parquet")
    return folder


@pytest.mark.parametrize("columns", [None, ["key"], ["outcome"]])
@pytest.mark.parametrize("key", ["../../x", "/abs/a/1", "", ".", "a//b", "a\0b", "x" * 2000, ".araflow/work", None])
def test_a_key_that_leads_elsewhere_is_refused_and_named(table, tmp_path: Path, key, columns):
    with pytest.raises(ManifestError, match=r"row 1: key ") as refused:
        Manifest.read(write(tmp_path, table, key=key), columns)
    assert repr(key)[:90] in str(refused.value)


@pytest.mark.parametrize("path", ["../x", "/abs/x", "", ".", "clips//a", "a\0b"])
def test_a_path_leads_inside_the_folder(table, tmp_path: Path, path: str):
    with pytest.raises(ManifestError, match=r"row 1: path .*relative path"):
        Manifest.read(write(tmp_path, table, path=path), ["path"])


def test_what_no_build_made_lies_where_it_lies(table, tmp_path: Path):
    rows = [row | {"fingerprint": None, "path": f"/tao/{row['key']}"} for row in table.to_pylist()]
    found = Manifest.read(write(tmp_path, pa.Table.from_pylist(rows, schema=SCHEMA)))
    assert list(found.columns("path")) == [("/tao/a/1",), ("/tao/b/2",)]


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"key": "a/1"}, r"row 1: key 'a/1' is listed twice"),
        ({"outcome": "fine"}, r"row 1: key 'b/2': outcome is 'fine'; allowed: done"),
        ({"outcome": None}, r"row 1: key 'b/2': outcome is None"),
        ({"frames": -1}, r"row 1: key 'b/2': frames is -1; must not be negative"),
        ({"rgb_bytes": -(2**60)}, "rgb_bytes is -1152921504606846976"),
        ({"bound": -0.5}, r"bound is -0\.5"),
        ({"label_index": -1}, "label_index is -1"),
    ],
)
def test_a_row_that_cannot_be_is_refused_with_row_and_column(table, tmp_path: Path, edits, message: str):
    with pytest.raises(ManifestError, match=message):
        Manifest.read(write(tmp_path, table, **edits))


@pytest.mark.parametrize(
    "header", [{"schema_version": 1, "labels": ["a", "a"]}, {"schema_version": [[]] * 99}, [[["x"]]], 7, "x"]
)
def test_metadata_that_cannot_be_are_refused_on_a_line(table, tmp_path: Path, header):
    with pytest.raises(ManifestError) as refused:
        Manifest.read(write(tmp_path, table, header))
    assert len(str(refused.value)) < 400 and "\n" not in str(refused.value)


def test_metadata_of_any_depth_are_refused(table, tmp_path: Path):
    pq.write_table(table.replace_schema_metadata({"araflow": "[" * 200_000}), tmp_path / "manifest.parquet")
    with pytest.raises(ManifestError, match="metadata is not readable"):
        Manifest.read(tmp_path)


def test_text_that_is_no_text_is_refused(table, tmp_path: Path):
    column = pa.array([b"a/1", b"b/\xff"], pa.binary()).view(pa.string())
    number = SCHEMA.get_field_index("label")
    broken = table.set_column(number, SCHEMA.field(number), column)
    pq.write_table(broken.replace_schema_metadata({"araflow": '{"schema_version": 1}'}), tmp_path / "manifest.parquet")
    with pytest.raises(ManifestError, match="not a readable Parquet file"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("damage", [lambda content: content[:-100], lambda content: content[: len(content) // 2]])
def test_a_damaged_manifest_of_a_build_names_the_remedy(table, tmp_path: Path, damage):
    file = write(tmp_path, table) / "manifest.parquet"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ManifestError, match="not a readable") as refused:
        Manifest.read(tmp_path)
    assert "araflow retry" not in str(refused.value)  # nobody knows whose it is
    (tmp_path / ".araflow").mkdir()
    with pytest.raises(ManifestError, match=f"araflow retry {tmp_path}, or the same araflow build, puts it aside"):
        Manifest.read(tmp_path)


def test_no_row_is_written_under_a_key_that_leads_elsewhere(tmp_path: Path):
    record = ClipRecord("../x", Outcome.DONE, "complete")
    with pytest.raises(OutputError, match=r"'\.\./x'"):
        Manifest.of([Clip("test", "../x", "a")], [record], labels=["a"], split_of={}, metadata={}, folder=tmp_path)
