"""Builds of Kinetics part by part: what becomes of each clip, what lies on disk, what a rerun asks for."""

import contextlib
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import kinetics_world as worlds
import mirrors
import pytest
from inline_pool import Inline
from kinetics_world import LABELS, World, name, rows, statuses, tree, video

from araflow import datasets
from araflow.core.errors import OutputError, SourceError
from araflow.store.audit import validate
from araflow.store.manifest import Manifest

ABSEILING, DRUMMING, MASSAGING = LABELS
FLOW = {"optical": {"bound": 16.0, "preset": "fastest"}}


@pytest.fixture
def world(web, tmp_path, monkeypatch) -> World:
    return World(web, tmp_path, monkeypatch)


@pytest.fixture
def three(world) -> World:
    """Three train parts of two clips each, of mixed classes; one val part; one clip is in no part."""
    train = [(LABELS[number % 3], name(number)) for number in range(7)]
    parts = [{train[n][1]: video(n) for n in (2 * part, 2 * part + 1)} for part in range(3)]
    val = [(LABELS[0], name(8)), (LABELS[1], name(9))]
    world.serve_parts(
        {"train": parts, "val": [{file: video(n) for n, (_, file) in enumerate(val)}]},
        {"train": train, "val": val},
    )
    return world


def test_every_listed_clip_is_a_row_with_its_status_subset_split_group_and_raw_label(world):
    world.serve_true(cut=[2])
    manifest = world.build()
    assert statuses(manifest) == {
        "-_0000000_X_000010_000020.mp4": "missing",
        "-_0000001_X_000010_000020.mp4": "ok",
        "-_0000002_X_000010_000020.mp4": "ok",
        "9Z0000000_X_000010_000020.mp4": "corrupt",
        "9Z0000001_X_000010_000020.mp4": "ok",
        "9Z0000002_X_000010_000020.mp4": "ok",
        "a_0000000_X_000010_000020.mp4": "ok",
        "a_0000001_X_000010_000020.mp4": "replaced",
        "a_0000002_X_000010_000020.mp4": "ok",
    }
    for file, row in rows(manifest).items():
        subset = "val" if "2_X" in file else "train"
        label = {"-": ABSEILING, "9": DRUMMING, "a": MASSAGING}[file[0]]
        key = f"{worlds.SLUGS[label]}/{file.removesuffix('.mp4')}"
        done = row["status"] in ("ok", "replaced")
        assert (row["subset"], row["split"], row["group"], row["label"]) == (subset, subset, file[:11], label)
        assert (row["key"], row["label_index"]) == (key, LABELS.index(label))
        assert (row["outcome"], row["path"]) == (("done", f"clips/{key}") if done else ("quarantined", None))
    assert [row["reason"].partition(":")[0] for row in manifest.table.to_pylist() if row["outcome"] != "done"] == [
        "missing",
        "truncated",
    ]
    assert sorted(path.name for path in (world.out / "clips").iterdir()) == sorted(worlds.SLUGS.values())
    assert validate(manifest) == []
    assert manifest.metadata["labels"] == list(LABELS)
    assert manifest.metadata["dataset"]["licence_accepted"] is True
    fetched = [file["url"].rpartition("/400/")[2] for file in manifest.metadata["dataset"]["files"]]
    assert [file for file in fetched if file.endswith("gz")] == [
        "replacement.tgz",
        "train/part_0.tar.gz",
        "train/part_1.tar.gz",
        "val/part_0.tar.gz",
    ]


def test_it_says_how_many_are_missing_beside_what_is_known_and_how_many_are_unlisted(world, caplog):
    world.serve_true()
    with caplog.at_level("INFO", "araflow"):
        world.build()
    lines = [record.getMessage() for record in caplog.records]
    assert "train: 5 of 6 listed clips are in the archives (16.7% missing; others counted 2.0%)" in lines
    assert "val: 3 of 3 listed clips are in the archives (0.0% missing; others counted 2.0%)" in lines
    assert "videos in the archives that no list names: 1" in lines


def test_clips_of_other_classes_are_not_called_unlisted(world, caplog):
    world.serve_true()
    with caplog.at_level("INFO", "araflow"):
        world.build(classes=[DRUMMING])
    lines = [record.getMessage() for record in caplog.records]
    assert "train: 2 of 2 listed clips are in the archives (0.0% missing; others counted 2.0%)" in lines
    assert {line[-1] for line in lines if "no list names" in line} <= {"1"}


# --- disk ---


def test_disk_holds_one_part_at_a_time(three):
    seen = []
    for path in [path for path in three.web.files if path.endswith("gz")]:
        three.before(path, lambda: seen.append((three.archives(), three.videos())))
    three.build()
    assert seen == [([], [])] * 5
    assert (three.archives(), three.videos()) == ([], [])


@pytest.mark.parametrize("moment", ["wrong order", "not a tar", "cut short"])
def test_a_part_that_is_refused_leaves_nothing_on_disk(world, moment):
    files = mirrors.by_class(worlds.drawn(), world.web.url, "700_2020")
    path = "/700_2020/train/k700_train_001.tar.gz"
    if moment == "wrong order":
        files[path] = files["/700_2020/train/k700_train_002.tar.gz"]
    else:
        files[path] = files[path][: -len(files[path]) // 2] if moment == "cut short" else mirrors.tarred({})[:40]
    world.serve(files, "kinetics700_2020")
    world.build(classes=[ABSEILING], subsets=["train"])
    assert (world.archives(), world.videos()) == ([], [])


def test_with_keep_archives_everything_stays_and_a_flow_of_other_settings_asks_for_nothing(three):
    three.build(keep_archives=True)
    assert three.archives() == ["part_0.tar.gz", "part_0.tar.gz", "part_1.tar.gz", "part_2.tar.gz", "replacement.tgz"]
    assert three.videos() == [name(number) for number in (0, 1, 2, 3, 4, 5, 8, 9)]
    three.requests()
    again = three.build(keep_archives=True, **FLOW)
    assert three.requests() == []
    assert again.outcomes() == {"done": 8, "quarantined": 1}


# --- again ---


def test_a_rerun_with_everything_done_asks_the_server_nothing_and_changes_nothing(three):
    manifest = three.build()
    before = tree(three.out)
    assert manifest.outcomes() == {"done": 8, "quarantined": 1}
    assert three.parts_asked() == ["replacement", "train/part_0", "train/part_1", "train/part_2", "val/part_0"]
    three.build()
    assert three.requests() == []
    assert tree(three.out) == before


def test_a_damaged_clip_has_its_part_fetched_again(three):
    three.build()
    before = tree(three.out)
    clip = next(path.parent for path in sorted(three.out.rglob("rgb")) if path.is_dir())
    one, other = clip / "u", clip / "v"
    one.rename(clip / "aside")
    other.rename(one)
    (clip / "aside").rename(other)
    three.requests()
    three.build(run={"verify": True})
    assert len([path for path in three.parts_asked() if path != "replacement"]) == 1
    assert tree(three.out) == before


def test_other_flow_settings_fetch_parts_again_and_keep_the_frames(three):
    three.build()
    frames = {p.relative_to(three.out): p.stat().st_ino for p in three.out.rglob("*.png") if "sheet" not in p.name}
    three.requests()
    again = three.build(**FLOW)
    assert again.outcomes() == {"done": 8, "quarantined": 1}
    assert {row["bound"] for row in again.table.to_pylist()} == {16.0, None}
    assert {p.relative_to(three.out): p.stat().st_ino for p in three.out.rglob("*.png")} == frames
    assert [path for path in three.parts_asked() if path != "replacement"] == [
        "train/part_0",
        "train/part_1",
        "train/part_2",
        "val/part_0",
    ]
    assert (three.archives(), three.videos()) == ([], [])


def test_more_classes_after_fewer_find_their_clips_in_parts_that_were_fetched_before(three, tmp_path):
    undisturbed = three.build(tmp_path / "undisturbed", folder=str(tmp_path / "other"))
    three.build(classes=[DRUMMING])
    assert statuses(three.build()) == statuses(undisturbed)
    assert tree(three.out) == tree(tmp_path / "undisturbed")


def test_a_second_subset_gets_its_replacements(world, tmp_path):
    world.serve_true()
    world.build(subsets=["val"])
    assert statuses(world.build())["a_0000001_X_000010_000020.mp4"] == "replaced"


def test_a_clip_that_lost_a_file_is_made_again_from_its_own_part_alone(three):
    three.build()
    before = tree(three.out)
    next((three.out / "clips").rglob(f"{name(3)[:-4]}/u/*.jpg")).unlink()
    three.requests()
    three.build()
    assert three.parts_asked() == ["train/part_1"]
    assert tree(three.out) == before


def test_the_dataset_folder_may_be_deleted_afterwards(three):
    manifest = three.build()
    clips = tree(three.out / "clips")
    shutil.rmtree(three.data)
    assert three.build().table.to_pylist() == manifest.table.to_pylist()
    assert tree(three.out / "clips") == clips


def test_records_of_parts_that_are_damaged_cost_only_another_look(three):
    three.build()
    before = tree(three.out)
    records = sorted((three.data / ".araflow" / "parts").iterdir())
    assert len(records) == 5
    for record, text in zip(records, ["", "[]", "{", '{"names": 3}', "\0"], strict=True):
        record.write_text(text)
    three.build()
    assert tree(three.out) == before


def test_the_manifest_does_not_depend_on_what_was_fetched_for_other_builds(world, tmp_path):
    world.serve(mirrors.by_class(worlds.drawn(), world.web.url, "600"), "kinetics600")
    alone = world.build(tmp_path / "alone", classes=[DRUMMING], folder=str(tmp_path / "fresh"))
    world.build(classes=[ABSEILING])
    after = world.build(tmp_path / "after", classes=[DRUMMING])
    assert after.metadata == alone.metadata


# --- killed ---

KILLED = """
import contextlib, os, signal, sys
sys.path.insert(0, {tests!r})
import inline_pool
from araflow.build import run as build
from araflow.acquire import folder as dataset_folder
from araflow.build import stages
from araflow.datasets._kinetics import parts
from araflow.core.spec_file import parse

def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)

calls = 0
def later(function, call):
    def run(*args, **options):
        global calls
        calls += 1
        return die() if calls == call else function(*args, **options)
    return run

build.WorkerPool = lambda workers: contextlib.nullcontext(inline_pool.Inline())
{patch}
build.build(parse({spec!r}), accept_licence=True)
"""
MOMENTS = {
    "in the middle of a part": "inline_pool.Inline.submit = later(inline_pool.Inline.submit, 4)",
    "before a part's archive is unpacked": "parts.ingest.ingest = later(parts.ingest.ingest, 3)",
    "before a part is on record": "parts.Records.write_held = later(parts.Records.write_held, 3)",
    "before a download is noted": "parts.DatasetFolder.note_download = later(parts.DatasetFolder.note_download, 3)",
    "before an archive is deleted": "note = parts.DatasetFolder.note_download\n"
    "parts.DatasetFolder.note_download = lambda *a: (note(*a), later(lambda: 0, 3)())",
    "before a part's videos are deleted": "parts.Parts.drop = later(parts.Parts.drop, 3)",
    "before the manifest": "stages.write_manifest = die",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_build_is_finished_without_fetching_again_what_is_made(three, tmp_path, moment):
    three.build(tmp_path / "undisturbed", folder=str(tmp_path / "other"))
    three.requests()
    spec = three.spec().model_dump(mode="json")
    code = KILLED.format(tests=worlds.__file__.rpartition("/")[0], spec=spec, patch=MOMENTS[moment])
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert run.returncode == -signal.SIGKILL, run.stderr
    first = three.parts_asked()
    made = {path.name for path in (three.out / "clips").rglob("*_X_*")}
    three.build()
    second = three.parts_asked()
    assert tree(three.out) == tree(tmp_path / "undisturbed")
    assert (three.archives(), three.videos()) == ([], [])
    for number in range(3):
        if {name(2 * number)[:-4], name(2 * number + 1)[:-4]} <= made:
            assert f"train/part_{number}" not in second, (first, second)


def test_a_build_killed_from_outside_in_mid_part_with_real_workers_is_finished(three, tmp_path):
    three.build(tmp_path / "undisturbed", folder=str(tmp_path / "other"))
    three.requests()
    spec = three.spec(run={"workers": 2}).model_dump(mode="json")
    code = "from araflow.build import run as build\nfrom araflow.core import spec_file\n"
    code += f"build.build(spec_file.parse({spec!r}), accept_licence=True)"
    run = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not list((three.out / "clips").rglob(".araflow.json")) and time.monotonic() < until:
        time.sleep(0.005)
    run.kill()
    run.wait(30)
    three.build()
    assert tree(three.out) == tree(tmp_path / "undisturbed")
    assert (three.archives(), three.videos()) == ([], [])


# --- trouble ---


@pytest.mark.parametrize("trouble", ["404", "HTML", "not a tar", "cut short", "damaged within", "a hostile name"])
def test_a_part_that_cannot_be_had_costs_no_other_and_a_rerun_completes(three, tmp_path, trouble):
    three.build(tmp_path / "undisturbed", folder=str(tmp_path / "other"))
    three.requests()
    path = "/400/train/part_1.tar.gz"
    good = three.web.files[path]
    middle = len(good) // 2
    bad = {
        "404": None,
        "HTML": b"<!DOCTYPE html><html><body>moved</body></html>",
        "not a tar": good[:40],
        "cut short": good[:middle],
        "damaged within": good[:middle] + bytes([good[middle] ^ 0x55]) + good[middle + 1 :],
        "a hostile name": mirrors.tarred({f"../../{name(2)}": video(2), f"./{name(3)}": video(3)}),
    }[trouble]
    three.web.files[path] = bad
    manifest = three.build()
    assert manifest.outcomes() == {"done": 6, "failed": 3}
    failed = {file: row for file, row in rows(manifest).items() if row["outcome"] == "failed"}
    assert sorted(failed) == [name(2), name(3), name(6)]  # the last is in no part, but nobody can know that yet
    for row in failed.values():
        assert row["status"] is None
        assert row["reason"].startswith("io-error: in no part that could be fetched; not fetched: http://127.0.0.1")
        assert row["reason"].endswith(path)
    three.requests()
    three.web.files[path] = good
    three.build()
    assert three.parts_asked() == ["train/part_1"]
    assert tree(three.out) == tree(tmp_path / "undisturbed")
    assert (three.archives(), three.videos()) == ([], [])


def test_a_part_that_cannot_be_had_stops_the_run_if_asked(three):
    del three.web.files["/400/train/part_1.tar.gz"]
    with pytest.raises(SourceError, match=r"failed: io-error: in no part that could be fetched.*run.on_error is stop"):
        three.build(run={"on_error": "stop"})
    assert three.build().outcomes() == {"done": 6, "failed": 3}


def test_a_replacement_that_cannot_be_had_is_tried_again(world):
    world.serve_true()
    broken = "a_0000001_X_000010_000020.mp4"
    good = world.web.files.pop("/400/replacement.tgz")
    first = world.build()
    assert statuses(first)[broken] == "corrupt"
    world.requests()
    world.web.files["/400/replacement.tgz"] = good
    second = world.build()
    assert statuses(second)[broken] == "replaced"
    assert world.parts_asked() == ["replacement"]


def test_three_parts_in_a_row_that_cannot_be_had_end_the_build(three):
    for number in range(3):
        del three.web.files[f"/400/train/part_{number}.tar.gz"]
    with pytest.raises(SourceError, match=r"part_2\.tar\.gz: download failed"):
        three.build()
    assert "val/part_0" not in three.parts_asked()
    assert not (three.out / "manifest.parquet").exists()


def test_a_failed_tar_of_one_class_says_nothing_of_the_missing_clips_of_another(world):
    clips = {label: [name(3 * index + n) for n in range(2)] for index, label in enumerate(LABELS)}
    files = mirrors.by_class(worlds.drawn(), world.web.url, "600")
    rows_of = [(label, file) for label, own in clips.items() for file in own]
    files["/600/annotations/train.csv"] = worlds.annotations(rows_of, "train")
    for index, label in enumerate(LABELS):
        path = mirrors.quote(f"/600/train/{label}.tar.gz", safe="/'")
        files[path] = mirrors.tarred({f"./{clips[label][0]}": video(index)})  # the second of each class is missing
    del files["/600/train/abseiling.tar.gz"]
    world.serve(files, "kinetics600")
    manifest = world.build(subsets=["train"])
    found = {(row["label"], row["outcome"]): row["status"] for row in manifest.table.to_pylist()}
    assert found == {
        (ABSEILING, "failed"): None,
        (DRUMMING, "done"): "ok",
        (DRUMMING, "quarantined"): "missing",
        (MASSAGING, "done"): "ok",
        (MASSAGING, "quarantined"): "missing",
    }


@pytest.mark.parametrize("list_name", ["list.txt", "annotations"])
@pytest.mark.parametrize(
    "answer", [None, b"<!DOCTYPE html><html></html>", b"slow down, please\n", b"\xff\xfe\n", b"\n"]
)
def test_a_list_that_is_not_one_ends_the_build_and_a_rerun_completes(three, list_name, answer):
    path = "/400/train/list.txt" if list_name == "list.txt" else "/400/annotations/train.csv"
    good = three.web.files[path]
    three.web.files[path] = answer
    with pytest.raises(SourceError, match=r"train_parts\.txt|train\.csv"):
        three.build()
    assert three.parts_asked() == []
    three.web.files[path] = good
    assert three.build().outcomes() == {"done": 8, "quarantined": 1}


# --- clips that lie twice ---


@pytest.mark.parametrize("second", ["the same", "another video", "cut short"])
def test_a_clip_in_two_parts_is_made_once_from_the_first(world, second):
    other = {"the same": video(0), "another video": video(5), "cut short": video(0)[:500]}[second]
    world.serve_parts(
        {"train": [{name(0): video(0)}, {name(0): other, name(1): video(1)}]},
        {"train": [(DRUMMING, name(0)), (DRUMMING, name(1))], "val": [(DRUMMING, name(2))]},
    )
    world.edit_registry(lambda known: known["subsets"].pop("val"))
    told = []
    manifest = worlds.build.build(
        world.spec(subsets=["train"]), accept_licence=True, on_record=lambda record, made: told.append(record.key)
    )
    assert statuses(manifest) == {name(0): "ok", name(1): "ok"}
    assert rows(manifest)[name(0)]["source_bytes"] == len(video(0))
    assert len(told) == 2
    assert world.videos() == []
    before = tree(world.out)
    world.build(subsets=["train"])
    assert tree(world.out) == before


def test_a_list_that_has_grown_finds_its_clips_in_parts_that_were_fetched_before(three):
    path = "/400/annotations/train.csv"
    full = three.web.files[path]
    lines = full.splitlines(keepends=True)
    three.web.files[path] = b"".join(line for line in lines if name(2)[:11].encode() not in line)
    assert len(three.build()) == 8
    three.web.files[path] = full
    shutil.rmtree(three.data / "lists")
    assert statuses(three.build())[name(2)] == "ok"


# --- numbered tars in another order ---


@pytest.fixture
def turned(world) -> World:
    """Kinetics-700-2020 with the first two train tars exchanged."""
    files = mirrors.by_class(worlds.drawn(), world.web.url, "700_2020")
    first, second = (f"/700_2020/train/k700_train_{number:03d}.tar.gz" for number in (1, 2))
    files[first], files[second] = files[second], files[first]
    world.serve(files, "kinetics700_2020")
    return world


def test_tars_in_another_order_make_no_difference_where_all_classes_are_taken(turned):
    manifest = turned.build()
    assert manifest.outcomes() == {"done": 9}
    assert {(row["label"], row["source"].rpartition("/")[2][0]) for row in manifest.table.to_pylist()} == {
        (ABSEILING, "-"),
        (DRUMMING, "9"),
        (MASSAGING, "a"),
    }


def test_tars_in_another_order_are_noticed_where_one_class_is_taken(turned):
    manifest = turned.build(classes=[ABSEILING], subsets=["train"])
    assert manifest.outcomes() == {"failed": 2}
    assert turned.parts_asked() == ["/700_2020/train/k700_train_001"]


def test_tars_in_order_are_found_by_number(world):
    world.serve(mirrors.by_class(worlds.drawn(), world.web.url, "700_2020"), "kinetics700_2020")
    manifest = world.build(classes=[MASSAGING])
    assert manifest.outcomes() == {"done": 3}
    assert world.parts_asked() == ["/700_2020/train/k700_train_003", "/700_2020/val/k700_val_003"]


def test_one_class_of_kinetics_600_fetches_its_own_tars_alone(world):
    world.serve(mirrors.by_class(worlds.drawn(), world.web.url, "600"), "kinetics600")
    manifest = world.build(classes=[MASSAGING])
    assert {(row["label"], row["outcome"]) for row in manifest.table.to_pylist()} == {(MASSAGING, "done")}
    assert world.parts_asked() == ["/600/train/massaging%20person's%20head", "/600/val/massaging%20person's%20head"]


@pytest.mark.parametrize("edition", ["600", "700_2020"])
def test_a_registry_without_class_list_takes_the_labels_of_the_lists(world, edition):
    world.serve(mirrors.by_class(worlds.drawn(), world.web.url, edition), f"kinetics{edition}", labels=())
    manifest = world.build(classes=[MASSAGING, DRUMMING], subsets=["val"])
    assert [(row["label"], row["label_index"], row["outcome"]) for row in manifest.table.to_pylist()] == [
        (DRUMMING, 1, "done"),
        (MASSAGING, 0, "done"),
    ]
    assert len(world.build()) == 9


# --- one folder of downloads, many runs ---


def test_two_builds_with_one_folder_of_downloads_call_no_clip_missing_that_the_other_deleted(three, monkeypatch):
    submit, begun = Inline.submit, []

    def with_another_build(pool, function, item, timeout):
        if not begun:
            begun.append(item)
            three.build(three.folder / "other")  # deletes the videos of the part that is being made
        return submit(pool, function, item, timeout)

    monkeypatch.setattr(Inline, "submit", with_another_build)
    first = three.build()
    assert {row["status"] for row in first.table.to_pylist() if row["source"].rpartition("/")[2] != name(6)} <= {
        "ok",
        None,
    }
    assert three.build().table.to_pylist() == Manifest.read(three.folder / "other").table.to_pylist()
    assert three.build().outcomes() == {"done": 8, "quarantined": 1}


@pytest.mark.parametrize("seed", range(10))
def test_whatever_came_before_a_whole_build_ends_the_same(three, tmp_path, seed):
    """Builds and fetches of some classes and subsets, with parts failing, records and downloads lost in between."""
    three.build(tmp_path / "undisturbed", folder=str(tmp_path / "fresh"))
    served = dict(three.web.files)
    chance = random.Random(seed)
    for _ in range(4):
        some = {
            "classes": chance.choice([None, [ABSEILING], [MASSAGING, DRUMMING]]),
            "subsets": chance.choice([["train"], ["val"], ["train", "val"]]),
        }
        failing = chance.sample([path for path in served if path.endswith("gz")], chance.randint(0, 2))
        bad = chance.choice([None, served["/400/train/part_0.tar.gz"][:-9], b"<html></html>"])
        three.web.files.update(dict.fromkeys(failing, bad))
        deed = chance.choice(["build", "build", "fetch", "sample", "fetch a sample", "other flow", "lose"])
        with contextlib.suppress(SourceError, OutputError):  # other clips alone lie there
            if deed == "build":
                three.build(**some)
            elif deed == "fetch":
                datasets.acquire(three.dataset(**some), report=str)
            elif deed == "sample":
                three.build(tmp_path / "sample", clips_per_class=1, **some)
            elif deed == "fetch a sample":
                datasets.acquire(three.dataset(clips_per_class=1, **some), report=str)
            elif deed == "other flow":
                three.build(**some, **FLOW)
            else:
                lost = chance.choice([three.data / ".araflow", three.data / "videos", three.data])
                shutil.rmtree(lost, ignore_errors=True)
        three.web.files.update(served)
    manifest = three.build()
    assert statuses(manifest) == {name(n): "missing" if n == 6 else "ok" for n in (*range(7), 8, 9)}
    for made in ("clips", "manifest.parquet"):
        assert tree(three.out / made) == tree(tmp_path / "undisturbed" / made)
