"""Whole builds with real worker processes, without Prefect."""

import contextlib
import importlib
import os
import random
import shutil
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from araflow.build import run as build
from araflow.build import shards
from araflow.build.pool import WorkerPool
from araflow.core.clip import ClipRecord, Outcome
from araflow.core.errors import ManifestError, OutputError, SourceError
from araflow.core.spec import BuildSpec
from araflow.core.spec_file import parse
from araflow.datasets._sample import draw_sample
from araflow.report.contact_sheet import write_contact_sheet
from araflow.store.address import open_store
from araflow.store.audit import validate
from araflow.store.differences import differences
from araflow.store.manifest import Manifest

CLASSES = ["walk", "run", "push"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw_sample(
        folder, clips_per_class=3, sources_per_class=2, width=96, height=64, seconds=(0.2, 0.4), classes=CLASSES
    )
    return folder


@pytest.fixture(scope="module")
def shared_pool() -> Iterator[WorkerPool]:
    with WorkerPool(2) as pool:
        yield pool


@pytest.fixture
def warm(shared_pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let builds share their worker processes, which take a second to start."""
    monkeypatch.setattr(build, "WorkerPool", lambda workers: contextlib.nullcontext(shared_pool))


@pytest.fixture
def videos(drawn: Path, tmp_path: Path) -> Path:
    """Two clips of one class and one of another: ``walk/a``, ``walk/b`` and ``run/c``."""
    found = {label: sorted((drawn / "videos" / label).iterdir()) for label in ("walk", "run")}
    for name, path in {"walk/a": found["walk"][0], "walk/b": found["walk"][1], "run/c": found["run"][0]}.items():
        target = tmp_path / "videos" / f"{name}.avi"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path / "videos"


def settings(source: Path, out: Path, **sections: Any) -> BuildSpec:
    tree: dict[str, Any] = {
        "name": "test",
        "dataset": {"name": "folder", "source": str(source)},
        "split": {"protocol": "random", "test_fraction": 0.5},
        "out": str(out),
    }
    return parse({**tree, **sections})


def official(drawn: Path, out: Path, source: Path | None = None, **sections: Any) -> BuildSpec:
    names = {"source": str(source or drawn / "videos"), "splits": str(drawn / "splits")}
    return settings(drawn, out, **{"dataset": {"name": "hmdb51", "classes": CLASSES, **names}, "split": {}, **sections})


def run(spec: BuildSpec, **options: Any) -> tuple[Manifest, list[str]]:
    """Build; return the manifest, whose rows must add up and fit the files, and the keys of clips worked on."""
    told: dict[str, ClipRecord] = {}
    worked_on = []
    listed = []

    def note(record: ClipRecord, made: bool) -> None:
        assert record.key not in told
        told[record.key] = record
        if made:
            worked_on.append(record.key)

    manifest = build.build(spec, on_record=note, on_start=listed.append, **options)
    rows = manifest.table.to_pylist()
    assert listed == [len(rows)] == [len(told)]
    assert sum(manifest.outcomes().values()) == len(rows)
    assert {row["key"]: row["outcome"] for row in rows} == {key: record.outcome for key, record in told.items()}
    assert all(row["reason"] for row in rows)
    assert validate(manifest) == []
    assert Manifest.read(Path(spec.out)).table.to_pylist() == rows
    assert not (Path(spec.out) / ".araflow" / "work").exists()
    return manifest, sorted(worked_on)


def tree(folder: Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files(folder).items()}


def stats(folder: Path) -> dict[str, tuple[int, int]]:
    return {name: (path.stat().st_ino, path.stat().st_mtime_ns) for name, path in files(folder).items()}


def files(folder: Path) -> dict[str, Path]:
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    for name in ("lock", "build.json"):  # the second one names the folder itself, and when it was built
        found.pop(f".araflow/{name}", None)
    return found


def outcome(manifest: Manifest) -> dict[str, str]:
    return {row["key"]: f"{row['outcome']} {row['reason'].partition(':')[0]}" for row in manifest.table.to_pylist()}


def encode(path: Path, frames: int) -> None:
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame(96, 64, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([40 * number + 10]) * plane.buffer_size)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


# --- outcomes ---


@pytest.mark.usefixtures("warm")
def test_every_listed_clip_becomes_a_row(drawn: Path, tmp_path: Path):
    source = tmp_path / "videos"
    shutil.copytree(drawn / "videos", source)
    clips = sorted(source.rglob("*.avi"))
    gone, empty, text, cut, short, *good = clips
    gone.unlink()
    empty.write_bytes(b"")
    text.write_text("this is not a video\n" * 100)
    cut.write_bytes(cut.read_bytes()[:-2000])
    encode(short, 1)
    manifest, worked_on = run(official(drawn, tmp_path / "out", source))

    def key(path: Path) -> str:
        return path.relative_to(source).with_suffix("").as_posix()

    assert outcome(manifest) == {
        key(gone): "quarantined missing",
        key(empty): "quarantined empty",
        key(text): "quarantined not-a-video",
        key(cut): "quarantined truncated",
        key(short): "quarantined one-frame",
        **{key(path): "done complete" for path in good},
    }
    assert worked_on == sorted(key(path) for path in clips if path != gone)
    for row in manifest.table.to_pylist():
        if row["outcome"] == "done":
            folder = tmp_path / "out" / row["path"]
            assert row["frames"] == len(list((folder / "rgb").iterdir())) == row["flows"] + 1
            with av.open(str(source / f"{row['key']}.avi")) as container:
                assert row["frames"] == sum(1 for _ in container.decode(video=0))
            assert row["split"] in ("train", "test", "unused")
            assert None not in (row["fold1"], row["fold2"], row["fold3"])


FAULTY = """
    import os, signal, sys
    from pathlib import Path
    from araflow.build import extract

    def make(job):
        if job.key.endswith("crash"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if job.key.endswith("once") and not Path(__file__).with_name("crashed").exists():
            Path(__file__).with_name("crashed").touch()
            os.abort()
        if job.key.endswith("raise"):
            raise RuntimeError("something odd")
        if job.key.endswith("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        return extract.make(job)
"""


def test_a_clip_that_crashes_its_decoder_is_named_and_costs_no_other(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("crash", "once", "raise", "killed"):
        shutil.copy(videos / "walk" / "a.avi", videos / "run" / f"{name}.avi")
    (tmp_path / "faulty_make.py").write_text(textwrap.dedent(FAULTY))
    monkeypatch.syspath_prepend(tmp_path)  # worker processes inherit the path
    monkeypatch.setattr(shards.extract, "make", importlib.import_module("faulty_make").make)
    manifest, _ = run(settings(videos, tmp_path / "out", run={"workers": 2, "retries": 0}))
    assert outcome(manifest) == {
        "run/c": "done complete",
        "run/crash": "quarantined crashed",
        "run/killed": "failed crashed",
        "run/once": "done complete",
        "run/raise": "failed error",
        "walk/a": "done complete",
        "walk/b": "done complete",
    }
    reasons = {row["key"]: row["reason"] for row in manifest.table.to_pylist()}
    assert reasons["run/crash"] == "crashed: the decoding process ended by SIGSEGV, twice"
    assert reasons["run/raise"] == "error: RuntimeError: something odd"


@pytest.mark.usefixtures("warm")
def test_the_first_bad_clip_ends_the_run_if_asked(videos: Path, tmp_path: Path):
    (videos / "walk" / "b.avi").write_text("not a video")
    stop = settings(videos, tmp_path / "out", run={"on_error": "stop"})
    with pytest.raises(SourceError, match=r"walk/b: quarantined: not-a-video: .*\(run.on_error is stop\)"):
        build.build(stop)
    assert not (tmp_path / "out" / "manifest.parquet").exists()
    manifest, _ = run(settings(videos, tmp_path / "out"))
    assert outcome(manifest) == {
        "run/c": "done complete",
        "walk/a": "done complete",
        "walk/b": "quarantined not-a-video",
    }


# --- the second run ---


def test_a_second_run_does_nothing(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = tmp_path / "videos"
    shutil.copytree(drawn / "videos", source)
    gone, bad, *_ = sorted(source.rglob("*.avi"))
    gone.unlink()
    bad.write_bytes(b"")
    spec = official(drawn, tmp_path / "out", source, run={"workers": 2})
    first, worked_on = run(spec)
    assert len(worked_on) == 8
    before = stats(tmp_path / "out")

    def refuse(*_: object) -> None:
        raise AssertionError("a worker process was started")

    monkeypatch.setattr("araflow.build.pool._Worker", refuse)
    second, worked_on = run(spec)
    assert worked_on == []
    assert stats(tmp_path / "out") == before
    assert differences(first, second) == []


@pytest.mark.usefixtures("warm")
def test_a_changed_bound_remakes_flow_but_not_rgb(videos: Path, tmp_path: Path):
    out = tmp_path / "out"
    first, _ = run(settings(videos, out))
    before, content = stats(out), tree(out)
    second, worked_on = run(settings(videos, out, optical={"bound": 5.0}))
    after, new_content = stats(out), tree(out)
    assert worked_on == ["run/c", "walk/a", "walk/b"]
    assert before.keys() == after.keys()
    for name in before:
        if "/rgb/" in name:
            assert after[name] == before[name]
        elif "/u/" in name or "/v/" in name:
            assert after[name] != before[name]
    assert any(content[name] != new_content[name] for name in content if "/u/" in name)
    changed = {
        name
        for one, other in zip(first.table.to_pylist(), second.table.to_pylist(), strict=True)
        for name in one
        if one[name] != other[name]
    }
    assert changed == {"bound", "flow_bytes", "flow_sha256", "fingerprint"}
    assert [line for line in differences(first, second) if "metadata" in line]
    fresh, _ = run(settings(videos, tmp_path / "fresh", optical={"bound": 5.0}))
    assert tree(out) == tree(tmp_path / "fresh")
    assert differences(second, fresh) == []


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("change", [{"max_frames": 4}, {"naming": "recipe"}])
def test_changed_frames_remake_everything(videos: Path, tmp_path: Path, change: dict[str, object]):
    run(settings(videos, tmp_path / "out"))
    before = stats(tmp_path / "out")
    manifest, worked_on = run(settings(videos, tmp_path / "out", rgb=change))
    after = stats(tmp_path / "out")
    assert worked_on == ["run/c", "walk/a", "walk/b"]
    assert not [name for name in before if "/rgb/" in name and after.get(name) == before[name]]
    frames = {row["frames"] for row in manifest.table.to_pylist()}
    assert frames == {4} if "max_frames" in change else min(frames) > 4
    run(settings(videos, tmp_path / "fresh", rgb=change))
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


@pytest.mark.usefixtures("warm")
def test_another_source_file_is_made_anew_even_with_the_old_size_and_time(videos: Path, tmp_path: Path):
    run(settings(videos, tmp_path / "out"))
    path = videos / "walk" / "a.avi"
    status, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    _, worked_on = run(settings(videos, tmp_path / "out"))
    assert worked_on == ["walk/a"]


@pytest.mark.usefixtures("warm")
def test_good_becomes_bad_becomes_good(videos: Path, tmp_path: Path):
    out, path = tmp_path / "out", videos / "walk" / "a.avi"
    run(settings(videos, out))
    content, good = tree(out), path.read_bytes()
    path.write_text("not a video")
    manifest, worked_on = run(settings(videos, out))
    assert worked_on == ["walk/a"]
    assert outcome(manifest)["walk/a"] == "quarantined not-a-video"
    assert not (out / "clips" / "walk" / "a").exists()
    assert len(list((out / ".araflow" / "records").iterdir())) == 1
    path.write_bytes(good)
    manifest, worked_on = run(settings(videos, out))
    assert worked_on == ["walk/a"]
    assert outcome(manifest)["walk/a"] == "done complete"
    assert not list((out / ".araflow" / "records").iterdir())
    assert tree(out) == content


@pytest.mark.usefixtures("warm")
def test_a_clip_deleted_from_the_source_after_it_was_made_stays(drawn: Path, tmp_path: Path):
    source = tmp_path / "videos"
    shutil.copytree(drawn / "videos", source)
    spec = official(drawn, tmp_path / "out", source)
    run(spec)
    before = stats(tmp_path / "out")
    for path in sorted(source.rglob("*.avi"))[:2]:
        path.unlink()
    manifest, worked_on = run(spec)
    assert worked_on == []
    assert set(outcome(manifest).values()) == {"done complete"}
    assert stats(tmp_path / "out") == before


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("kind", ["rgb", "u", "v"])
def test_a_clip_that_lost_a_file_is_made_again(videos: Path, tmp_path: Path, kind: str):
    run(settings(videos, tmp_path / "out"))
    content = tree(tmp_path / "out")
    sorted((tmp_path / "out" / "clips" / "walk" / "a" / kind).iterdir())[1].unlink()
    _, worked_on = run(settings(videos, tmp_path / "out"))
    assert worked_on == ["walk/a"]
    assert tree(tmp_path / "out") == content


# --- byte for byte ---


class Entries(list[Any]):
    def __next__(self) -> Any:  # os.walk asks for one entry after the other
        if not self:
            raise StopIteration
        return self.pop(0)

    def __enter__(self) -> "Entries":
        return self

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None: ...


def disorder(monkeypatch: pytest.MonkeyPatch, order: Callable[[list[Any]], None]) -> None:
    """List every folder in another order, as another file system may."""
    scandir, listdir = os.scandir, os.listdir

    def disordered_scandir(path: Any = ".") -> Entries:
        with scandir(path) as entries:
            found = Entries(entries)
        order(found)
        return found

    def disordered_listdir(path: Any = ".") -> list[Any]:
        found = listdir(path)
        order(found)
        return found

    monkeypatch.setattr(os, "scandir", disordered_scandir)
    monkeypatch.setattr(os, "listdir", disordered_listdir)


def test_the_output_is_the_same_whatever_the_workers_the_shards_and_the_order(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = tmp_path / "videos"
    shutil.copytree(drawn / "videos", source)
    sorted(source.rglob("*.avi"))[1].unlink()
    sorted(source.rglob("*.avi"))[4].write_text("not a video")
    orders: list[Callable[[list[Any]], None]] = [
        lambda found: None,
        lambda found: found.reverse(),
        random.Random(1).shuffle,
    ]
    for number, workers, shard_size in ((0, 1, 64), (1, 2, 1), (2, 4, 2)):
        with monkeypatch.context() as patch:
            disorder(patch, orders[number])
            spec = official(
                drawn,
                tmp_path / str(number),
                source,
                run={"workers": workers, "shard_size": shard_size},
                optical={"quantizer": "max_radius"},
            )
            write_contact_sheet(build.build(spec))
    expected = tree(tmp_path / "0")
    assert len(expected) > 150
    assert {"manifest.parquet", "contact_sheet.jpg"} < expected.keys()
    for number in (1, 2):
        assert tree(tmp_path / str(number)) == expected


@pytest.mark.parametrize(("backend", "algorithm"), [("opencv", "dis"), ("numba", "tvl1")])
def test_the_output_is_the_same_whatever_the_workers_and_the_libraries_threads(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, algorithm: str
):
    if backend == "numba":
        pytest.importorskip("numba")
    made = {}
    for workers in (1, 2, 4):
        for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            monkeypatch.setenv(name, str(workers))  # worker processes begin with these
        out = tmp_path / str(workers)
        flow = {"backend": backend, "algorithm": algorithm}
        build.build(settings(videos, out, run={"workers": workers}, optical=flow, rgb={"max_frames": 4}))
        made[workers] = tree(out)
    assert len(made[1]) > 3 * (4 + 3 + 3)
    assert made[1] == made[2] == made[4]


# --- sources of one's own ---


@pytest.mark.usefixtures("warm")
def test_a_single_video(videos: Path, tmp_path: Path):
    manifest, worked_on = run(settings(Path("unused"), tmp_path / "out"), source=videos / "walk" / "a.avi")
    assert worked_on == ["a"]
    (row,) = manifest.table.to_pylist()
    assert (row["label"], row["label_index"], row["split"], row["path"]) == (None, None, None, "clips/a")


@pytest.mark.usefixtures("warm")
def test_a_folder_of_videos_a_folder_of_frames_and_a_manifest_give_the_same_flow(videos: Path, tmp_path: Path):
    spec = settings(Path("unused"), tmp_path / "out")
    manifest, worked_on = run(spec, source=videos)
    assert worked_on == ["run/c", "walk/a", "walk/b"]
    assert {row["label"] for row in manifest.table.to_pylist()} == {"run", "walk"}

    again, _ = run(settings(Path("unused"), tmp_path / "again"), source=tmp_path / "out")
    same, _ = run(settings(Path("unused"), tmp_path / "same"), source=tmp_path / "out" / "manifest.parquet")
    assert differences(again, same) == []
    assert [row["key"] for row in again.table.to_pylist()] == ["run/c", "walk/a", "walk/b"]
    sources = [source for (source,) in again.columns("source")]
    assert sources == [f"{path}/rgb" for (path,) in manifest.columns("path")]

    frames, _ = run(settings(Path("unused"), tmp_path / "frames"), source=tmp_path / "out/clips/walk/a/rgb")
    assert [row["key"] for row in frames.table.to_pylist()] == ["rgb"]
    for file in sorted((tmp_path / "out/clips/walk/a").rglob("*.*")):
        if file.is_file() and not file.name.startswith("."):
            name = file.relative_to(tmp_path / "out/clips/walk/a")
            assert file.read_bytes() == (tmp_path / "frames/clips/rgb" / name).read_bytes()
            assert file.read_bytes() == (tmp_path / "again/clips/walk/a" / name).read_bytes()


def test_sources_that_cannot_be_used_are_refused_before_anything_is_written(videos: Path, tmp_path: Path):
    store = open_store(tmp_path / "out")
    with pytest.raises(SourceError, match="no such file or folder"):
        build.select_source(tmp_path / "absent", store)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="empty: no clips found"):
        build.select_source(tmp_path / "empty", store)
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(ManifestError, match="not a readable Parquet file"):
        build.select_source(tmp_path / "x.parquet", store)
    assert not store.out.exists()


@pytest.mark.usefixtures("warm")
def test_a_manifest_is_not_read_into_its_own_folder(videos: Path, tmp_path: Path):
    spec = settings(Path("unused"), tmp_path / "out")
    run(spec, source=videos)
    before = stats(tmp_path / "out")
    with pytest.raises(OutputError, match="is the manifest's own folder"):
        build.build(spec, source=tmp_path / "out")
    assert stats(tmp_path / "out") == before


@pytest.mark.usefixtures("warm")
def test_an_output_folder_inside_the_source_is_not_taken_for_clips(videos: Path, tmp_path: Path):
    for spec, options in (
        (settings(videos, videos / "one"), {}),
        (settings(Path("unused"), videos / "two"), {"source": videos}),
    ):
        first, worked_on = run(spec, **options)
        assert worked_on == ["run/c", "walk/a", "walk/b"]
        second, worked_on = run(spec, **options)
        assert worked_on == []
        assert differences(first, second) == []


@pytest.mark.usefixtures("warm")
def test_clips_and_folders_of_one_name_stay_apart(videos: Path, tmp_path: Path):
    shutil.copytree(videos / "run", videos / "walk" / "a")
    (videos / "walk" / "cover.jpg").write_bytes(b"a picture beside the clips")
    manifest, _ = run(settings(videos, tmp_path / "out"))
    assert [row["key"] for row in manifest.table.to_pylist()] == ["run/c", "walk/a.avi", "walk/a/c", "walk/b"]
    manifest, worked_on = run(settings(videos, tmp_path / "out", optical={"bound": 5.0}))
    assert len(worked_on) == 4
    assert manifest.outcomes() == {Outcome.DONE: 4}


@pytest.mark.usefixtures("warm")
def test_settings_of_the_dataset_do_not_matter_to_a_source_of_ones_own(videos: Path, tmp_path: Path):
    one, _ = run(settings(Path("unused"), tmp_path / "one"), source=videos)
    other = parse({"name": "other", "out": str(tmp_path / "other"), "dataset": {"name": "hmdb51", "classes": ["walk"]}})
    two, _ = run(other, source=videos)
    assert differences(one, two) == []
