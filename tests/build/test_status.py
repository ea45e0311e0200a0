"""How far an output is, and how to run its build again: real builds, whole, in mid-run and killed."""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import inline_pool
import pytest

from araflow.build import clean, outputs, retry
from araflow.build import note as build_note
from araflow.build import run as build
from araflow.build import status as operate
from araflow.build.pool import WorkerPool
from araflow.build.resolved import resolve
from araflow.core import spec_file
from araflow.core.clip import Outcome
from araflow.core.errors import OutputError
from araflow.core.resources import folder as resources_folder
from araflow.core.spec import BuildSpec
from araflow.datasets._sample import draw_sample
from araflow.store.address import open_store

CLASSES = ["walk", "run"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips of two classes: one is no video, one is missing."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_sample(
        folder, clips_per_class=3, sources_per_class=3, width=96, height=64, seconds=(0.3, 0.5), classes=CLASSES
    )
    videos = sorted((folder / "videos" / "walk").iterdir())
    videos[0].write_text("not a video " * 100)
    videos[1].unlink()
    return folder


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(2) as pool:
        yield pool


@pytest.fixture
def warm(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds share their worker processes, which take a second to start."""
    monkeypatch.setattr(build, "WorkerPool", lambda workers: contextlib.nullcontext(pool))


def settings(drawn: Path, out: Path, **sections: Any) -> BuildSpec:
    tree = {
        "name": "test",
        "dataset": {
            "name": "hmdb51",
            "classes": CLASSES,
            "source": str(drawn / "videos"),
            "splits": str(drawn / "splits"),
        },
        "run": {"workers": 2, "shard_size": 2},
        "out": str(out),
    }
    return spec_file.parse({**tree, **sections})


@pytest.fixture(scope="module")
def built(drawn: Path, pool: WorkerPool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "WorkerPool", lambda workers: contextlib.nullcontext(pool))
        build.build(settings(drawn, out))
    return out


@pytest.fixture
def out(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "out")  # with the times of the files
    return tmp_path / "out"


def look(out: Path) -> operate.Status:
    return operate.status(outputs.read(outputs.find(str(out))), time.time())


def adds_up(now: operate.Status) -> bool:
    for row in now.classes:
        assert row["listed"] == sum(row[name] for name in (*Outcome, "left"))
    assert sum(sum(codes.values()) for codes in now.reasons.values()) == now.filtered + now.quarantined + now.failed
    return now.listed == now.done + now.filtered + now.quarantined + now.failed + now.left


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


# --- status ---


def test_a_finished_build(out: Path):
    before = everything(out)
    now = look(out)
    assert everything(out) == before, "looking changes nothing, not even the lock's time"
    assert adds_up(now)
    assert (now.listed, now.done, now.quarantined, now.failed, now.left) == (6, 4, 2, 0, 0)
    assert now.reasons == {"quarantined": {"missing": 1, "not-a-video": 1}}
    assert [(row["class"], row["listed"], row["done"]) for row in now.classes] == [
        ("run", 3, 3),
        ("walk", 3, 1),
    ]
    assert (now.total["listed"], now.total["done"]) == (6, 4)
    assert (now.running, now.in_work, now.sessions, now.manifest) == (False, 0, 0, "current")
    assert (now.complete, now.all_done, now.seconds_left) == (True, False, None)
    assert operate.last_line(now) == "complete: 6 clips listed: 4 done, 2 quarantined"


def test_frames_are_not_looked_at(out: Path):
    for frames in out.glob("clips/run/*/[!.]*"):
        shutil.rmtree(frames)
    assert look(out).done == 4


def test_an_output_of_an_older_araflow_has_a_manifest_alone(out: Path):
    with_note = look(out)
    (out / ".araflow" / "build.json").unlink()
    now = look(out)
    assert now.begun is None
    rates = {"begun": None, "clips_per_minute": None}
    assert dataclasses.replace(now, **rates) == dataclasses.replace(with_note, **rates)
    shutil.rmtree(out / ".araflow")
    copied = look(out)  # the manifest is all that is known of the clips that were not made
    assert (copied.left, copied.quarantined, copied.complete) == (0, 2, True)
    assert copied.reasons == with_note.reasons
    shutil.rmtree(next(out.glob("clips/run/*")))
    assert look(out).left == 1
    assert "the same araflow build goes on" in operate.last_line(look(out))


def test_nothing_is_listed_before_clips_are_selected(tmp_path: Path):
    with open_store(tmp_path / "out").locked():
        now = look(tmp_path / "out")
        assert (now.running, now.listed, now.complete) == (True, None, False)
        assert operate.last_line(now) == "at work; its clips are not listed yet"
    assert operate.last_line(look(tmp_path / "out")) == "stopped before its clips were listed"


@pytest.mark.usefixtures("warm")
def test_in_the_middle_of_a_run_every_clip_counts_once(drawn: Path, tmp_path: Path):
    seen = []

    def note(*_: object) -> None:
        seen.append(look(tmp_path / "out"))

    build.build(settings(drawn, tmp_path / "out"), on_start=note, on_record=note)
    assert all(adds_up(now) and now.running and now.sessions == 1 for now in seen)
    assert seen[0].left == 6
    assert seen[-1].left == 0
    assert [now.left for now in seen] == sorted((now.left for now in seen), reverse=True)
    assert {now.manifest for now in seen} == {"absent"}
    assert operate.last_line(seen[0]) == "at work: 6 clips listed: none settled, 6 left"
    assert "clips per minute" in operate.last_line(seen[3])


@pytest.mark.usefixtures("warm")
def test_under_new_settings_what_was_made_by_the_old_ones_is_left(out: Path, drawn: Path):
    class StopError(Exception):
        pass

    def stop(*_: object) -> None:
        raise StopError

    with pytest.raises(StopError):
        build.build(settings(drawn, out, optical={"bound": 5.0}), on_start=stop)
    now = look(out)
    assert (now.done, now.left, now.manifest, now.complete) == (0, 6, "stale", False)
    assert "araflow retry" in operate.last_line(now)
    build.build(settings(drawn, out, optical={"bound": 5.0}))
    assert (look(out).done, look(out).manifest) == (4, "current")


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("changed", [{"optical": {"bound": 5.0}}, {"split": {"fold": 2}}])
def test_a_manifest_of_other_settings_is_stale_though_its_clips_and_outcomes_are_the_same(
    out: Path, drawn: Path, changed: dict[str, Any]
):
    old = (out / "manifest.parquet").read_bytes()
    build.build(settings(drawn, out, **changed))
    assert look(out).manifest == "current"
    (out / "manifest.parquet").write_bytes(old)  # as if killed before it was written
    now = look(out)
    assert (now.left, now.manifest, now.complete) == (0, "stale", False)


PROGRAM = """
import sys
from araflow.build import run as build
from araflow.core import spec
if __name__ == "__main__":
    spec = spec.BuildSpec.model_validate_json(sys.argv[1])
    build.build(spec, on_record=lambda record, made: print(record.key, made, flush=True))
"""


@pytest.mark.usefixtures("warm")
def test_a_build_that_was_killed(drawn: Path, tmp_path: Path):
    spec = settings(drawn, tmp_path / "out", optical={"preset": "accurate"})
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, spec.model_dump_json()], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(3)]
        alive = look(tmp_path / "out")
        process.kill()
        told += process.stdout.readlines()
    assert alive.running
    assert adds_up(alive)
    now = look(tmp_path / "out")
    assert adds_up(now)
    assert not now.running
    assert (now.sessions, now.in_work) == (0, 0), "what the dead process has left is not in work"
    settled = now.done + now.quarantined
    assert len([line for line in told if line]) <= settled < 6
    assert operate.last_line(now).startswith("stopped: 6 clips listed: ")
    assert f"{6 - settled} left; araflow retry {tmp_path / 'out'} goes on" in operate.last_line(now)
    build.build(spec)
    assert look(tmp_path / "out").complete


def settled_at(out: Path, moments: list[float]) -> None:
    proofs = sorted((*out.glob("clips/*/*/.araflow.json"), *out.glob(".araflow/records/*.json")))
    for proof, moment in zip(proofs, moments, strict=True):
        os.utime(proof, (moment, moment))


@pytest.mark.parametrize(
    ("ages", "began", "rate"),
    [
        ([10, 20, 30, 40, 50, 60], 120, 3.0),  # a run of two minutes
        ([10, 20, 300, 900, 1000, 1100], 3600, 0.3),  # three in the last ten minutes
        ([10, 20, 30, 500, 600, 700], 60, 3.0),  # what an earlier run settled does not count
        ([700] * 6, 3600, None),
    ],
)
def test_the_rate_is_that_of_the_last_ten_minutes_of_the_run(out: Path, ages: list[float], began: float, rate):
    now = 2e9
    settled_at(out, [now - age for age in ages])
    seen = outputs.read(open_store(out))
    assert seen.note is not None
    assert seen.entries is not None
    begun = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(now - began))
    left = [outputs.Entry(f"run/left{number}", "run") for number in range(9)]
    seen = dataclasses.replace(
        seen, note=dataclasses.replace(seen.note, begun=begun), entries=seen.entries + left, running=True
    )
    told = operate.status(seen, now)
    assert told.clips_per_minute == (None if rate is None else pytest.approx(rate))
    assert told.seconds_left == (None if rate is None else pytest.approx(9 / rate * 60))
    stopped = operate.status(dataclasses.replace(seen, running=False), now + 1e6)
    assert stopped.seconds_left is None


@pytest.mark.usefixtures("warm")
def test_a_clip_that_an_earlier_run_failed_is_left_while_a_run_is_at_work(drawn: Path, tmp_path: Path):
    videos, out = tmp_path / "videos", tmp_path / "out"
    shutil.copytree(drawn / "videos", videos)
    (videos / "run" / "gone_run_f_cm_np1_ba_goo_0.avi").symlink_to(tmp_path / "nowhere.avi")
    spec = spec_file.parse(
        {
            "name": "test",
            "dataset": {"name": "folder", "source": str(videos)},
            "split": {"protocol": "random"},
            "run": {"retries": 0},
            "out": str(out),
        }
    )
    build.build(spec)
    now = look(out)
    assert (now.failed, now.left, now.reasons["failed"]) == (1, 0, {"io-error": 1})
    assert operate.last_line(now).endswith(f"araflow retry {out} tries again what failed")
    for record in (out / ".araflow" / "records").iterdir():
        os.utime(record, (1e9, 1e9))
    seen = []
    build.build(spec, on_start=lambda _: seen.append(look(out)))
    assert (seen[0].failed, seen[0].left) == (0, 1)
    assert look(out).failed == 1


# --- the note ---


def test_the_note_holds_everywhere(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "drawn").symlink_to(drawn)
    spec = settings(Path("drawn"), Path("out"))
    resolved = resolve(spec)
    selection = build.stages.select(resolved, build.stages.prepare(resolved, open_store(Path("out"))))
    with open_store(Path("out")).locked() as store:
        build_note.write(store, spec, "print", selection)
        build_note.write(store, spec, "print", selection, Path("drawn"), plain=True)
    content = json.loads((tmp_path / "out" / ".araflow" / "build.json").read_text())
    assert content["listed"] == len(content["keys"]) == 6
    assert content["keys"] == sorted(content["keys"])
    assert content["by_class"] == {"walk": 3, "run": 3}
    assert content["source"] == str(tmp_path / "drawn")
    monkeypatch.chdir("/")
    note = build_note.read(open_store(tmp_path / "out"))
    assert note is not None
    assert (note.plain, note.fingerprint, note.sources) == (True, "print", ())
    again = build_note.settings(note, str(tmp_path / "elsewhere"))
    paths = {"source": str(tmp_path / "drawn/videos"), "splits": str(tmp_path / "drawn/splits")}
    assert again.dataset == spec.dataset.model_copy(update=paths)
    assert again.out == str(tmp_path / "elsewhere")
    assert again.fingerprint() == spec.fingerprint()


def test_an_address_in_the_note_stays_one(drawn: Path, tmp_path: Path):
    spec = settings(drawn, tmp_path / "out")
    resolved = resolve(spec)
    selection = build.stages.select(resolved, build.stages.prepare(resolved, open_store(tmp_path / "out")))
    web = spec.dataset.model_copy(update={"source": "https://example.org/a.rar", "folder": "~/data"})
    build_note.write(open_store(tmp_path / "out"), spec.model_copy(update={"dataset": web}), "print", selection)
    note = build_note.read(open_store(tmp_path / "out"))
    assert note is not None
    assert note.spec["dataset"]["source"] == "https://example.org/a.rar"
    assert note.spec["dataset"]["folder"] == str(Path.home() / "data")


SETTINGS: list[list[str]] = [
    [],
    ["out=/somewhere/else", "dataset.source=/a b/c=d"],
    ["dataset.classes=[walk, 'no: yes', '1']", "split.protocol=group", "split.seed=7"],
    ["dataset.classes=null", "optical.bound=1e-3", "optical.lossless=true", "rgb.max_frames=5", "run.workers=3"],
    ["run.engine=dask", "run.dask_address=tcp://head:8786", "dataset.keep_archives=false", "name=2024_01"],
]


@pytest.mark.parametrize("config", sorted(path.stem for path in resources_folder("configs").glob("*.yaml")))
@pytest.mark.parametrize("overrides", SETTINGS)
def test_any_settings_can_be_said_as_a_configuration_and_overrides(config: str, overrides: list[str]):
    spec = spec_file.load(config, overrides)
    base, text = retry.arguments(spec)
    assert spec_file.load(base, text) == spec
    if "name=2024_01" not in overrides:
        assert base == config
        assert len(text) <= len(overrides), "only what differs is said"


# --- what is chosen ---


def test_clips_are_chosen_by_outcome_class_and_reason(out: Path):
    seen = outputs.read(open_store(out))

    def keys(*arguments: Any) -> list[str]:
        return [entry.reason_code for entry in retry.choose(seen, *arguments)]

    assert keys() == []
    assert sorted(keys(Outcome.QUARANTINED)) == ["missing", "not-a-video"]
    assert keys(Outcome.QUARANTINED, None, "missing") == ["missing"]
    assert keys(Outcome.QUARANTINED, "run") == []
    assert sorted(keys(Outcome.QUARANTINED, "walk")) == ["missing", "not-a-video"]


@pytest.mark.usefixtures("warm")
def test_what_is_forgotten_is_left_and_made_again(out: Path, drawn: Path):
    worked_on = []
    build.build(settings(drawn, out), on_record=lambda record, made: made and worked_on.append(record.key))
    assert worked_on == []
    chosen = retry.choose(outputs.read(open_store(out)), Outcome.QUARANTINED, None, "not-a-video")
    retry.forget(open_store(out), chosen)
    assert (look(out).quarantined, look(out).left) == (1, 1)
    build.build(settings(drawn, out), on_record=lambda record, made: made and worked_on.append(record.key))
    assert worked_on == [entry.key for entry in chosen]
    assert look(out).quarantined == 2


def test_nothing_is_forgotten_while_a_run_is_at_work(out: Path):
    seen = outputs.read(open_store(out))
    with open_store(out).locked(), pytest.raises(OutputError, match="another araflow run"):
        retry.forget(open_store(out), retry.choose(seen, Outcome.QUARANTINED))
    assert look(out).left == 0


# --- addresses ---


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip("upath", reason="pip install '.[s3]'")
    monkeypatch.setenv("ARAFLOW_CACHE", str(tmp_path / "cache"))
    inline_pool.use(monkeypatch)
    return f"memory://operate{tmp_path}/out"


def ask(address: str) -> operate.Status:
    return operate.status(outputs.read(outputs.find(address)), time.time())


def test_an_output_at_an_address_is_looked_into_as_a_folder_is(address: str, drawn: Path, built: Path):
    seen = []
    spec = settings(drawn, Path()).model_copy(update={"out": address})
    build.build(spec, on_record=lambda *_: seen.append(ask(address)))
    assert all(adds_up(now) and now.running for now in seen)
    left = [now.left for now in seen]
    assert (left, left[-1]) == (sorted(left, reverse=True), 0)
    assert seen[2].clips_per_minute is not None
    now = ask(address)
    of_it = {"out": "", "begun": "", "clips_per_minute": None}
    assert dataclasses.replace(now, **of_it) == dataclasses.replace(look(built), **of_it)
    store = outputs.find(address)
    chosen = retry.choose(outputs.read(store), Outcome.QUARANTINED, None, "not-a-video")
    retry.forget(store, chosen)
    assert (ask(address).left, ask(address).manifest) == (1, "stale")
    note = outputs.read(store).note
    assert note is not None
    again = build_note.settings(note, address)
    assert again == spec
    build.build(again)
    assert dataclasses.replace(ask(address), **of_it) == dataclasses.replace(now, **of_it)


def test_what_is_superseded_at_an_address_can_go(address: str, drawn: Path):
    spec = settings(drawn, Path()).model_copy(update={"out": address})
    build.build(spec)
    store = outputs.find(address)
    before = store.place.sizes("")
    assert clean.find(store) == []
    few = spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"classes": ("walk",)})})
    build.build(few)
    runs = [f"clips/run/{path.stem}" for path in sorted((drawn / "videos" / "run").iterdir())]
    found = clean.find(store)
    assert [item.path for item in found] == runs
    sizes = {name: sum(size for path, size in before.items() if path.startswith(f"{name}/")) for name in runs}
    assert {item.path: item.bytes for item in found} == sizes
    with store.locked(), pytest.raises(OutputError, match="a run is at work"):
        clean.find(store)
    assert clean.remove(store) == found
    assert clean.find(store) == []
    assert set(store.place.sizes("")) == {name for name in before if not name.startswith("clips/run/")}


@pytest.mark.parametrize("end", ["", "/other"])
def test_an_address_where_nothing_is_or_something_else_is_no_output(address: str, end: str):
    store = open_store(address)
    if end:
        store.place.replace("other/file", b"1")
    with pytest.raises(OutputError, match="no output of araflow" if end else "nothing is there"):
        outputs.find(address)
