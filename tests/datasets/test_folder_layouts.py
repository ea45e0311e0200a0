"""Folders as people have them: split folders, wrappers, frames with flow beside them, files of any suffix."""

import itertools
import shutil
from pathlib import Path

import pytest
from laid import lay

from araflow.acquire.types import Sources
from araflow.core.errors import SourceError
from araflow.core.listing import Listing
from araflow.core.spec import DatasetSpec
from araflow.datasets import _folder_labels, folder


def listing(root: Path, wanted: list[str] | None = None) -> Listing:
    return folder.list_clips(Sources(root, None), wanted)


def rows(root: Path, wanted: list[str] | None = None) -> list[tuple[str, str | None, str | None]]:
    return [(clip.key, clip.label, clip.subset) for clip in listing(root, wanted).clips]


def over(root: Path) -> dict[tuple[str, str], int]:
    return {(one.why, one.what): one.count for one in listing(root).passed_over}


# --- folders of subsets ---

THREE = [
    ("train", "val", "test"),
    ("Training", "validation", "TESTING"),
    ("train_256", "valid_256", "test_256"),
    ("videos-train", "videos-val", "videos-test"),
    ("trainset", "valset", "testset"),
    ("01_train", "02_val", "03_test"),
]


@pytest.mark.parametrize("names", THREE)
@pytest.mark.parametrize(
    "shape", ["{split}/{label}/{n}.mp4", "data/{split}/{label}/{n}.mp4", "{label}/{split}/{n}.mp4"]
)
def test_folders_named_after_subsets_are_splits_and_no_classes(tmp_path, names, shape):
    for number, (split, label) in enumerate(itertools.product(names, ("walk", "run"))):
        lay(tmp_path, shape.format(split=split, label=label, n=number))
    found = listing(tmp_path)
    assert {clip.label for clip in found.clips} == {"walk", "run"}
    for clip in found.clips:
        given = next(part for part in clip.name.split("/") if part in names)
        assert clip.subset == ("train", "val", "test")[names.index(given)]
        assert clip.key == clip.name.removesuffix(".mp4")
    assert [remark for remark in found.remarks if "stand for splits (2 train, 2 val, 2 test)" in remark]


def test_a_shelf_below_each_subset_or_around_all_is_no_class(tmp_path):
    lay(tmp_path, "set/videos/train/train_videos/walk/a.mp4", "set/videos/val/val_videos/walk/b.mp4")
    lay(tmp_path, "set/videos/train/train_videos/run/s1/a.mp4")
    assert [row[1:] for row in rows(tmp_path)] == [("run", "train"), ("walk", "train"), ("walk", "val")]


def test_classes_may_be_called_train_and_test(tmp_path):
    lay(tmp_path, "train/a.mp4", "car/b.mp4", "test/c.mp4")
    assert [row[1:] for row in rows(tmp_path)] == [("car", None), ("test", None), ("train", None)]
    lay(tmp_path / "x", "train/s1/a.mp4", "test/s2/b.mp4")
    assert [row[1:] for row in rows(tmp_path / "x")] == [("s2", "test"), ("s1", "train")]
    assert [row[1:] for row in rows(tmp_path / "x", ["train", "test"])] == [("test", None), ("train", None)]


def test_videos_right_in_a_subset_have_no_class_which_is_said(tmp_path):
    lay(tmp_path, "train/a.mp4", "train/walk/b.mp4", "test/walk/c.mp4")
    assert rows(tmp_path) == [
        ("test/walk/c", "walk", "test"),
        ("train/a", None, "train"),
        ("train/walk/b", "walk", "train"),
    ]
    assert any("1 of 3 clips lie in no class folder" in remark for remark in listing(tmp_path).remarks)


def test_subsets_of_some_classes_alone_say_no_split(tmp_path):
    lay(tmp_path, "walk/train/a.mp4", "walk/test/b.mp4", "run/c.mp4")
    assert {row[1:] for row in rows(tmp_path)} == {("walk", None), ("run", None)}
    assert any("and say no split" in remark for remark in listing(tmp_path).remarks)


def test_subsets_beside_other_folders_are_classes_which_is_said(tmp_path):
    lay(tmp_path, "train/walk/a.mp4", "test/walk/b.mp4", "extra/walk/c.mp4")
    assert {row[1:] for row in rows(tmp_path)} == {("train", None), ("test", None), ("extra", None)}
    assert any("and say no split" in remark for remark in listing(tmp_path).remarks)
    assert listing(tmp_path, ["train"]).remarks == ()


@pytest.mark.parametrize("name", ["training_day", "test_drive", "contest", "trainer", "latest", "train_test", "v1"])
def test_other_names_are_no_subsets(name):
    assert _folder_labels.subset_of(name) is None


def test_official_splits_are_known_where_folders_give_them(tmp_path):
    def knows(source: Path) -> bool:
        return folder.dataset.knows_splits(DatasetSpec.model_validate({"name": "folder", "source": str(source)}))

    lay(tmp_path, "a/train/walk/a.mp4", "a/test/walk/b.mp4", "b/walk/a.mp4", "b/run/a.mp4")
    assert [knows(tmp_path / name) for name in ("a", "b", "absent", "some.tar.gz")] == [True, False, False, True]


# --- wrappers, deeper shelves, what lies at the top ---


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["data/walk/a.mp4", "data/run/b.mp4"], {"walk", "run"}),
        (["x/x/walk/a.mp4", "x/x/run/b.mp4"], {"walk", "run"}),
        (["videos/walk/s1/a.mp4"], {"walk"}),
        (["walk/s1/a.mp4", "run/s1/b.mp4"], {"walk", "run"}),
        (["walk/a.mp4", "walk/b.mp4"], {"walk"}),
        (["walk/s1/a.mp4", "walk/b.mp4"], {"walk"}),
        (["walk/s1/a.mp4"], {"walk"}),
    ],
)
def test_the_folder_that_holds_everything_is_no_class_if_it_holds_classes(tmp_path, names, labels):
    found = listing(lay(tmp_path, *names))
    assert {clip.label for clip in found.clips} == labels
    assert bool(found.remarks) == (names[0].split("/")[0] in ("data", "x", "videos"))
    assert {clip.label for clip in listing(tmp_path, [names[0].split("/")[0]]).clips} == {names[0].split("/")[0]}


def test_clips_at_the_top_beside_class_folders_are_said_to_have_no_class(tmp_path):
    lay(tmp_path, "a.mp4", "walk/b.mp4")
    assert listing(tmp_path).remarks == ("1 of 2 clips lie in no class folder: they have no class",)
    assert listing(lay(tmp_path / "flat", "a.mp4", "b.mp4")).remarks == ()


def test_links_in_circles_are_counted_and_cost_nothing(tmp_path):
    lay(tmp_path, "walk/a.mp4", "run/b.mp4")
    (tmp_path / "walk" / "up").symlink_to(tmp_path)
    assert [row[0] for row in rows(tmp_path)] == ["run/b", "walk/a"]
    assert over(tmp_path) == {("circle", ""): 1}


# --- frames, and the flow that others have put beside them ---


def images(folder: Path, *names: str, count: int = 3) -> None:
    for name, number in itertools.product(names, range(count)):
        lay(folder, f"{name}{number:05d}.jpg")


PAIRS = [("flow_x_", "flow_y_"), ("x_", "y_"), ("u", "v"), ("flow_x/", "flow_y/"), ("u/", "v/"), ("flow/x_", "flow/y_")]


@pytest.mark.parametrize("flow", PAIRS)
@pytest.mark.parametrize("frames", ["img_", "", "rgb/", "RGB/img_", "frames/"])
def test_flow_beside_frames_is_named_and_no_clip(tmp_path, frames, flow):
    images(tmp_path / "walk" / "c1", frames, *flow)
    images(tmp_path / "run" / "c2", frames, *flow)
    clips = listing(tmp_path).clips
    assert [(clip.key, clip.label) for clip in clips] == [("run/c2", "run"), ("walk/c1", "walk")]
    from araflow.media.source_files import frame_files

    assert [path.name.rpartition("_")[2] for path in frame_files(clips[0].source)] == [f"{n:05d}.jpg" for n in range(3)]
    assert {why for why, _ in over(tmp_path)} == {"flow-images"}
    assert sum(over(tmp_path).values()) == 12


def test_frames_and_flow_may_be_the_topmost_folders(tmp_path):
    for label, kind in itertools.product(("walk", "run"), ("jpegs_256/", "tvl1_flow/u/", "tvl1_flow/v/")):
        images(tmp_path / f"{kind}{label}" / "c1", "frame")
    assert {row[1] for row in rows(tmp_path)} == {"walk", "run"}
    assert over(tmp_path) == {("flow-images", "tvl1_flow"): 12}


def test_what_is_only_called_like_flow_stays_a_clip(tmp_path):
    for label in "uvw":  # an alphabet of signs
        images(tmp_path / "signs" / label / "c1", "")
    images(tmp_path / "rivers" / "flow" / "c1", "flow_")
    images(tmp_path / "rivers" / "ebb" / "c1", "x")
    assert [row[:2] for row in rows(tmp_path / "signs")] == [(f"{label}/c1", label) for label in "uvw"]
    assert [row[:2] for row in rows(tmp_path / "rivers")] == [("ebb/c1", "ebb"), ("flow/c1", "flow")]


def test_flow_without_frames_is_no_clip(tmp_path):
    images(tmp_path / "walk" / "c1", "flow_x_", "flow_y_")
    images(tmp_path / "walk" / "c2" / "u", "")
    images(tmp_path / "walk" / "c2" / "v", "")
    assert rows(tmp_path) == []
    assert sum(over(tmp_path).values()) == 12


def test_two_series_in_one_folder_are_said_to_be(tmp_path):
    images(tmp_path / "walk" / "c1", "a_", "b_")
    images(tmp_path / "walk" / "c2", "a_")
    lay(tmp_path / "walk" / "c2", "b_00003.jpg", "b_00004.jpg")  # goes on where the other ends
    (remark,) = listing(tmp_path).remarks
    assert remark.startswith("1 folders hold several series of images")
    assert "walk/c1 (a, b)" in remark


# --- suffixes ---

HEADS = {
    "avi": b"RIFF\0\0\0\0AVI LIST",
    "mp4": b"\0\0\0\x20ftypisom",
    "mov": b"\0\0\0\x08wide\0\0\0\0mdat",
    "mkv": b"\x1aE\xdf\xa3",
    "wmv": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    "flv": b"FLV\x01\x05",
    "ogv": b"OggS\0\2",
    "mpg": b"\0\0\x01\xba\x44",
    "ts": (b"G\0\0\x10" + bytes(184)) * 3,
    "m2ts": (bytes(4) + b"G\0\0\x10" + bytes(184)) * 3,
    "gif": b"GIF89a",
}
NO_HEADS = {
    "wav": b"RIFF\0\0\0\0WAVEfmt ",
    "webp": b"RIFF\0\0\0\0WEBPVP8 ",
    "heic": b"\0\0\0\x20ftypheic",
    "m4a": b"\0\0\0\x20ftypM4A ",
    "text": b"GGGG" * 200,
    "none": b"",
}


def test_a_file_of_another_suffix_or_of_none_is_a_video_if_it_begins_as_one(tmp_path):
    for kind, head in {**HEADS, **NO_HEADS}.items():
        (tmp_path / f"{kind}-plain").write_bytes(head)
        (tmp_path / f"{kind}.cam01").write_bytes(head)
    (tmp_path / "half.mp4.part").write_bytes(HEADS["mp4"])
    assert sorted(clip.name for clip in listing(tmp_path).clips) == sorted(
        [f"{kind}-plain" for kind in HEADS] + [f"{kind}.cam01" for kind in HEADS]
    )
    assert over(tmp_path)["suffix", ".cam01"] == over(tmp_path)["suffix", "without suffix"] == len(NO_HEADS)
    assert over(tmp_path)["suffix", ".part"] == 1


def test_an_animated_picture_beside_a_video_of_its_name_is_a_preview(tmp_path):
    lay(tmp_path, "walk/a.gif", "walk/a.mp4", "walk/b.GIF")
    assert [row[0] for row in rows(tmp_path)] == ["walk/a", "walk/b"]
    assert over(tmp_path) == {("beside-clips", ".gif"): 1}


def test_a_folder_of_pictures_of_the_videos_beside_it_is_no_clip(tmp_path):
    lay(tmp_path, "walk/a.mp4", "walk/thumbnails/a.jpg", "walk/frames/a/1.png", "run/Posters/1.png")
    assert [row[0] for row in rows(tmp_path)] == ["run/Posters", "walk/a", "walk/frames/a"]
    assert over(tmp_path) == {("beside-clips", ".jpg"): 1}


def test_a_folder_of_nothing_that_is_a_clip_names_what_is_there(tmp_path):
    lay(tmp_path, "walk/a.docx", "walk/b.zip", "walk/c.zip")
    from araflow.build import stages

    with pytest.raises(SourceError, match=r"3 are no clips: 1 \.docx .*; 2 \.zip \(archives"):
        stages.selection(listing(tmp_path), "here")


def test_an_archive_is_read_as_the_folder_that_it_holds(tmp_path):
    lay(tmp_path / "in", "set/train/walk/a.mp4", "set/test/walk/b.mp4", "set/notes.txt", "README.txt")
    lay(tmp_path / "in", "__MACOSX/set/train/walk/._a.mp4", "set/.DS_Store")
    (tmp_path / "in/set/train/walk/camera1").write_bytes(HEADS["mp4"])
    shutil.make_archive(str(tmp_path / "set"), "zip", tmp_path / "in")
    spec = DatasetSpec.model_validate({"name": "folder", "source": str(tmp_path / "set.zip")})
    for _ in range(2):  # unpacked, and there already
        files = folder.dataset.prepare(spec, tmp_path / "work", report=print)
        found = folder.dataset.list_clips(files, None)
        assert {(clip.label, clip.subset, clip.name.rpartition("/")[2]) for clip in found.clips} == {
            ("walk", "train", "a.mp4"),
            ("walk", "train", "camera1"),
            ("walk", "test", "b.mp4"),
        }
        assert [(one.why, one.what, one.count) for one in found.passed_over] == [("suffix", ".txt", 2)]


@pytest.mark.parametrize("kinds", [("img_", "flow_x_", "flow_y_"), ("rgb/", "u/", "v/")])
@pytest.mark.parametrize("top", ["", "set/"])
def test_an_archive_of_frames_keeps_the_only_class(tmp_path, top, kinds):
    images(tmp_path / "in" / f"{top}walk" / "c1", *kinds)
    shutil.make_archive(str(tmp_path / "set"), "tar", tmp_path / "in")
    spec = DatasetSpec.model_validate({"name": "folder", "source": str(tmp_path / "set.tar")})
    (clip,) = listing(folder.dataset.prepare(spec, tmp_path / "work", report=print).videos).clips
    assert (clip.key, clip.label) == ("walk/c1", "walk")
