"""State that cannot be read never ends the road: manifest and note, damaged in every way, under every command."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from inline_world import araflow, draw, flow

pytestmark = pytest.mark.usefixtures("inline")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of two classes, each also by itself, and an output of both."""
    world = tmp_path_factory.mktemp("made")
    draw(world)
    for label in ("walk", "run"):
        shutil.copytree(world / "videos" / label, world / f"{label}s" / label)
    return world


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "out", tmp_path / "out"))


def empty(file: Path) -> None:
    file.write_bytes(b"")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def text(file: Path) -> None:
    file.write_text("notes of mine")


def foreign(file: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), file)


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()
    (file / "mine").touch()


def types(file: Path) -> None:
    table = pq.read_table(file)
    number = table.schema.get_field_index("frames")
    pq.write_table(table.set_column(number, "frames", table["frames"].cast(pa.string())), file)


def deep(file: Path) -> None:
    pq.write_table(pq.read_table(file).replace_schema_metadata({"araflow": "[" * 200_000}), file)


def twice(file: Path) -> None:
    table = pq.read_table(file)
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), file)


def escaping(file: Path) -> None:
    table = pq.read_table(file)
    keys = pa.array(["../../x", *table["key"].to_pylist()[1:]])
    pq.write_table(table.set_column(0, table.schema.field(0), keys), file)


def content(path: Path) -> object:
    return sorted(path.iterdir()) if path.is_dir() else path.read_bytes()


@pytest.mark.parametrize("way", [empty, cut, text, foreign, folder, types, deep, twice, escaping])
def test_a_manifest_that_cannot_be_read_is_warned_of_put_aside_and_written_anew(out: Path, made: Path, way):
    file, aside = out / "manifest.parquet", out / "manifest.parquet.unreadable"
    way(file)
    odd = content(file)
    shown = araflow("manifest", "show", out)
    assert (shown.exit_code, len(shown.stderr.splitlines())) == (1, 1)
    assert f"araflow retry {out}" in shown.stderr
    status = araflow("status", out)
    assert (status.exit_code, "its manifest is unreadable: araflow retry" in status.stdout) == (3, True)
    assert status.stderr.startswith(f"warning: {file}: ")
    cleaned = araflow("clean", out, "--yes")
    assert (cleaned.exit_code, cleaned.stdout) == (0, "removed: 0 items, 0 bytes\n")
    assert content(file) == odd
    again = araflow("retry", out) if way is cut else flow(made / "videos", out)
    assert (again.exit_code, f"it is kept as {aside.name}" in again.stderr) == (0, True), again.stderr
    assert (content(aside) if way is not folder else [path.name for path in aside.iterdir()]) == (
        odd if way is not folder else ["mine"]
    )
    assert file.read_bytes() == (made / "out" / "manifest.parquet").read_bytes()
    assert araflow("status", out).exit_code == 0


def test_nothing_that_was_put_aside_before_is_written_over(out: Path, made: Path):
    for number in range(3):
        (out / "manifest.parquet").write_text(f"{number}")
        flow(made / "videos", out)
    kept = [out / f"manifest.parquet.unreadable{end}" for end in ("", "-1", "-2")]
    assert [file.read_text() for file in kept] == ["0", "1", "2"]


@pytest.mark.parametrize("way", [text, foreign])
def test_a_manifest_where_araflow_has_made_nothing_is_somebodys(out: Path, made: Path, tmp_path: Path, way):
    mine = tmp_path / "mine"
    mine.mkdir()
    way(mine / "manifest.parquet")
    before = content(mine / "manifest.parquet")
    result = flow(made / "videos", mine)
    assert (result.exit_code, "choose another out" in result.stderr) == (1, True)
    assert content(mine / "manifest.parquet") == before
    assert not (mine / "clips").exists()


@pytest.mark.parametrize(
    "edit",
    [
        *({"begun": "never"}, {"begun": 3}, {"begun": "0001-01-01T00:00:00"}, {"sources": 5}, {"spec": 5}),
        *({"keys": [None, "b/2"]}, {"keys": ["../x", "b/2"]}, {"keys": ["a", "a"]}, {"labels": ["x"]}, {"spec": {}}),
        *({"labels": [["x"], "b"]}, {"source": 7}, {"plain": "perhaps"}, {"spec": {"out": "x", "dataset": []}}),
        *("", "[1]", "[" * 200_000, '{"a":' * 5000, "\x00", None),
    ],
    ids=lambda edit: str(edit)[:40],
)
def test_a_note_that_cannot_be_read_is_warned_of_and_written_anew(out: Path, made: Path, edit):
    file = out / ".araflow" / "build.json"
    if edit is None:
        cut(file)
    else:
        file.write_text(edit if isinstance(edit, str) else json.dumps(json.loads(file.read_text()) | edit))
    odd = file.read_bytes()
    for command, status in (("status", 0), ("retry", 1), ("clean", 0)):
        result = araflow(command, out)
        assert result.exit_code == status, result.output
        warned, *more = result.stderr.splitlines()
        assert warned.startswith(f"warning: {out}: its note of what was built (.araflow/build.json) cannot be read (")
        assert len(warned) < 500
        if command == "retry":
            assert "run its araflow build again" in more[0]
    assert file.read_bytes() == odd
    again = flow(made / "videos", out)
    assert (again.exit_code, "it is written anew" in again.stderr) == (0, True)
    assert (araflow("status", out).exit_code, araflow("status", out).stderr) == (0, "")


def test_a_second_dataset_is_refused_by_the_note_of_a_build_that_wrote_no_manifest(made: Path, tmp_path: Path):
    out = tmp_path / "out"
    assert flow(made / "walks", out).exit_code == 0
    (out / "manifest.parquet").unlink()  # as if killed before
    before = sorted(path for path in out.rglob("*") if path.is_file())
    refused = flow(made / "runs", out)
    assert (refused.exit_code, "holds 1 other clips, such as 'walk/" in refused.stderr) == (1, True)
    assert sorted(path for path in out.rglob("*") if path.is_file()) == before
    assert flow(made / "videos", out).exit_code == 0  # the same clips, and more


def test_a_manifest_at_an_address_is_put_aside_likewise(made: Path, tmp_path: Path):
    upath = pytest.importorskip("upath", reason="pip install '.[s3]'")
    out = f"memory://damaged{tmp_path}"
    assert flow(made / "videos", out).exit_code == 0
    file = upath.UPath(out) / "manifest.parquet"
    file.write_bytes(b"")
    assert flow(made / "videos", out).exit_code == 0
    assert file.read_bytes() == (made / "out" / "manifest.parquet").read_bytes()
    assert (upath.UPath(out) / "manifest.parquet.unreadable").read_bytes() == b""
