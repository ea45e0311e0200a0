"""The manifest file, and what ``validate`` finds when files and rows differ."""

import dataclasses
import hashlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from araflow.core.clip import REASONS, Attributes, Clip, ClipRecord, Outcome, source_status
from araflow.core.errors import ManifestError
from araflow.store import summary
from araflow.store.address import open_store
from araflow.store.audit import check, strays, validate
from araflow.store.differences import differences
from araflow.store.layout import KINDS, files_digest, stem
from araflow.store.manifest import SCHEMA, SCHEMA_VERSION, Manifest
from araflow.store.store import Store

WIDTH, HEIGHT, FRAMES = 24, 16, 4
LABELS = ("walk", "run")
GOOD = "walk/film_0"


def clip(key: str, **fields: object) -> Clip:
    made = Clip("test", key, key.partition("/")[0], group="film", folds=(1, 2, 0), name=f"{key}.avi")
    return dataclasses.replace(made, **fields)  # type: ignore[arg-type]


def done(key: str, **fields: object) -> ClipRecord:
    made = ClipRecord(
        key=key,
        outcome=Outcome.DONE,
        reason="complete",
        source_bytes=1234,
        source_sha256="ab" * 32,
        width=WIDTH,
        height=HEIGHT,
        fps=29.97,
        header_frames=FRAMES + 1,
        frames=FRAMES,
        flows=FRAMES - 1,
        rgb_bytes=0,
        flow_bytes=0,
        backend="opencv",
        algorithm="dis",
        preset="balanced",
        flow_parameters='{"patch_size": 8}',
        quantizer="max_radius",
        jpeg_quality=95,
        radii=(1.0, 2.5, 3.25),
        saturated=0.0,
        damaged=False,
        fingerprint="0123456789abcdef",
        rgb_fingerprint="fedcba9876543210",
        software="test 1.0",
    )
    return dataclasses.replace(made, **fields)  # type: ignore[arg-type]


def write_clip(store: Store, key: str) -> ClipRecord:
    rng = np.random.default_rng(len(key))
    draft = store.begin()
    for index in range(FRAMES):
        image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        name = stem("card", index, FRAMES)
        draft.write("rgb", f"{name}.png", cv2.imencode(".png", image)[1].tobytes())
        for kind in ("u", "v") if index < FRAMES - 1 else ():
            draft.write(kind, f"{name}.jpg", cv2.imencode(".jpg", image[..., 0])[1].tobytes())
    flow_bytes = draft.written["u"] + draft.written["v"]
    digests = {"rgb_sha256": draft.digest("rgb"), "flow_sha256": draft.digest("u", "v")}
    record = done(key, rgb_bytes=draft.written["rgb"], flow_bytes=flow_bytes, **digests)
    store.commit(draft, record, keep_rgb=False)
    return record


CLIPS = [
    clip(GOOD, attributes=Attributes("full", "static", 1, "left", "good")),
    clip("walk/film_1", folds=(2, 1, 0)),
    clip("run/gone", folds=(None, None, None), group=None),
    clip("run/bad_é#1"),
    clip("loose", label=None),
]
SPLITS = {GOOD: "train", "walk/film_1": "test", "run/gone": "train"}
BAD = [
    ClipRecord("run/gone", Outcome.QUARANTINED, "missing: listed but not in the source"),
    ClipRecord("run/bad_é#1", Outcome.FAILED, "timeout: took too long", source_bytes=5, frames=1, flows=0),
]


def manifest_of(records: list[ClipRecord], folder: Path, clips: list[Clip] = CLIPS) -> Manifest:
    metadata = {"name": "test", "spec": {"optical": {"bound": 20.0}}, "labels": list(LABELS)}
    return Manifest.of(clips, records, labels=LABELS, split_of=SPLITS, metadata=metadata, folder=folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with three finished clips, a missing and a failed one."""
    store = open_store(tmp_path_factory.mktemp("made"))
    with store.locked():
        records = [write_clip(store, key) for key in (GOOD, "walk/film_1", "loose")]
    manifest_of([*records, *BAD], store.out).write(store.manifest)
    return store.out


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "out"))


def digests(folder: Path) -> list[tuple[str, str]]:
    """The SHA-256 of each file below a folder."""
    return [
        (path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.rglob("*")
        if path.is_file()
    ]


def row(manifest: Manifest, key: str) -> dict[str, object]:
    return next(row for row in manifest.table.to_pylist() if row["key"] == key)


# --- rows ---


def test_a_file_of_before_the_numbers_of_flow_were_noted_is_read(out: Path):
    table = pq.read_table(out / "manifest.parquet").drop_columns(["flow_parameters", "jpeg_quality"])
    pq.write_table(table, out / "manifest.parquet", compression="zstd")
    earlier = Manifest.read(out)
    assert earlier.table.schema.equals(SCHEMA)
    assert {(row["flow_parameters"], row["jpeg_quality"]) for row in earlier.table.to_pylist()} == {(None, None)}


def test_a_file_of_before_saturated_flow_was_counted_is_read(out: Path):
    table = pq.read_table(out / "manifest.parquet").drop_columns(["saturated"])
    pq.write_table(table, out / "manifest.parquet", compression="zstd")
    earlier = Manifest.read(out)
    assert earlier.table.schema.equals(SCHEMA)
    assert {row["saturated"] for row in earlier.table.to_pylist()} == {None}
    assert validate(earlier) == []


def test_a_file_of_before_there_was_lossless_flow_is_read_and_differs_in_nothing(out: Path, tmp_path: Path):
    # As the version before wrote it: the same, without the column.
    current = Manifest.read(out)
    table = pq.read_table(out / "manifest.parquet").drop_columns(["lossless_bytes"])
    assert len(table.schema) == len(SCHEMA) - 1
    pq.write_table(table, out / "manifest.parquet", compression="zstd")
    earlier = Manifest.read(out)
    assert earlier.table.schema.equals(SCHEMA)
    assert earlier.table.to_pylist() == current.table.to_pylist()
    assert {row["lossless_bytes"] for row in earlier.table.to_pylist()} == {None}
    assert differences(earlier, current) == []
    assert validate(earlier) == []


@pytest.mark.parametrize("column", ["flow_bytes", "key", "software"])
def test_a_file_without_another_column_is_refused(out: Path, column: str):
    table = pq.read_table(out / "manifest.parquet").drop_columns([column])
    pq.write_table(table, out / "manifest.parquet")
    with pytest.raises(ManifestError, match="columns are not those of schema version 1"):
        Manifest.read(out)


def test_a_row_joins_clip_and_record(made: Path):
    found = row(Manifest.read(made), GOOD)
    assert found == {
        "key": GOOD,
        "dataset": "test",
        "label": "walk",
        "label_index": 0,
        "split": "train",
        "fold1": 1,
        "fold2": 2,
        "fold3": 0,
        "subset": None,
        "group": "film",
        "body": "full",
        "camera": "static",
        "people": 1,
        "view": "left",
        "quality": "good",
        "source": f"{GOOD}.avi",
        "source_bytes": 1234,
        "source_sha256": "ab" * 32,
        "status": "ok",
        "width": WIDTH,
        "height": HEIGHT,
        "rotation": None,
        "mirrored": None,
        "fps": 29.97,
        "header_frames": FRAMES + 1,
        "rgb_fps": None,
        "short_side": None,
        "rgb_format": None,
        "rgb_quality": None,
        "frames": FRAMES,
        "flows": FRAMES - 1,
        "rgb_bytes": sum(path.stat().st_size for path in (made / "clips" / GOOD / "rgb").iterdir()),
        "flow_bytes": sum(path.stat().st_size for kind in "uv" for path in (made / "clips" / GOOD / kind).iterdir()),
        "lossless_bytes": None,
        "also": None,
        "also_bytes": None,
        "rgb_sha256": files_digest({n: d for n, d in digests(made / "clips" / GOOD) if n.startswith("rgb/")}),
        "flow_sha256": files_digest({n: d for n, d in digests(made / "clips" / GOOD) if n[0] in "uv"}),
        "backend": "opencv",
        "algorithm": "dis",
        "preset": "balanced",
        "flow_parameters": '{"patch_size": 8}',
        "quantizer": "max_radius",
        "bound": None,
        "jpeg_quality": 95,
        "radii": [1.0, 2.5, 3.25],
        "saturated": 0.0,
        "damaged": False,
        "outcome": "done",
        "reason": "complete",
        "fingerprint": "0123456789abcdef",
        "software": "test 1.0",
        "path": f"clips/{GOOD}",
    }
    assert list(found) == SCHEMA.names


@pytest.mark.parametrize(
    ("outcome", "reason", "status", "where_replaced"),
    [
        (Outcome.DONE, "complete", "ok", "replaced"),
        (Outcome.DONE, "complete: the decoder concealed damage", "ok", "replaced"),
        (Outcome.QUARANTINED, "missing: listed but not in the source", "missing", "missing"),
        (Outcome.QUARANTINED, "truncated: 500 of 21,000 bytes", "corrupt", "corrupt"),
        (Outcome.QUARANTINED, "empty", "corrupt", "corrupt"),
        (Outcome.QUARANTINED, "not-a-video: no stream", "corrupt", "corrupt"),
        (Outcome.QUARANTINED, "no-frames", "corrupt", "corrupt"),
        (Outcome.QUARANTINED, "decode-error: at frame 3", "corrupt", "corrupt"),
        (Outcome.QUARANTINED, "crashed: twice", "corrupt", "corrupt"),
        (Outcome.QUARANTINED, "one-frame", "ok", "replaced"),  # whole, though of no use here
        (Outcome.QUARANTINED, "frame-size: 8x8", "ok", "replaced"),
        (Outcome.FAILED, "io-error: in no part that could be fetched", None, None),
        (Outcome.FAILED, "crashed: killed from outside, twice", None, None),
        (Outcome.FAILED, "timeout: took longer", None, None),
    ],
)
def test_the_status_says_how_the_datasets_copy_was_found(outcome, reason, status, where_replaced):
    record = ClipRecord(GOOD, outcome, reason)
    assert source_status(clip(GOOD), record) == status
    assert source_status(clip(GOOD, replaced=True), record) == where_replaced


def test_every_reason_that_the_code_knows_has_a_status():
    for code in REASONS:
        assert source_status(clip(GOOD), ClipRecord(GOOD, Outcome.QUARANTINED, code)) in ("ok", "missing", "corrupt")


def test_a_row_has_the_subset_and_the_status(tmp_path: Path):
    clips = [clip("walk/a", subset="val", replaced=True), clip("walk/b", subset="test"), clip("walk/c")]
    records = [
        ClipRecord("walk/a", Outcome.DONE, "complete"),
        ClipRecord("walk/b", Outcome.QUARANTINED, "missing"),
        ClipRecord("walk/c", Outcome.FAILED, "error: x"),
    ]
    manifest = manifest_of(records, tmp_path, clips)
    manifest.write(tmp_path / "manifest.parquet")
    found = [(row["subset"], row["status"]) for row in Manifest.read(tmp_path).table.to_pylist()]
    assert found == [("val", "replaced"), ("test", "missing"), (None, None)]


def test_every_listed_clip_is_a_row_whatever_its_outcome(made: Path):
    manifest = Manifest.read(made)
    assert [row["key"] for row in manifest.table.to_pylist()] == sorted(clip.key for clip in CLIPS)
    assert manifest.outcomes() == {"done": 3, "quarantined": 1, "failed": 1}
    assert len(manifest) == sum(manifest.outcomes().values()) == len(CLIPS)
    for key in ("run/gone", "run/bad_é#1"):
        assert row(manifest, key)["path"] is None
    assert row(manifest, "run/gone")["label_index"] == 1
    assert (row(manifest, "loose")["label"], row(manifest, "loose")["label_index"]) == (None, None)
    assert row(manifest, "loose")["split"] is None
    assert repr(manifest).startswith("Manifest(5 clips, {'done': 3")


@pytest.mark.parametrize(
    ("clips", "records"),
    [
        (CLIPS[:2], [done(GOOD)]),
        (CLIPS[:1], [done(GOOD), done("walk/film_1")]),
        (CLIPS[:1], [done("walk/film_1")]),
        ([CLIPS[0], CLIPS[0]], [done(GOOD)]),
        ([CLIPS[0], CLIPS[0]], [done(GOOD), done(GOOD)]),
        (CLIPS[:1], [done(GOOD), done(GOOD)]),
    ],
)
def test_clips_and_records_must_belong_together(clips: list[Clip], records: list[ClipRecord], tmp_path: Path):
    with pytest.raises(ManifestError, match="do not belong together"):
        manifest_of(records, tmp_path, clips)


# --- the file ---


def test_the_file_is_parquet_with_the_schema_and_its_settings(made: Path):
    file = pq.ParquetFile(made / "manifest.parquet")
    with file:
        assert file.schema_arrow.names == SCHEMA.names
        assert [field.type for field in file.schema_arrow if field.name != "radii"] == [
            field.type for field in SCHEMA if field.name != "radii"
        ]
        assert pa.types.is_list(file.schema_arrow.field("radii").type)
        assert file.schema_arrow.field("radii").type.value_type == pa.float32()
        assert {file.metadata.row_group(0).column(i).compression for i in range(file.metadata.num_columns)} == {"ZSTD"}
        metadata = json.loads(file.schema_arrow.metadata[b"araflow"])
    assert metadata["schema_version"] == SCHEMA_VERSION
    assert metadata["spec"] == {"optical": {"bound": 20.0}}
    assert metadata["labels"] == ["walk", "run"]
    assert metadata["araflow"]


def test_round_trip(made: Path):
    first = Manifest.read(made)
    again = Manifest.read(made / "manifest.parquet")
    assert first.table.to_pylist() == again.table.to_pylist()
    assert first.metadata == again.metadata
    assert first.folder == again.folder == made
    assert differences(first, again) == []


def test_the_same_rows_in_any_order_give_the_same_bytes(made: Path, tmp_path: Path):
    rows = Manifest.read(made)
    rng, written = random.Random(0), set()
    records = [done(GOOD), done("walk/film_1"), done("loose"), *BAD]
    for number in range(6):
        clips = rng.sample(CLIPS, len(CLIPS))
        folder = tmp_path / f"folder {number}"
        folder.mkdir()
        manifest_of(rng.sample(records, len(records)), folder, clips).write(folder / "manifest.parquet")
        written.add((folder / "manifest.parquet").read_bytes())
    assert len(written) == 1
    assert len(rows) == len(CLIPS)


def test_reading_and_writing_gives_the_same_bytes_and_leaves_the_file_alone(out: Path):
    file = out / "manifest.parquet"
    before, content = file.stat(), file.read_bytes()
    manifest = Manifest.read(out)
    del manifest.metadata["araflow"]
    manifest.write(file)
    assert file.read_bytes() == content
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not list(out.glob("*.part"))


def test_a_folder_named_as_a_hive_partition_adds_no_columns(made: Path, tmp_path: Path):
    folder = tmp_path / "fold=1"
    shutil.copytree(made, folder)
    assert Manifest.read(folder).table.to_pylist() == Manifest.read(made).table.to_pylist()


def test_what_is_no_manifest_says_why(made: Path, tmp_path: Path):
    with pytest.raises(ManifestError, match="no such manifest"):
        Manifest.read(tmp_path)
    with pytest.raises(ManifestError, match="no such manifest"):
        Manifest.read(tmp_path / "absent.parquet")
    file = tmp_path / "x.parquet"
    content = (made / "manifest.parquet").read_bytes()
    for damaged in (b"", b"PAR1", b"not parquet", content[:-100], content[100:], b"\0" * 1000):
        file.write_bytes(damaged)
        with pytest.raises(ManifestError, match="not a readable Parquet file"):
            Manifest.read(file)
    table = pq.read_table(made / "manifest.parquet")
    for metadata, message in (
        (None, "not written by araflow"),
        ({"araflow": '{"schema_version": 999}'}, "schema version 999, this araflow reads 1"),
        ({"araflow": "{}"}, "schema version None"),
        ({"araflow": "{"}, "its metadata is not readable"),
        ({"araflow": "[1]"}, "its metadata is not readable"),
    ):
        pq.write_table(table.replace_schema_metadata(metadata), file)
        with pytest.raises(ManifestError, match=message):
            Manifest.read(file)
    header = {"araflow": f'{{"schema_version": {SCHEMA_VERSION}}}'}
    fewer = table.drop_columns(["radii"])
    retyped = table.set_column(table.schema.get_field_index("frames"), "frames", table["frames"].cast(pa.string()))
    for other in (fewer, retyped):
        pq.write_table(other.replace_schema_metadata(header), file)
        with pytest.raises(ManifestError, match="columns are not those of schema version"):
            Manifest.read(file)


def test_differences_name_clip_column_and_both_values(made: Path):
    left = Manifest.read(made)
    right = manifest_of(
        [done(GOOD, frames=5, reason="complete: x"), done("walk/film_2"), done("loose"), *BAD],
        made,
        [CLIPS[0], clip("walk/film_2"), *CLIPS[2:]],
    )
    right.metadata["name"] = "other"
    lines = differences(left, right)
    assert "- walk/film_1: only in the first" in lines
    assert "+ walk/film_2: only in the second" in lines
    (changed,) = [line for line in lines if line.startswith(f"~ {GOOD}")]
    assert "frames 4 -> 5" in changed
    assert 'reason "complete" -> "complete: x"' in changed
    assert "width" not in changed
    assert "~ metadata name: test -> other" in lines
    assert not [line for line in lines if "run/" in line]


# --- validate ---


def test_a_good_folder_has_no_differences(made: Path):
    seen: list[str] = []
    assert validate(Manifest.read(made), on_clip=seen.append) == []
    assert sorted(seen) == sorted(clip.key for clip in CLIPS)
    assert validate(Manifest.read(made), decode=False) == []


def remove(path: Path) -> None:
    path.unlink()


def add(path: Path) -> None:
    shutil.copy(path, path.with_stem("0099"))


def rename(path: Path) -> None:
    path.rename(path.with_stem("0098"))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def overwrite(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 8
    path.write_bytes(bytes(data))


def resize(path: Path) -> None:
    image = cv2.resize(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), (WIDTH + 2, HEIGHT))
    cv2.imwrite(str(path), image)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (remove, "holds"),
        (add, "holds"),
        (rename, "not named as the frames"),
        (truncate, "bytes"),
        (empty, "does not decode"),
        (overwrite, "does not decode"),
        (resize, "expected"),
        (make_folder, "does not decode"),
    ],
)
def test_validate_finds_a_damaged_file(out: Path, kind: str, damage: Callable[[Path], None], found: str):
    files = sorted((out / "clips" / GOOD / kind).iterdir())
    damage(files[1])
    problems = validate(Manifest.read(out))
    assert problems
    assert all(problem.startswith(f"{GOOD}: ") for problem in problems)
    assert any(found in problem for problem in problems), problems


def test_validate_finds_flipped_bits_in_a_frame(out: Path):
    file = out / "clips" / GOOD / "rgb" / "0001.png"
    flip(file)
    assert validate(Manifest.read(out)) == [f"{GOOD}: rgb/0001.png does not decode"]
    assert validate(Manifest.read(out), decode=False) == []


def test_validate_finds_a_gray_frame(out: Path):
    file = out / "clips" / GOOD / "rgb" / "0001.png"
    cv2.imwrite(str(file), cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
    assert f"{GOOD}: rgb/0001.png is (16, 24), expected (16, 24, 3)" in validate(Manifest.read(out))


@pytest.mark.parametrize("folder", ["", "rgb", "u", "v"])
def test_validate_finds_a_missing_folder(out: Path, folder: str):
    shutil.rmtree(out / "clips" / GOOD / folder)
    (problem,) = validate(Manifest.read(out))
    assert problem == f"{GOOD}: {folder or 'rgb'}: No such file or directory"


@pytest.mark.parametrize(
    ("share", "warned"), [(None, False), (0.0, False), (0.05, False), (0.0501, True), (0.31, True)]
)
def test_a_clip_whose_flow_is_cut_off_is_warned_of(
    out: Path, caplog: pytest.LogCaptureFixture, share: float | None, warned: bool
):
    manifest = Manifest.read(out)
    shares = [share if key == GOOD else None for key in manifest.table["key"].to_pylist()]
    place = SCHEMA.get_field_index("saturated")
    manifest.table = manifest.table.set_column(place, SCHEMA.field("saturated"), pa.array(shares, pa.float64()))
    check(manifest)
    told = [line for line in caplog.messages if "raise optical.bound" in line]
    assert [GOOD in line for line in told] == [True] * warned


def test_clip_folders_without_a_finished_row_are_found(out: Path):
    assert strays(Manifest.read(out)) == []
    shutil.copytree(out / "clips" / GOOD, out / "clips" / "walk" / "stray")
    shutil.copytree(out / "clips" / GOOD, out / "clips" / "run" / "gone")  # listed, but not as finished
    assert strays(Manifest.read(out)) == ["clips/run/gone", "clips/walk/stray"]


@pytest.mark.parametrize("label", KINDS)
def test_a_class_may_be_called_as_a_kind_of_frame(out: Path, label: str):
    shutil.move(out / "clips" / "walk", out / "clips" / label)
    manifest = Manifest.read(out)
    paths = [path and path.replace("walk", label) for path in manifest.table["path"].to_pylist()]
    manifest.table = manifest.table.set_column(SCHEMA.get_field_index("path"), "path", pa.array(paths))
    assert validate(manifest) == strays(manifest) == []


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"frames": 9, "flows": 8}, "rgb holds 4 files, the row says 9"),
        ({"flows": 4}, "flows must be frames - 1"),
        ({"frames": None}, "flows must be frames - 1"),
        ({"path": None}, "path=None"),
        ({"rgb_bytes": 7}, "rgb_bytes says 7"),
        ({"flow_bytes": 7}, "flow_bytes says 7"),
        ({"width": WIDTH + 1}, "rgb/0000.png is (16, 24, 3), expected (16, 25, 3)"),
        ({"radii": [1.0]}, "has 1 radii for 3 flows"),
        ({"radii": None}, "has 0 radii for 3 flows"),
        ({"outcome": "fine"}, "outcome is 'fine'"),
        ({"outcome": "failed"}, "is failed but has a path"),
        ({"reason": ""}, "has no reason"),
        ({"reason": None}, "has no reason"),
    ],
)
def test_validate_finds_a_wrong_row(made: Path, fields: dict[str, object], found: str):
    rows = Manifest.read(made).table.to_pylist()
    changed = [row | fields if row["key"] == GOOD else row for row in rows]
    problems = validate(Manifest(pa.Table.from_pylist(changed, schema=SCHEMA), {}, made))
    assert any(problem.startswith(f"{GOOD}: ") and found in problem for problem in problems), problems


def test_validate_finds_a_clip_listed_twice(made: Path):
    rows = Manifest.read(made).table.to_pylist()
    problems = validate(Manifest(pa.Table.from_pylist([rows[0], *rows], schema=SCHEMA), {}, made))
    assert problems == [f"{rows[0]['key']}: listed twice"]


# --- in a few numbers ---


def test_the_summary_adds_up(made: Path):
    manifest = Manifest.read(made)
    found = summary.by_class(manifest)
    table = {row["class"]: row for row in found.classes}
    assert list(table) == ["walk", "run", "(no class)"]
    for row in (*table.values(), found.total):
        assert row["listed"] == sum(row[outcome.value] for outcome in Outcome)
    assert found.total == {
        "listed": 5,
        "done": 3,
        "filtered": 0,
        "quarantined": 1,
        "failed": 1,
        "train": 1,
        "val": 0,
        "test": 1,
        "unused": 0,
        "leaked": 1,
        "source unknown": 0,
        "frames": 3 * FRAMES,
    }
    assert table["walk"]["leaked"] == 1  # film_1 tests, film_0 of the same film trains
    assert summary.reasons(manifest) == {"missing": 1, "timeout": 1}
    line = summary.last_line(manifest, 0, 1.23)
    assert line == ("5 clips listed: 3 done, 1 failed, 1 quarantined (1 missing, 1 timeout); nothing to do, 1.2 s")
    assert "; 2 worked on," in summary.last_line(manifest, 2, 1.0)


def test_a_file_from_before_there_were_subset_and_status_is_read_with_nulls(made: Path, tmp_path: Path):
    read = Manifest.read(made)
    stored = pq.read_table(pa.BufferReader((made / "manifest.parquet").read_bytes()))
    older = stored.drop_columns(["subset", "status"])
    pq.write_table(older, tmp_path / "manifest.parquet")
    again = Manifest.read(tmp_path / "manifest.parquet")
    assert again.table.schema.equals(SCHEMA)
    assert [row | {"subset": None, "status": None} for row in read.table.to_pylist()] == again.table.to_pylist()


# --- what other tools wrote ---


def foreign(made: Path, folder: Path, header: dict[str, object], **columns: object) -> Manifest:
    """A file with another header, and with other values in every row."""
    rows = [row | columns for row in Manifest.read(made).table.to_pylist()]
    encoded = json.dumps({"schema_version": SCHEMA_VERSION, **header})
    table = pa.Table.from_pylist(rows, schema=SCHEMA).replace_schema_metadata({"araflow": encoded})
    pq.write_table(table, folder / "manifest.parquet")
    return Manifest.read(folder)


def test_a_file_that_says_nothing_of_its_build_is_read(made: Path, tmp_path: Path):
    manifest = foreign(made, tmp_path, {})
    assert (manifest.name, manifest.settings, manifest.labels) == ("", {}, ("walk", "run"))
    assert [row["class"] for row in summary.by_class(manifest).classes] == ["walk", "run", "(no class)"]
    unnumbered = foreign(made, tmp_path, {}, label_index=None)
    assert unnumbered.labels == ("run", "walk")


@pytest.mark.parametrize(
    "header", [{"labels": "walk"}, {"labels": [1]}, {"labels": {"walk": 0}}, {"spec": [1]}, {"spec": {"optical": 3}}]
)
def test_a_file_whose_header_says_what_cannot_be_is_refused(made: Path, tmp_path: Path, header: dict[str, object]):
    with pytest.raises(ManifestError, match=r"its metadata is not readable: (labels|spec)"):
        foreign(made, tmp_path, header)


def test_rows_that_know_little_are_counted(made: Path, tmp_path: Path):
    manifest = foreign(made, tmp_path, {}, frames=None, flows=None, reason=None, split=None, group=None)
    found = summary.by_class(manifest)
    assert (found.total["listed"], found.total["frames"], found.total["leaked"]) == (5, 0, 0)
    assert summary.reasons(manifest) == {"": 2}
    assert len(validate(manifest)) == 8  # of each row that it has no reason, of each finished one that it has no counts


# --- by columns ---


def test_columns_are_yielded_clip_by_clip(made: Path):
    manifest = Manifest.read(made)
    assert list(manifest.columns("key")) == [(row["key"],) for row in manifest.table.to_pylist()]
    assert dict(manifest.columns("key", "split")) == {clip.key: SPLITS.get(clip.key) for clip in CLIPS}
    with pytest.raises(KeyError):
        list(manifest.columns("keys"))


def test_clips_are_selected_by_value(made: Path):
    manifest = Manifest.read(made)
    train = manifest.select(outcome="done", split="train")
    assert [key for (key,) in train.columns("key")] == [GOOD]
    assert train.row(0)["split"] == "train" and train.folder == made and train.metadata == manifest.metadata
    assert len(manifest.select(label=None)) == 1
    assert len(manifest.select(outcome=[Outcome.QUARANTINED, Outcome.FAILED])) == 2
    assert len(manifest.select(label=["walk", None])) == 3
    assert len(manifest.select(label="swim")) == 0 == len(list(manifest.select(label="swim").columns("key")))
    for number in (-1, 1):
        with pytest.raises(IndexError):
            train.row(number)


def test_only_the_columns_that_are_needed_are_read(made: Path, out: Path):
    some = Manifest.read(made, ["split", "key"])
    assert some.table.column_names == ["key", "split"]
    assert list(some.columns("key", "split")) == list(Manifest.read(made).columns("key", "split"))
    older = pq.read_table(out / "manifest.parquet").drop_columns(["status"])
    pq.write_table(older, out / "manifest.parquet")
    assert list(Manifest.read(out, ["status"]).columns("status")) == [(None,)] * 5
    pq.write_table(older.drop_columns(["source"]), out / "manifest.parquet")
    with pytest.raises(ManifestError, match="columns are not those"):
        Manifest.read(out, ["key"])


def test_clips_are_what_was_listed(made: Path):
    listed = {clip.key: clip for clip in CLIPS}
    assert {clip.key: clip for clip in Manifest.read(made).clips()} == listed
