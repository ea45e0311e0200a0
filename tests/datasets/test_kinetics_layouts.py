"""Kinetics as torrents, clusters and other tools keep it: whatever the folders, suffixes, names and lists."""

from collections import Counter
from pathlib import Path

import pytest
from laid import lay

from araflow.acquire.types import Sources
from araflow.core.errors import SourceError
from araflow.core.listing import Listing, PassedOver
from araflow.datasets import kinetics400, kinetics700_2020

CLIPS = {
    "abcdefghij0": ("air drumming", "train"),
    "-bcdefghij1": ("air drumming", "val"),
    "abcdefghij2": ("abseiling", "val"),
}


def lists(
    folder: Path, train: str = "train.csv", val: str = "val.csv", line: str = "", encoding: str = "utf-8"
) -> Path:
    for subset, file in (("train", train), ("val", val)):
        head = "" if line else "label,youtube_id,time_start,time_end,split\r\n"
        rows = (line or "{label},{id},1,11,{subset}\r\n", [(i, c) for i, (c, s) in CLIPS.items() if s == subset])
        text = head + "".join(
            rows[0].format(label=c, folder=c.replace(" ", "_"), id=i, stem=f"{i}_000001_000011", subset=subset)
            for i, c in rows[1]
        )
        lay(folder, file, data=text.encode(encoding))
    return folder


def listed(source: Path | None, splits: Path | None = None, *, subsets: tuple[str, ...] = ("train", "val")) -> Listing:
    return kinetics400.dataset.list_clips(Sources(source, splits, subsets), None)


LAYOUTS = {
    "the torrent's": "{subset}_256/{label}/{stem}.mkv",
    "webm": "videos_{subset}/{folder}/{stem}.webm",
    "linked": "{subset}_link/{folder}/{stem}.MP4",
    "of a tool's subset": "kinetics400_tiny/tiny_{subset}/{folder}/{stem}.avi",
    "class folders first": "{folder}/{subset}/{stem}.mp4",
    "times without zeros": "{subset}/{label}/{id}_1_11.mp4",
    "times with fewer zeros": "{subset}/{label}/{id}_0001_0011.mkv",
    "folders of frames": "rawframes_{subset}/{folder}/{stem}/img_00001.jpg",
    "folders of frames within": "{subset}/{folder}/{stem}.mp4/frames/0001.png",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_kinetics_is_found_in_every_layout_with_and_without_lists(tmp_path, layout):
    names = [
        LAYOUTS[layout].format(
            id=i, stem=f"{i}_000001_000011", label=label, folder=label.replace(" ", "_"), subset=subset
        )
        for i, (label, subset) in CLIPS.items()
    ]
    source = lay(tmp_path / "mine", *names)
    for splits in (None, lists(tmp_path / "lists")):
        listing = listed(source, splits)
        assert [(clip.key, clip.label, clip.subset, clip.name) for clip in listing.clips] == [
            (
                f"{own.replace(' ', '_')}/{i}_000001_000011",
                own,
                subset,
                f"{own.replace(' ', '_')}/{i}_000001_000011.mp4",
            )
            for i, (own, subset) in sorted(CLIPS.items(), key=lambda item: (item[1][0].replace(" ", "_"), item[0]))
        ]
        frames = "/img_00001.jpg", "/0001.png"
        places = {name.removesuffix(frames[0]).removesuffix(frames[1]) for name in names}
        assert {clip.source for clip in listing.clips} == {source / place for place in places}
        assert (listing.passed_over, listing.remarks) == ((), ())


def test_an_id_alone_is_a_clip_where_nothing_else_can_be_meant(tmp_path):
    source = lay(tmp_path / "mine", "train/air_drumming/abcdefghij0.mp4", "train/other/video_00001.mp4")
    with_lists = listed(source, lists(tmp_path / "lists"))
    found = {clip.key: clip.source for clip in with_lists.clips if clip.source is not None}
    assert found == {"air_drumming/abcdefghij0_000001_000011": source / "train/air_drumming/abcdefghij0.mp4"}
    assert with_lists.passed_over == (PassedOver("no-name", ".mp4", 1, "train/other/video_00001.mp4"),)
    alone = listed(source)
    assert [(clip.key, clip.subset) for clip in alone.clips] == [("air_drumming/abcdefghij0", "train")]
    assert "named by the id of the video alone, such as 'train/air_drumming/abcdefghij0.mp4'" in alone.remarks[0]
    twice = "abseiling/abcdefghij0_000001_000011.mp4 0\nabseiling/abcdefghij0_000021_000031.mp4 0\n"
    two = lay(tmp_path / "two", "train.txt", data=twice.encode())
    assert {clip.source for clip in listed(source, two, subsets=("train",)).clips} == {None}, "two clips of one video"


def test_a_clip_in_two_classes_or_subsets_is_told_with_both_and_with_the_one_that_was_taken(tmp_path):
    stem = "abcdefghij0_000001_000011"
    source = lay(tmp_path / "mine", f"train/abseiling/{stem}.mp4", f"train/air drumming/{stem}.mp4")
    lay(source, "train/abseiling/abcdefghij2_000001_000011.mp4", "val/abseiling/abcdefghij2_000001_000011.mp4")
    listing = listed(source)
    assert {clip.key: (clip.label, clip.subset) for clip in listing.clips} == {
        f"abseiling/{stem}": ("abseiling", "train"),
        "abseiling/abcdefghij2_000001_000011": ("abseiling", "train"),
    }
    assert listing.remarks == (
        f"1 clip lies in two classes, such as {stem!r} in 'abseiling' and 'air drumming'; 'abseiling' was taken",
        "1 clip lies in two subsets, such as 'abcdefghij2_000001_000011' in 'train' and 'val'; 'train' was taken",
    )
    assert listing.passed_over == (PassedOver("twice", ".mp4", 2, f"train/air drumming/{stem}.mp4"),)


def test_a_class_that_is_called_as_a_subset_is_a_class(tmp_path):
    source = lay(tmp_path / "mine", "val_256/training dog/abcdefghij0_000001_000011.mp4")
    (clip,) = kinetics700_2020.dataset.list_clips(Sources(source, None, ("train", "val")), None).clips
    assert (clip.label, clip.subset) == ("training dog", "val")


@pytest.mark.parametrize(
    ("train", "val", "line", "encoding"),
    [
        ("kinetics_400_train.csv", "kinetics_400_val.csv", "", "utf-8-sig"),
        ("k400_train.csv", "k400_val.csv", "", "utf-16"),
        ("annotations/train.csv", "annotations/validate.csv", "", "utf-8"),
        ("kinetics400_train_list_videos.txt", "kinetics400_val_list_videos.txt", "{folder}/{stem}.mp4 7\n", "utf-8"),
        (
            "kinetics400_train_list_rawframes.txt",
            "kinetics400_val_list_rawframes.txt",
            "{folder}/{stem} 250 7\n",
            "ascii",
        ),
        ("trainlist.txt", "vallist.txt", "videos_{subset}/{label}/{stem}.mkv 7\n", "utf-8"),
    ],
)
def test_lists_are_found_and_read_whatever_they_are_called_and_however_they_were_saved(
    tmp_path, train, val, line, encoding
):
    expected = listed(None, lists(tmp_path / "plain"))
    assert len(expected.clips) == 3
    assert listed(None, lists(tmp_path / "lists", train, val, line, encoding)) == expected


def test_what_is_no_clip_is_counted_by_what_it_is(tmp_path):
    source = lay(tmp_path / "mine", "train/abseiling/abcdefghij0_000001_000011.mp4", "train/abseiling/my climb.mp4")
    lay(source, "test/abseiling/abcdefghij5_000001_000011.mp4", "train/abseiling/abcdefghij9_000001_000011.mkv", "a.md")
    with_lists = listed(source, lists(tmp_path / "lists"))
    assert {(one.why, one.what): one.count for one in with_lists.passed_over} == {
        ("suffix", ".md"): 1,
        ("no-name", ".mp4"): 1,
        ("not-listed", ".mkv"): 1,
        ("unwanted-subset", ".mp4"): 1,
    }
    alone = listed(source)
    assert Counter(clip.subset for clip in alone.clips) == {"train": 2}
    assert {one.why for one in alone.passed_over} == {"suffix", "no-name", "unwanted-subset"}


def test_a_source_without_clips_says_what_lies_there_and_what_is_wanted(tmp_path):
    source = lay(tmp_path / "mine", "abseiling/climb 1.mp4", "abseiling/climb 2.mp4")
    with pytest.raises(SourceError) as caught:
        listed(source)
    assert "holds no kinetics400 clips that are wanted" in str(caught.value)
    assert "2 .mp4 (not named as the dataset names its clips, such as abseiling/climb 1.mp4)" in str(caught.value)
    lay(source, "val/abseiling/abcdefghij0_000001_000011.mp4")
    with pytest.raises(SourceError, match=r"2 are no clips: 2 \.mp4"):
        listed(source, subsets=("train",))
