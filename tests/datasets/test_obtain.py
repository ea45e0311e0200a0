"""What ``araflow fetch`` runs, as a library: a status for every listed clip, whatever way its file came."""

import csv
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import mirrors
import pytest
from kills import in_a_child
from rar_writer import rar4

from araflow import datasets
from araflow.acquire import registry
from araflow.acquire.statuses import STATUS_FILE, Acquired
from araflow.acquire.types import Sources
from araflow.core.errors import FetchError, SourceError, SpecError
from araflow.core.spec import DatasetSpec
from araflow.datasets import acquire, offer

LISTED = 15
"""Three clips of five classes."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[mirrors.Files, mirrors.Files]:
    return mirrors.draw(tmp_path_factory.mktemp("drawn"))


@pytest.fixture
def served(web, drawn, tmp_path, monkeypatch):
    """HMDB51 and UCF101 on the local server, a registry that points there, and a cache of our own."""
    videos, splits = drawn
    web.files |= mirrors.hmdb51(videos, splits) | mirrors.ucf101(videos)
    monkeypatch.setenv("ARAFLOW_REGISTRY", str(mirrors.registry(tmp_path / "registry", web.files, web.url)))
    monkeypatch.setenv("ARAFLOW_CACHE", str(tmp_path / "cache"))
    return web


def spec(name: str = "hmdb51", **settings: object) -> DatasetSpec:
    return DatasetSpec.model_validate({"name": name, **settings})


def totals(got: Acquired) -> dict[str, int]:
    return {name: int(got.total[name]) for name in ("listed", "ok", "replaced", "corrupt", "missing")}


def statuses(got: Acquired) -> dict[str, str]:
    rows = list(csv.DictReader((Path(got.folder) / STATUS_FILE).read_text().splitlines()))
    assert len({row["key"] for row in rows}) == len(rows)
    return {row["key"]: row["status"] for row in rows}


def split_archive(drawn: Any, path: Path) -> Path:
    path.write_bytes(rar4(mirrors.below("testTrainMulti_7030_splits", drawn[1])))
    return path


# --- what there is ---


def test_datasets_with_a_registry_file_can_be_fetched(served):
    assert sorted(registry.names()) == ["hmdb51", "ucf101"]


def test_all_shipped_datasets_have_an_address():
    assert sorted(registry.names()) == ["hmdb51", "kinetics400", "kinetics600", "kinetics700_2020", "ucf101"]


@pytest.mark.parametrize("name", ["sample", "folder"])
def test_a_dataset_without_an_address_is_an_error_that_names_it(served, name):
    for ask in (offer, acquire):
        with pytest.raises(SourceError, match=name):
            ask(spec(name))  # type: ignore[operator]


def test_a_registry_file_that_cannot_be_read_is_named_and_not_taken_for_none(served, tmp_path):
    (tmp_path / "registry" / "hmdb51.yaml").write_text("name: [")
    with pytest.raises(SourceError, match=r"hmdb51\.yaml: not a dataset registry file"):
        offer(spec())


# --- what would be fetched ---


def test_an_offer_asks_no_server_and_writes_nothing(served, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    shown = offer(spec(classes=["walk"]))
    expected = [served.url("/hmdb51_org.rar"), served.url("/test_train_splits.rar")]
    assert [file["url"] for file in shown["files"]] == expected
    assert shown["files"][0]["size"] == len(served.files["/hmdb51_org.rar"])
    assert shown["licence_accepted"] is False
    assert shown["licence"] == "CC0 of the drawn"
    assert shown["free"] > 0
    assert served.requests == []
    assert sorted(tmp_path.rglob("*")) == before


def test_an_offer_says_what_is_still_to_be_fetched(served):
    acquire(spec(classes=["walk"]))
    assert offer(spec(classes=["walk"]))["files"] == []
    assert offer(spec(classes=["walk"]))["licence_accepted"] is True


def test_what_is_downloaded_is_not_offered_again_for_another_class(served):
    acquire(spec(classes=["walk"]))
    served.requests.clear()
    shown = [file["url"] for file in offer(spec())["files"]]
    acquire(spec())
    assert shown == [served.url(path) for path in served.requests] == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": ["wlak"]}, "'wlak' is not a class of hmdb51; did you mean walk?"),
        ({"mirror": "nowhere"}, "dataset.mirror: 'nowhere' is part of no known host; known: 127.0.0.1"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_asked_or_written(served, tmp_path, settings, message):
    for ask in (offer, acquire):
        with pytest.raises(SpecError) as caught:
            ask(spec(**settings))  # type: ignore[operator]
        assert message in str(caught.value)
    assert served.requests == []
    assert not (tmp_path / "cache").exists()


# --- a status for each clip ---


def test_a_whole_dataset_has_a_status_for_every_listed_clip(served, drawn, tmp_path):
    got = acquire(spec())
    assert totals(got) == {"listed": LISTED, "ok": LISTED, "replaced": 0, "corrupt": 0, "missing": 0}
    assert [row["class"] for row in got.classes] == sorted(mirrors.CLASSES)
    assert got.absent == 0
    assert got.bytes == sum(map(len, drawn[0].values()))
    assert got.remarks == []
    assert Path(got.folder) == tmp_path / "cache" / "hmdb51"
    assert set(statuses(got).values()) == {"ok"}
    rows = list(csv.DictReader((Path(got.folder) / STATUS_FILE).read_text().splitlines()))
    assert {row["file"] for row in rows} == {f"videos/{name}" for name in drawn[0]}
    for row in rows:
        assert (Path(got.folder) / row["file"]).read_bytes() == drawn[0][row["file"].removeprefix("videos/")]
        assert row["key"] == row["file"].removeprefix("videos/").removesuffix(".avi")
        assert row["label"] == row["key"].partition("/")[0]


def test_ucf101_has_a_status_for_every_listed_clip_though_names_and_class_differ_in_case(served):
    got = acquire(spec("ucf101"))
    assert totals(got) == {"listed": 6, "ok": 6, "replaced": 0, "corrupt": 0, "missing": 0}
    files = [row["file"] for row in csv.DictReader((Path(got.folder) / STATUS_FILE).read_text().splitlines())]
    assert "videos/HandstandPushups/v_HandStandPushups_g01_c01.avi" in files
    assert all((Path(got.folder) / file).is_file() for file in files)


def test_a_clip_deleted_by_hand_is_missing_and_one_cut_short_is_corrupt_and_nothing_is_asked_for(served):
    got = acquire(spec(keep_archives=False))
    gone, short, empty, *_ = sorted((Path(got.folder) / "videos").rglob("*.avi"))
    gone.unlink()
    short.write_bytes(short.read_bytes()[:-1])
    empty.write_bytes(b"")
    served.requests.clear()
    again = acquire(spec())
    assert totals(again) == {"listed": LISTED, "ok": LISTED - 3, "replaced": 0, "corrupt": 2, "missing": 1}
    assert again.absent == 3
    said = statuses(again)
    for path, status in ((gone, "missing"), (short, "corrupt"), (empty, "corrupt")):
        assert said[f"{path.parent.name}/{path.stem}"] == status
    assert served.requests == []


def test_a_clip_deleted_by_hand_comes_back_by_itself_while_the_archive_is_kept(served, drawn):
    got = acquire(spec())
    gone = next((Path(got.folder) / "videos").rglob("*.avi"))
    gone.unlink()
    served.requests.clear()
    assert totals(acquire(spec()))["ok"] == LISTED
    assert gone.read_bytes() == drawn[0][f"{gone.parent.name}/{gone.name}"]
    assert served.requests == []


@pytest.mark.parametrize("left", [0, 10, -1])
def test_a_clip_cut_short_comes_back_by_itself_while_the_archive_is_kept(served, drawn, left):
    got = acquire(spec())
    short = next((Path(got.folder) / "videos").rglob("*.avi"))
    short.write_bytes(short.read_bytes()[:left])
    assert totals(acquire(spec()))["ok"] == LISTED
    assert short.read_bytes() == drawn[0][f"{short.parent.name}/{short.name}"]


def test_a_clip_deleted_by_hand_comes_back_from_the_archive_that_was_kept(served):
    """As the user would try: by naming the archive."""
    got = acquire(spec())
    (kept,) = (Path(got.folder) / "archives").rglob("hmdb51_org.rar")
    gone, short, *_ = sorted((Path(got.folder) / "videos").rglob("*.avi"))
    gone.unlink()
    short.write_bytes(short.read_bytes()[:9])
    assert totals(acquire(spec(), given=[kept]))["ok"] == LISTED
    gone.unlink()
    short.write_bytes(b"the user's own")
    with pytest.raises(SourceError, match=r"is there already, .* it stays as it is: move it away"):
        acquire(spec(), given=[kept])
    assert short.read_bytes() == b"the user's own"


def test_a_listed_clip_that_the_archive_lacks_is_missing(served, drawn):
    videos = dict(drawn[0])
    lost = next(iter(videos))
    del videos[lost]
    served.files["/mine.zip"] = mirrors.zipped(videos)
    got = acquire(spec(mirror=served.url("/mine.zip")))
    assert totals(got)["missing"] == 1
    assert statuses(got)[lost.removesuffix(".avi")] == "missing"


def test_videos_that_no_list_names_are_no_clips(served, drawn):
    videos = drawn[0] | {"walk/Stranger_walk_f_cm_np1_ri_med_0.avi": b"RIFF"}
    served.files["/mine.zip"] = mirrors.zipped(videos)
    assert totals(acquire(spec(mirror=served.url("/mine.zip"))))["listed"] == LISTED


def test_of_some_classes_only_these_are_listed_in_the_order_asked_for(served):
    got = acquire(spec(classes=["push", "walk"]))
    assert [row["class"] for row in got.classes] == ["push", "walk"]
    assert totals(got) == {"listed": 6, "ok": 6, "replaced": 0, "corrupt": 0, "missing": 0}
    assert {p.name for p in (Path(got.folder) / "videos").iterdir()} == {"push", "walk"}


def test_a_clip_that_the_disk_does_not_give_is_corrupt_and_no_crash(served):
    got = acquire(spec(keep_archives=False))
    victim = next((Path(got.folder) / "videos").rglob("*.avi"))
    victim.unlink()
    victim.symlink_to(victim.name)
    again = acquire(spec(keep_archives=False))
    assert totals(again)["corrupt"] == 1
    assert again.bytes < got.bytes


def test_a_folder_in_the_place_of_a_clip_is_no_crash(served):
    got = acquire(spec())
    victim = next((Path(got.folder) / "videos").rglob("*.avi"))
    victim.unlink()
    victim.mkdir()
    try:
        assert acquire(spec()).absent == 1
    except SourceError as error:
        assert victim.name in str(error)


# --- what the user has ---


def test_given_archives_are_enough_and_nothing_is_asked_for(served, drawn, tmp_path):
    (tmp_path / "videos.rar").write_bytes(served.files["/hmdb51_org.rar"])
    given = [tmp_path / "videos.rar", split_archive(drawn, tmp_path / "splits.rar")]
    for _ in range(2):
        assert totals(acquire(spec(), given=given))["ok"] == LISTED
    assert served.requests == []
    assert totals(acquire(spec()))["ok"] == LISTED
    assert served.requests == [], "and they stay enough"


def test_videos_alone_are_completed_by_the_official_split_files(served, drawn, tmp_path):
    (tmp_path / "videos.zip").write_bytes(mirrors.zipped(drawn[0]))
    assert totals(acquire(spec(), given=[tmp_path / "videos.zip"]))["ok"] == LISTED
    assert served.requests == ["/test_train_splits.rar"]


def test_class_archives_given_one_by_one_and_folders_add_up(served, drawn, tmp_path):
    given = []
    for number, (label, own) in enumerate(mirrors.grouped(drawn[0]).items()):
        if number % 2:
            (tmp_path / f"{label}.rar").write_bytes(rar4(own))
            given.append(tmp_path / f"{label}.rar")
        else:
            for name, data in own.items():
                (tmp_path / f"given{number}" / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / f"given{number}" / name).write_bytes(data)
            given.append(tmp_path / f"given{number}")
    assert totals(acquire(spec(), given=given))["ok"] == LISTED
    assert "/hmdb51_org.rar" not in served.requests


def test_with_given_files_no_videos_are_downloaded_even_if_some_are_missing(served, drawn, tmp_path):
    own = {name: data for name, data in drawn[0].items() if name.startswith("walk/")}
    (tmp_path / "walk.rar").write_bytes(rar4(own))
    got = acquire(spec(), given=[tmp_path / "walk.rar"])
    assert totals(got) == {"listed": LISTED, "ok": 3, "replaced": 0, "corrupt": 0, "missing": LISTED - 3}
    assert served.requests == ["/test_train_splits.rar"]


def test_given_class_archives_first_and_a_download_of_the_others_later(served, drawn, tmp_path):
    own = {name: data for name, data in drawn[0].items() if name.startswith("walk/")}
    (tmp_path / "walk.rar").write_bytes(rar4(own))
    acquire(spec(), given=[tmp_path / "walk.rar"])
    assert totals(acquire(spec()))["ok"] == LISTED


def test_given_files_that_contradict_what_is_there_are_not_taken_in_silence(served, drawn, tmp_path):
    got = acquire(spec())
    name, data = next(iter(drawn[0].items()))
    other = data[:-1] + bytes([data[-1] ^ 1])
    (tmp_path / "other.zip").write_bytes(mirrors.zipped({name: other}))
    try:
        acquire(spec(), given=[tmp_path / "other.zip"])
    except SourceError:
        assert (Path(got.folder) / "videos" / name).read_bytes() == data
    else:
        assert (Path(got.folder) / "videos" / name).read_bytes() == other, "what the user gives last is what they want"


@pytest.mark.parametrize("content", [b"", b"<html>", b"RIFF"])
def test_a_given_file_that_is_useless_is_an_error_that_names_it_and_nothing_is_asked_for(served, tmp_path, content):
    (tmp_path / "x.rar").write_bytes(content)
    with pytest.raises(SourceError, match=r"x\.rar: not a zip, tar or RAR archive"):
        acquire(spec(), given=[tmp_path / "x.rar"])
    with pytest.raises(SourceError, match="nowhere: no such file or folder"):
        acquire(spec(), given=[tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="empty: holds no hmdb51 clips"):
        acquire(spec(), given=[tmp_path / "empty"])
    assert served.requests == []


def test_a_single_clip_that_is_given_is_taken_or_refused_by_name(served, drawn, tmp_path):
    name, data = next(iter(drawn[0].items()))
    path = tmp_path / Path(name).name
    path.write_bytes(data)
    try:
        assert totals(acquire(spec(), given=[path]))["ok"] == 1
    except SourceError as error:
        assert path.name in str(error)


def test_given_ucf101_where_hmdb51_is_asked_for_is_refused(served, tmp_path):
    (tmp_path / "UCF101.rar").write_bytes(served.files["/UCF101.rar"])
    with pytest.raises(SourceError, match=r"UCF101\.rar: holds no hmdb51 clips"):
        acquire(spec(), given=[tmp_path / "UCF101.rar"])


# --- trouble ---


def test_a_dead_server_is_an_error_and_the_same_call_goes_on_from_there(served):
    splits = served.files.pop("/test_train_splits.rar")
    with pytest.raises(FetchError, match=r"test_train_splits\.rar"):
        acquire(spec())
    served.files["/test_train_splits.rar"] = splits
    served.requests.clear()
    assert totals(acquire(spec()))["ok"] == LISTED
    assert served.requests == ["/test_train_splits.rar"]


def test_the_folder_of_another_dataset_is_refused_before_anything_is_fetched(served, tmp_path):
    acquire(spec("ucf101", folder=str(tmp_path / "shared")))
    served.requests.clear()
    for ask in (offer, acquire):
        with pytest.raises(SourceError, match="is the folder of 'ucf101', not of 'hmdb51': choose another"):
            ask(spec(folder=str(tmp_path / "shared")))  # type: ignore[operator]
    assert served.requests == []


def test_a_dataset_folder_may_be_moved(served, tmp_path):
    acquire(spec(folder=str(tmp_path / "a")))
    shutil.move(tmp_path / "a", tmp_path / "b")
    served.requests.clear()
    assert totals(acquire(spec(folder=str(tmp_path / "b"))))["ok"] == LISTED
    assert served.requests == []


def test_progress_is_told_of_the_bytes_of_each_file(served):
    seen: dict[str, list[tuple[int, int | None]]] = {}
    acquire(spec(), progress=lambda name, done, total: seen.setdefault(name, []).append((done, total)))
    assert set(seen) == {"hmdb51_org.rar", "test_train_splits.rar"}
    for name, steps in seen.items():
        size = len(served.files[f"/{name}"])
        assert steps[-1] == (size, size)
        assert steps == sorted(steps)


def test_what_the_user_gives_is_never_deleted(served, drawn, tmp_path):
    given = [tmp_path / "videos.rar", split_archive(drawn, tmp_path / "splits.rar"), tmp_path / "loose"]
    given[0].write_bytes(served.files["/hmdb51_org.rar"])
    for name, data in drawn[0].items():
        (given[2] / name).parent.mkdir(parents=True, exist_ok=True)
        (given[2] / name).write_bytes(data)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    got = acquire(spec(keep_archives=False), given=given)
    assert totals(got)["ok"] == LISTED
    assert {path: path.read_bytes() for path in before} == before
    shutil.rmtree(got.folder)
    assert {path: path.read_bytes() for path in before} == before


def test_after_kill_9_at_any_moment_nothing_is_wrong_and_the_same_call_completes_it(served, drawn, tmp_path):
    changes = in_a_child(lambda: acquire(spec(folder=str(tmp_path / "whole"))))
    for number in range(12):
        moment, folder = 1 + number * (changes - 8) // 11, tmp_path / f"to{number}"
        assert in_a_child(lambda folder=folder: acquire(spec(folder=str(folder))), moment) == -signal.SIGKILL  # type: ignore[misc]
        for path in (folder / "videos").rglob("*.avi"):
            assert path.read_bytes() == drawn[0][path.relative_to(folder / "videos").as_posix()]
        if (folder / "dataset.json").exists():
            assert json.loads((folder / "dataset.json").read_text())["name"] == "hmdb51"
        assert totals(acquire(spec(folder=str(folder))))["ok"] == LISTED


# --- what a user has, in whatever layout ---


@pytest.mark.parametrize("pack", [None, mirrors.zipped])
def test_re_encoded_clips_and_folders_of_frames_are_taken_and_what_is_not_is_counted(served, drawn, tmp_path, pack):
    videos, splits = drawn
    files = {f"split/{name}": data for name, data in splits.items()}
    expected = {}
    for number, (name, data) in enumerate(sorted(videos.items())):
        label, _, file = name.partition("/")
        place = [f"train/{label}/{file[:-4]}.MP4", f"frames/{label}/{file[:-4]}/img_00001.jpg", file][number % 3]
        files[place] = data
        expected[f"{label}/{file[:-4]}"] = place
    first = sorted(files)[-1]
    more = {"notes.md": b"x", "train/walk/my walk.mp4": b"x", "frames/cover.jpg": b"x", f"x/{first}": files[first]}
    source = tmp_path / "mine"
    for name, data in (files | more).items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    if pack is not None:
        (tmp_path / "mine.zip").write_bytes(pack(files | more))
        source = tmp_path / "mine.zip"
    got = acquire(spec(), given=[source])
    assert totals(got) == {"listed": LISTED, "ok": LISTED, "replaced": 0, "corrupt": 0, "missing": 0}
    assert {(one.why, one.what): one.count for one in got.passed_over} == {
        ("suffix", ".md"): 1,
        ("no-name", ".mp4"): 1,
        ("beside-clips", ".jpg"): 1,
        ("twice", Path(first).suffix.lower()): 1,
    }
    clips = datasets.load("hmdb51").list_clips(Sources(Path(got.folder) / "videos", Path(got.folder) / "splits"), None)
    assert len(clips.clips) == LISTED
    assert {clip.key for clip in clips.clips if clip.source is not None} == set(expected)
