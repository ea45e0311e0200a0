"""``araflow fetch kinetics400``: what lies in the folder, what is said of each clip, and what builds make of it."""

import csv
import json
import re
import shutil
from pathlib import Path

import kinetics_world as worlds
import mirrors
import pytest
from click.testing import CliRunner, Result
from kinetics_world import LABELS, World, rows, statuses

from araflow.acquire import fetch
from araflow.cli import main

ABSEILING, DRUMMING, MASSAGING = LABELS
MISSING, BROKEN = "-_0000000_X_000010_000020.mp4", "a_0000001_X_000010_000020.mp4"
ALL = [f"{initial}000000{n}_X_000010_000020.mp4" for initial in ("-_", "9Z", "a_") for n in range(3)]


@pytest.fixture
def world(web, tmp_path, monkeypatch) -> World:
    made = World(web, tmp_path, monkeypatch)
    made.serve_true()
    return made


def run(world: World, *options: str, licence: bool = True) -> Result:
    arguments = ["fetch", "kinetics400", "--to", str(world.data), *options]
    return CliRunner().invoke(main, [*arguments, "--accept-licence"] if licence else arguments)


def table(world: World) -> dict[str, dict[str, str]]:
    with (world.data / "clips.csv").open(newline="") as file:
        return {row["file"].rpartition("/")[2]: row for row in csv.DictReader(file)}


def give(world: World, folder: Path, *paths: str) -> list[str]:
    """Write what the mirror serves to files of the user's; return the options that name them."""
    options = []
    for path in paths:
        target = folder / path.removeprefix("/400/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(world.web.files[path])
        options += ["--from", str(target)]
    return options


PARTS = ("/400/train/part_0.tar.gz", "/400/train/part_1.tar.gz", "/400/val/part_0.tar.gz")


def test_it_fills_the_folder_and_says_of_every_listed_clip_how_it_is(world):
    result = run(world)
    assert result.exit_code == 3, result.output
    listed = table(world)
    assert sorted(listed) == sorted(ALL)
    for file, row in listed.items():
        expected = {MISSING: "missing", BROKEN: "replaced"}.get(file, "ok")
        label = {"-": ABSEILING, "9": DRUMMING, "a": MASSAGING}[file[0]]
        assert row == {
            "key": f"{worlds.SLUGS[label]}/{file[:-4]}",
            "label": label,
            "subset": "val" if "2_X" in file else "train",
            "file": f"videos/{'replaced/' if file == BROKEN else ''}{worlds.SLUGS[label]}/{file}",
            "status": expected,
        }
        assert (world.data / row["file"]).is_file() is (expected != "missing")
    whole = {n: d for own in mirrors.kinetics_clips(worlds.drawn()).values() for n, d in own.items()}
    assert {p.name: p.read_bytes() for p in (world.data / "videos").rglob("*.mp4")} == {
        n: d for n, d in whole.items() if n != MISSING
    }
    assert world.archives() == []
    text = " ".join(result.output.split())
    assert "train: 5 of 6 listed clips are in the archives (16.7% missing; others counted 2.0%)" in text
    assert "val: 3 of 3 listed clips are in the archives (0.0% missing; others counted 2.0%)" in text
    assert "videos in the archives that no list names: 1" in text
    assert re.search(r"9 clips listed: 7 ok, 1 replaced, 1 missing; [0-9.]+ kB$", text)


def test_a_second_time_asks_the_server_nothing_and_says_the_same(world):
    first = run(world)
    before = (world.data / "clips.csv").read_bytes()
    world.requests()
    again = run(world, licence=False)
    assert world.requests() == []
    assert (again.exit_code, again.stdout) == (3, first.stdout)
    assert (world.data / "clips.csv").read_bytes() == before


def test_json_holds_counts_by_class_and_status(world):
    got = json.loads(run(world, "--json").stdout)
    assert [tuple(row.values()) for row in got["classes"]] == [
        (ABSEILING, 3, 2, 0, 0, 1),
        (DRUMMING, 3, 3, 0, 0, 0),
        (MASSAGING, 3, 2, 1, 0, 0),
    ]
    assert tuple(got["total"].values()) == (9, 7, 1, 0, 1)
    assert got["bytes"] == sum(path.stat().st_size for path in (world.data / "videos").rglob("*.mp4"))


def test_one_split_alone_is_whole_and_fetches_no_part_of_the_other(world):
    result = run(world, "--split", "val")
    assert result.exit_code == 0, result.output
    assert {row["subset"] for row in table(world).values()} == {"val"}
    assert {path for path in world.parts_asked() if path != "replacement"} == {"val/part_0"}


def test_a_sample_has_one_clip_of_each_class_and_split_and_ends_well(world):
    result = run(world, "--clips-per-class", "1")
    assert result.exit_code == 0, result.output
    listed = table(world)
    assert len(listed) == 6
    assert {(row["label"], row["subset"]) for row in listed.values()} == {
        (label, subset) for label in LABELS for subset in ("train", "val")
    }
    assert {row["status"] for row in listed.values()} <= {"ok", "corrupt"}
    assert sorted(world.videos()) == sorted(listed)
    assert world.archives() == []


def test_only_some_classes(world):
    result = run(world, "--only", f"{DRUMMING}", "--only", ABSEILING)
    assert result.exit_code == 3, result.output
    assert {row["label"] for row in table(world).values()} == {ABSEILING, DRUMMING}
    assert not [file for file in world.videos() if file.startswith("a_")]
    assert {line[-1] for line in result.output.splitlines() if "no list names" in line} <= {"1"}
    assert run(world, "--split", "val").exit_code == 0
    assert run(world).exit_code == 3
    assert table(world)[BROKEN]["status"] == "replaced"


def test_a_dry_run_and_a_licence_that_is_not_accepted_ask_for_nothing(world):
    result = run(world, "--dry-run", licence=False)
    assert result.exit_code == 0
    assert "train/list.txt" in result.output
    assert run(world, licence=False).exit_code == 2
    assert world.requests() == []
    assert not world.data.exists()


def test_a_part_that_cannot_be_had_is_a_remark_and_the_others_are_there(world):
    good = world.web.files.pop("/400/train/part_0.tar.gz")
    result = run(world)
    assert result.exit_code == 3
    text = " ".join(result.output.split())
    assert re.search(r"not fetched: part_0\.tar\.gz: download failed", text)
    assert "2 ok" not in text
    world.web.files["/400/train/part_0.tar.gz"] = good
    world.requests()
    assert run(world).exit_code == 3
    assert world.requests() == ["train/part_0"]
    assert [row["status"] for row in table(world).values()].count("missing") == 1


def test_three_parts_in_a_row_that_cannot_be_had_end_it(world):
    for path in PARTS:
        del world.web.files[path]
    result = run(world)
    assert result.exit_code == 1
    assert "error: part_0.tar.gz: download failed" in result.output
    assert "Traceback" not in result.output


def test_archives_are_kept_where_asked(world):
    assert run(world, "--keep-archives").exit_code == 3
    assert len(world.archives()) == 4


# --- what the user has ---


def test_from_tars_takes_them_and_downloads_lists_alone(world, tmp_path):
    result = run(world, *give(world, tmp_path / "mine", *PARTS))
    assert result.exit_code == 3, result.output
    assert world.parts_asked() == []
    found = {file: row["status"] for file, row in table(world).items()}
    assert found == {file: {MISSING: "missing", BROKEN: "corrupt"}.get(file, "ok") for file in ALL}


@pytest.mark.parametrize("order", [1, -1], ids=["replacement last", "replacement first"])
def test_from_tars_and_the_replacement_in_either_order(world, tmp_path, order):
    options = give(world, tmp_path / "mine", *[*PARTS, "/400/replacement.tgz"][::order])
    result = run(world, *options)
    assert result.exit_code == 3, result.output
    assert {file: row["status"] for file, row in table(world).items()}[BROKEN] == "replaced"


def test_from_a_folder_of_tars_and_the_replacement(world, tmp_path):
    give(world, tmp_path / "mine", *PARTS, "/400/replacement.tgz")
    result = run(world, "--from", str(tmp_path / "mine"))
    assert result.exit_code == 3, result.output
    assert {file: row["status"] for file, row in table(world).items()}[BROKEN] == "replaced"


def test_from_a_folder_in_another_layout_takes_every_listed_clip_and_builds_find_them(world, tmp_path):
    mine = tmp_path / "mine"
    by_name = {n: d for of in mirrors.kinetics_clips(worlds.drawn()).values() for n, d in of.items()}
    for number, (file, data) in enumerate(sorted(by_name.items())):
        stem = file[:-4]
        place = [f"train_256/x/{stem}.mkv", f"bare/{stem[:11]}.webm", f"val_256/{stem[:11]}_10_20.mp4"][number % 3]
        (mine / place).parent.mkdir(parents=True, exist_ok=True)
        (mine / place).write_bytes(data)
    (mine / "bare" / "holiday.mp4").write_bytes(b"x")
    (mine / "bare" / "unlisted_id_000001_000011.mkv").write_bytes(b"x")
    result = run(world, "--from", str(mine), "--json")
    assert result.exit_code == 0, result.output
    assert {row["status"] for row in table(world).values()} == {"ok"}
    over = json.loads(result.stdout)["passed_over"]
    assert [(one["why"], one["example"]) for one in over] == [
        ("no-name", "bare/holiday.mp4"),
        ("not-listed", "bare/unlisted_id_000001_000011.mkv"),
    ]
    world.requests()
    assert world.build().outcomes() == {"done": len(by_name)}
    assert world.parts_asked() in ([], ["replacement"])


def test_from_with_a_sample_is_refused_before_anything_is_asked_for(world, tmp_path):
    result = run(world, "--clips-per-class", "1", *give(world, tmp_path / "mine", *PARTS))
    assert result.exit_code == 1
    assert "error: dataset.clips_per_class: a sample is downloaded" in result.output
    assert world.requests() == []


@pytest.mark.parametrize("given", ["absent.tar", "empty", "other.tar"])
def test_from_something_else_is_an_error_that_names_it(world, tmp_path, given):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.tar").write_bytes(mirrors.tarred({"walk.avi": b"x"}, "w:"))
    result = run(world, "--from", str(tmp_path / given))
    assert result.exit_code in (1, 2)
    assert re.search(rf"{given}.*?(does not exist|no such file|holds no)", result.output)
    assert world.parts_asked() == []


# --- builds of what was fetched ---


def test_a_build_of_what_was_fetched_asks_for_nothing_and_deletes_nothing(world):
    run(world)
    videos = world.videos()
    world.requests()
    manifest = world.build()
    assert world.requests() == []
    assert world.videos() == videos
    assert statuses(manifest) == {file: row["status"] for file, row in table(world).items()}


def test_a_build_after_fetching_one_split_fetches_the_rest_and_deletes_only_that(world):
    run(world, "--split", "val")
    videos = world.videos()
    manifest = world.build()
    assert manifest.outcomes() == {"done": 8, "quarantined": 1}
    assert statuses(manifest)[BROKEN] == "replaced"
    assert world.videos() == videos


def test_a_build_after_fetching_one_class_fetches_the_rest_and_deletes_only_that(world):
    run(world, "--only", DRUMMING)
    videos = world.videos()
    manifest = world.build()
    assert manifest.outcomes() == {"done": 8, "quarantined": 1}
    assert world.videos() == videos


def test_a_build_deletes_no_video_that_was_taken_from_the_user(world, tmp_path):
    run(world, *give(world, tmp_path / "mine", *PARTS))
    videos = world.videos()
    assert world.build().outcomes() == {"done": 8, "quarantined": 1}
    assert world.videos() == videos


def test_a_build_of_what_was_taken_from_the_user_whole_asks_for_no_part(world, tmp_path):
    run(world, "--split", "val", *give(world, tmp_path / "mine", PARTS[2]))
    world.requests()
    assert world.build(subsets=["val"]).outcomes() == {"done": 3}
    assert world.parts_asked() in ([], ["replacement"])


def test_fetching_after_a_build_fetches_the_videos_again_and_keeps_them(world):
    world.build()
    assert world.videos() == []
    assert run(world).exit_code == 3
    assert len(world.videos()) == 8
    world.build(optical={"bound": 16.0})
    assert len(world.videos()) == 8


def test_a_folder_that_is_moved_is_still_known(world, tmp_path):
    run(world)
    shutil.move(world.data, tmp_path / "moved")
    world.requests()
    manifest = world.build(folder=str(tmp_path / "moved"))
    assert world.requests() == []
    assert len(rows(manifest)) == 9
    assert fetch.receipt(tmp_path / "moved" / "lists" / "train.csv") is not None


# --- what is the user's stays; what has no label is listed ---


def test_archives_that_were_to_be_kept_stay_whatever_builds_and_fetches_come(world):
    run(world, "--keep-archives")
    kept = world.archives()
    assert len(kept) == 4
    world.build()
    run(world)
    world.build(world.folder / "sample", clips_per_class=1)
    assert world.archives() == kept
    run(world, "--delete-archives")
    assert world.archives() == []


def test_videos_that_lay_there_before_are_neither_overwritten_nor_deleted(world):
    own = world.data / "videos" / "abseiling" / "-_0000001_X_000010_000020.mp4"
    own.parent.mkdir(parents=True)
    own.write_bytes(worlds.video(2))
    manifest = world.build()
    assert own.read_bytes() == worlds.video(2)
    assert rows(manifest)[own.name]["source_bytes"] == len(worlds.video(2))


def test_clips_without_a_label_are_rows_too(web, tmp_path, monkeypatch):
    world = World(web, tmp_path, monkeypatch)
    world.serve_parts({"train": [{worlds.name(0): worlds.video(0)}]}, {"train": [("abseiling", worlds.name(0))]})
    web.files["/400/test/part_0.tar.gz"] = mirrors.tarred({worlds.name(7): worlds.video(1)})
    web.files["/400/test/list.txt"] = web.url("/400/test/part_0.tar.gz").encode()
    web.files["/400/annotations/test.csv"] = b"youtube_id,time_start,time_end,split\n-_0000007_X,10,20,test\n"
    subset = {
        "parts": web.url("/400/test/list.txt"),
        "annotations": [web.url("/400/annotations/test.csv")],
        "source": "drawn",
    }
    world.edit_registry(lambda content: content["subsets"].update(test=subset))
    manifest = world.build(subsets=["train", "test"])
    assert [(row["label"], row["split"], row["outcome"]) for row in manifest.table.to_pylist()] == [
        ("abseiling", "train", "done"),
        (None, "test", "done"),
    ]


def test_a_training_list_without_labels_gives_way_to_the_next_one(web, tmp_path, monkeypatch):
    world = World(web, tmp_path, monkeypatch)
    world.serve_true()
    web.files["/400/annotations/train.txt"] = b"-_0000001_X_000010_000020\n"
    old = web.url("/400/annotations/train.csv")
    world.edit_registry(
        lambda content: content["subsets"]["train"].update(annotations=[old.replace(".csv", ".txt"), old])
    )
    assert {row["label"] for row in world.build().table.to_pylist()} == set(LABELS)


def test_a_mirror_for_kinetics_is_refused(world):
    result = run(world, "--mirror", "nowhere.example")
    assert (result.exit_code, world.requests()) == (1, [])
    assert "one address each" in result.output


def test_a_part_of_the_classes_fetched_later_leaves_the_others_in_the_status_file(world):
    run(world)
    before = table(world)
    run(world, "--only", DRUMMING)
    assert table(world) == before
