"""HMDB51 and UCF101 as mirrors, notebooks and other tools keep them: whatever the folders, suffixes and lists."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from laid import lay

from araflow.acquire.types import Sources
from araflow.build import stages
from araflow.build.resolved import resolve
from araflow.core.errors import SourceError, SpecError
from araflow.core.listing import PassedOver
from araflow.core.spec import DatasetSpec
from araflow.core.spec_file import parse
from araflow.datasets import _shelves, hmdb51, ucf101

CLASSES = ("push", "run", "walk")
STEMS = {label: [f"Film{n}_{label}_f_cm_np1_ri_med_{n}" for n in range(4)] for label in CLASSES}
UCF = ("Archery", "HandstandPushups")
UCF_STEMS = {label: [f"v_{label}_g{group:02d}_c01" for group in (1, 2, 8)] for label in UCF}


def splits(folder: Path, line: str = "{stem}.avi {tag} \n", encoding: str = "ascii", below: str = "") -> Path:
    for label, stems in STEMS.items():
        for fold in (1, 2, 3):
            lines = (line.format(stem=s, tag=1 if (n + fold) % 4 else 2) for n, s in enumerate(stems))
            lay(folder, f"{below}{label}_test_split{fold}.txt", data="".join(lines).encode(encoding))
    return folder


HMDB_LAYOUTS = {
    "class folders": "{label}/{stem}.avi",
    "train and test": "{side}/{label}/{stem}.avi",
    "train and test below classes": "{label}/{side}/{stem}.avi",
    "a class folder twice": "{label}/{label}/{stem}.avi",
    "numbered folders": "{label}/{n}/{stem}.avi",
    "the archive's folder": "hmdb51_org/{label}/{stem}.avi",
    "deep": "data/HMDB51/videos/{side}_256/{label}/{stem}.avi",
    "flat": "{stem}.avi",
    "mp4": "{label}/{stem}.mp4",
    "upper case": "{label}/{stem}.AVI",
    "a second suffix": "{side}/{label}/{stem}.avi.webm",
    "folders of frames": "rawframes/{label}/{stem}/img_00001.jpg",
    "folders of frames within": "{side}/{label}/{stem}.avi/rgb/000001.png",
}


@pytest.mark.parametrize("layout", HMDB_LAYOUTS)
def test_hmdb51_is_found_in_every_layout(tmp_path, layout):
    names = {
        HMDB_LAYOUTS[layout].format(label=label, stem=stem, n=n, side="test" if n % 2 else "train")
        for label, stems in STEMS.items()
        for n, stem in enumerate(stems)
    }
    source = lay(tmp_path / "mine", *names, ".DS_Store")
    with_lists = hmdb51.list_clips(Sources(source, splits(tmp_path / "splits", below="inner/")), CLASSES)
    assert [clip.key for clip in with_lists.clips] == sorted(f"{c}/{s}" for c, own in STEMS.items() for s in own)
    places = {name.rpartition("/")[0] if name.endswith(("jpg", "png")) else name for name in names}
    assert {clip.source for clip in with_lists.clips} == {source / place for place in places}
    assert Counter(clip.folds[0] for clip in with_lists.clips) == {1: 9, 2: 3}
    assert {clip.subset for clip in with_lists.clips} == {None}, "split files say more than folders"
    assert with_lists.passed_over == (PassedOver("hidden", "", 1, ".DS_Store"),)
    assert with_lists.remarks == ()
    alone = hmdb51.list_clips(Sources(source, None), CLASSES)
    assert [(c.key, c.source, c.name) for c in alone.clips] == [(c.key, c.source, c.name) for c in with_lists.clips]
    sides = {"train": 6, "test": 6} if "{side}" in HMDB_LAYOUTS[layout] else {None: 12}
    assert Counter(clip.subset for clip in alone.clips) == sides
    assert any("folders that are named test, train" in remark for remark in alone.remarks) == ("train" in sides)


@pytest.mark.parametrize(
    ("line", "encoding"),
    [
        ("{stem}.avi {tag} \n", "utf-8-sig"),
        ("{stem}.avi\t{tag}\r\n\r\n", "utf-8-sig"),
        ("{stem}.avi {tag}\r\n", "utf-16"),
        ("{stem} {tag}\n", "ascii"),
        ("{stem}.mp4 {tag}\n", "ascii"),
    ],
)
def test_split_files_are_read_however_they_were_saved(tmp_path, line, encoding):
    plain = hmdb51.list_clips(Sources(None, splits(tmp_path / "plain")), CLASSES)
    assert len(plain.clips) == 12
    assert hmdb51.list_clips(Sources(None, splits(tmp_path / "other", line, encoding)), CLASSES) == plain


@pytest.mark.parametrize(("kind", "line"), [("videos", "{0}/{1}.avi {2}\n"), ("rawframes", "{0}/{1} 90 {2}\n")])
def test_the_lists_of_mmaction2_are_official_folds(tmp_path, kind, line):
    for fold in (1, 2):
        for side, of_test in (("train", False), ("val", True)):
            lines = (
                line.format(label, stem, number)
                for number, (label, stems) in enumerate(STEMS.items())
                for n, stem in enumerate(stems)
                if ((n + fold) % 4 == 0) == of_test and n < 3
            )
            lay(tmp_path / "lists", f"hmdb51_{side}_split_{fold}_{kind}.txt", data="".join(lines).encode())
    clips = hmdb51.list_clips(Sources(None, tmp_path / "lists"), ["walk", "run"]).clips
    assert Counter(clip.folds for clip in clips) == {(1, 1, None): 4, (1, 2, None): 2}
    one = tmp_path / "lists" / f"hmdb51_val_split_2_{kind}.txt"
    for wrong, message in [
        ("walk/clip.avi 0\n", "expected '<class>/<clip> <number>'"),
        (line.format("walk", STEMS["walk"][3], 1), "1 is the number of 'run', too"),
        (line.format("walk", STEMS["walk"][2], 2) * 2, "is listed a second time in fold 2"),
    ]:
        one.write_text(wrong)
        with pytest.raises(SourceError, match=message):
            hmdb51.list_clips(Sources(None, tmp_path / "lists"), CLASSES)


def test_lists_of_another_kind_are_refused_with_what_was_seen_and_what_is_wanted(tmp_path):
    lay(tmp_path / "mine", "train.txt", "notes/classes.txt")
    for dataset, wanted in ((hmdb51, "_test_split<1|2|3>.txt"), (ucf101, "trainlist01.txt")):
        with pytest.raises(SourceError) as caught:
            dataset.list_clips(Sources(None, tmp_path / "mine"), None)
        assert wanted in str(caught.value)
        assert "it holds 2 other" in str(caught.value)


def test_names_whose_special_characters_were_changed_are_found_where_only_one_fits(tmp_path):
    listed = [
        "A&B!(1);_x_push_f_cm_np1_ri_med_0",
        "#1_[x_push_f_cm_np1_ri_med_1",
        "Smile!_push_f_cm_np1_ri_med_2",
        "Smile_push_f_cm_np1_ri_med_2",
        "Plain_push_f_cm_np1_ri_med_12",
    ]
    for fold in (1, 2, 3):
        text = "".join(f"{stem}.avi 1 \n" for stem in listed)
        lay(tmp_path / "splits", f"push_test_split{fold}.txt", data=text.encode())
    source = lay(
        tmp_path / "mine",
        "push/A_B__1___x_push_f_cm_np1_ri_med_0.mp4",
        "push/%231_%5Bx_push_f_cm_np1_ri_med_1.avi",
        "push/Smile_push_f_cm_np1_ri_med_2.avi",
        "push/Plain_push_f_cm_np1_ri_med_1 (2).avi",  # a copy of another clip, not the twelfth
    )
    listing = hmdb51.list_clips(Sources(source, tmp_path / "splits"), ["push"])
    found = {clip.key.partition("/")[2]: clip.source.name for clip in listing.clips if clip.source is not None}
    assert found == {
        listed[0]: "A_B__1___x_push_f_cm_np1_ri_med_0.mp4",
        listed[1]: "%231_%5Bx_push_f_cm_np1_ri_med_1.avi",
        listed[3]: "Smile_push_f_cm_np1_ri_med_2.avi",
    }
    (remark,) = listing.remarks
    assert remark.startswith("2 clips were found by names that differ from the lists' in case or special characters")
    assert [one.why for one in listing.passed_over] == ["no-name"]


def test_of_a_clip_that_is_there_more_than_once_the_original_is_taken(tmp_path):
    stem = STEMS["walk"][0]
    source = lay(tmp_path / "mine", f"frames/walk/{stem}/img_00001.jpg", f"frames/walk/{stem}/img_00002.jpg")
    lay(source, f"mp4/walk/{stem}.mp4", f"test/walk/{stem}.avi", f"train/walk/{stem}.avi")
    listing = hmdb51.list_clips(Sources(source, None), ["walk"])
    assert [clip.source for clip in listing.clips] == [source / "test" / "walk" / f"{stem}.avi"]
    assert listing.passed_over == (
        PassedOver("twice", ".avi", 1, f"train/walk/{stem}.avi"),
        PassedOver("twice", ".mp4", 1, f"mp4/walk/{stem}.mp4"),
        PassedOver("twice", "folders of frames", 1, f"frames/walk/{stem}"),
    )
    assert any("lie in two of these folders" in remark for remark in listing.remarks)


def test_what_is_no_clip_is_counted_by_what_it_is(tmp_path):
    stem = STEMS["walk"][0]
    source = lay(tmp_path / "mine", f"walk/{stem}.avi", "walk/my_walk.mp4", "walk/cover.jpg", "readme.md", "old.zip")
    lay(source, f"run/{STEMS['run'][0]}.avi", f"walk/{stem}/u/000001.jpg", "walk/._x.avi")
    listing = hmdb51.list_clips(Sources(source, None), ["walk"])
    assert {(one.why, one.what): one.count for one in listing.passed_over} == {
        ("suffix", ".md"): 1,
        ("no-name", ".mp4"): 1,
        ("unwanted-class", ".avi"): 1,
        ("beside-clips", ".jpg"): 1,
        ("flow-images", ".jpg"): 1,
        ("archive", ".zip"): 1,
        ("hidden", ""): 1,
    }


def test_optical_flow_beside_frames_is_counted_and_no_clip(tmp_path):
    one, two, three, four = STEMS["walk"]
    both = [f"walk/{one}/{kind}_{n:05d}.jpg" for kind in ("img", "flow_x", "flow_y") for n in (1, 2)]
    beside = [f"walk/{two}/{folder}/00001.jpg" for folder in ("rgb", "flow_x", "flow_y")]
    alone = [f"walk/{three}/{kind}_00001.jpg" for kind in ("flow_x", "flow_y")]
    source = lay(tmp_path / "mine", *both, *beside, *alone, f"walk/{four}/old_picture.jpg", f"walk/{four}/2.jpg")
    listing = hmdb51.list_clips(Sources(source, None), ["walk"])
    assert [clip.source for clip in listing.clips] == [
        source / "walk" / one,
        source / "walk" / two / "rgb",
        source / "walk" / four,
    ]
    assert listing.passed_over == (PassedOver("flow-images", ".jpg", 8, both[2]),)


def test_a_source_without_clips_says_what_lies_there(tmp_path):
    source = lay(tmp_path / "mine", "a/walking 1.mp4", "a/walking 2.mp4", "notes.md")
    for dataset in (hmdb51, ucf101):
        with pytest.raises(SourceError) as caught:
            dataset.list_clips(Sources(source, None), None)
        for part in (
            "holds no",
            "3 are no clips",
            "2 .mp4 (not named as the dataset names its clips, such as a/walking",
        ):
            assert part in str(caught.value)


UCF_LAYOUTS = {
    "mp4": "UCF-101/{label}/{stem}.mp4",
    "three sides": "{side}/{label}/{stem}.avi",
    "folders of frames": "rawframes/{label}/{stem}/img_00001.jpg",
    "folders of frames and flow": "{label}/{stem}/rgb/1.png",
    "flat": "{stem}.mkv",
}


@pytest.mark.parametrize("layout", UCF_LAYOUTS)
@pytest.mark.parametrize("lists", ["official", "mmaction2", "kaggle", None])
def test_ucf101_is_found_in_every_layout_with_every_kind_of_list(tmp_path, layout, lists):
    sides = dict(zip((1, 2, 8), ("train", "val", "test"), strict=True))
    names = {
        UCF_LAYOUTS[layout].format(label=label, stem=stem.replace("stand", "Stand"), side=sides[int(stem[-6:-4])])
        for label, stems in UCF_STEMS.items()
        for stem in stems
    }
    source, folder = lay(tmp_path / "mine", *names), tmp_path / "lists"
    rows = [(label, stem, int(stem[-6:-4])) for label, stems in UCF_STEMS.items() for stem in stems]
    texts: dict[str, str] = {}
    if lists == "official":
        texts["classInd.txt"] = "1 Archery\r\n2 HandstandPushups\r\n"
        for fold in (1, 2, 3):
            texts[f"trainlist0{fold}.txt"] = "".join(f"{c}/{s}.avi\r\n" for c, s, n in rows if n != 8)
            texts[f"testlist0{fold}.txt"] = "".join(f"{c}/{s}.avi\r\n" for c, s, n in rows if n == 8)
    elif lists == "mmaction2":
        texts["ucf101_train_split_1_videos.txt"] = "".join(
            f"{c}/{s}.avi {UCF.index(c)}\n" for c, s, n in rows if n != 8
        )
        texts["ucf101_val_split_1_videos.txt"] = "".join(f"{c}/{s}.avi {UCF.index(c)}\n" for c, s, n in rows if n == 8)
    elif lists == "kaggle":
        for number, side in sides.items():
            own = "".join(f"{s},/{side}/{c}/{s}.avi,{c}\r\n" for c, s, n in rows if n == number)
            texts[f"{side}.csv"] = f"clip_name,clip_path,label\r\n{own}"
    for name, text in texts.items():
        lay(folder, name, data=text.encode("utf-8-sig"))
    clips = ucf101.list_clips(Sources(source, folder if lists else None), UCF).clips
    assert len(clips) == 6
    assert None not in {clip.source for clip in clips}
    folds = {"official": {(1, 1, 1): 4, (2, 2, 2): 2}, "mmaction2": {(1, None, None): 4, (2, None, None): 2}}
    assert Counter(clip.folds for clip in clips) == folds.get(lists, {(None, None, None): 6})
    by_side = lists == "kaggle" or (lists is None and "{side}" in UCF_LAYOUTS[layout])
    assert Counter(clip.subset for clip in clips) == (dict.fromkeys(sides.values(), 2) if by_side else {None: 6})


@pytest.mark.parametrize(
    ("folder", "subset"),
    [
        *[
            (name, "train")
            for name in (
                "train",
                "Train",
                "train_256",
                "videos_train",
                "tiny_train",
                "k400-train",
                "TRAINING",
                "trainset",
            )
        ],
        *[(name, "val") for name in ("val", "valid", "validation", "val_link", "validate")],
        *[(name, "test") for name in ("test", "testing", "test2017")],
        *[
            (name, None)
            for name in ("", "training wheels_test", "train_val", "trainer", "evaluation", "contest", "strain")
        ],
    ],
)
def test_a_subset_is_read_from_a_folder_by_whole_words(folder, subset):
    assert _shelves.subset_of(folder) == subset


@pytest.mark.parametrize("layout", ["{side}/{label}/", "videos/{side}/{label}/", "{label}/{side}/"])
def test_folders_of_train_and_test_are_a_split_that_the_official_protocol_goes_by(tmp_path, layout):
    places = [layout.format(side=side, label="walk") for side in ("train", "test")]
    source = lay(tmp_path / "mine", *[f"{place}{STEMS['walk'][n]}.avi" for n, place in enumerate(places)])
    spec = {
        "name": "x",
        "dataset": {"name": "hmdb51", "classes": ["walk"], "source": str(source)},
        "out": str(tmp_path),
    }
    build = resolve(parse(spec | {"split": {"protocol": "official"}}))
    selection = stages.select(build, Sources(source, None))
    assert sorted(selection.split_of.values()) == ["test", "train"]
    (source / places[0] / f"{STEMS['walk'][0]}.avi").rename(source / f"{STEMS['walk'][0]}.avi")
    with pytest.raises(SpecError, match="official needs"):
        stages.select(build, Sources(source, None))


def test_kinetics_without_lists_and_subsets_says_that_nothing_tells_them(tmp_path):
    source = lay(tmp_path / "mine", "abseiling/abcdefghij0_000001_000011.mp4")
    spec = {"name": "x", "dataset": {"name": "kinetics400", "source": str(source)}, "out": str(tmp_path)}
    build = resolve(parse(spec | {"split": {"protocol": "official"}}))
    with pytest.raises(SpecError, match=r"folders named train, val and test, .*; 'abseiling/ab.*' has no split:"):
        stages.select(build, Sources(source, None, ("train", "val")))


def test_folders_of_train_and_test_in_an_archive_are_subsets_too(tmp_path):
    names = [f"{side}/walk/{STEMS['walk'][n]}.avi" for n, side in enumerate(("train", "test"))]
    shutil.make_archive(str(tmp_path / "mine"), "zip", lay(tmp_path / "mine", *names))
    spec = DatasetSpec.model_validate({"name": "hmdb51", "source": str(tmp_path / "mine.zip"), "classes": ["walk"]})
    files = hmdb51.dataset.prepare(spec, tmp_path / "work", report=print)
    clips = hmdb51.list_clips(files, ["walk"]).clips
    assert [(clip.key, clip.subset) for clip in clips] == [
        (f"walk/{STEMS['walk'][0]}", "train"),
        (f"walk/{STEMS['walk'][1]}", "test"),
    ]
