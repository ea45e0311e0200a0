"""Kinetics as a dataset: what is listed, from what a user has in every layout, and samples of a few clips per class."""

import re
import shutil
from collections import Counter
from pathlib import Path

import kinetics_world as worlds
import mirrors
import pytest
from kinetics_world import LABELS, SLUGS, World, name, rows, statuses, tree, video

from araflow.acquire.types import Sources
from araflow.build import stages
from araflow.build.resolved import resolve
from araflow.core.errors import SourceError, SpecError
from araflow.datasets import kinetics400

ABSEILING, DRUMMING, MASSAGING = LABELS
CLIPS = mirrors.kinetics_clips(worlds.drawn())
TRAIN = {label: dict(sorted(own.items())[:-1]) for label, own in CLIPS.items()}
VAL = {label: dict(sorted(own.items())[-1:]) for label, own in CLIPS.items()}
FLAT = {subset: {n: d for own in of.values() for n, d in own.items()} for subset, of in (("t", TRAIN), ("v", VAL))}


@pytest.fixture
def world(web, tmp_path, monkeypatch) -> World:
    made = World(web, tmp_path, monkeypatch)
    made.serve_true()
    return made


def lay(folder: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder


def folders(subset: str, of: dict[str, dict[str, bytes]], slugs: bool = False) -> dict[str, bytes]:
    return {f"{subset}/{SLUGS[label] if slugs else label}/{n}": d for label, own in of.items() for n, d in own.items()}


def tars(subset: str, of: dict[str, dict[str, bytes]], within: str) -> dict[str, bytes]:
    return {
        f"{subset}/{label}.tar.gz": mirrors.tarred({within.format(label) + n: d for n, d in own.items()})
        for label, own in of.items()
    }


LISTS = {
    f"{subset}.csv": worlds.annotations([(label, n) for label, own in of.items() for n in own], subset)
    for subset, of in (("train", TRAIN), ("val", VAL))
}
LAYOUTS = {
    "flat tars": {"train/part_0.tar.gz": mirrors.tarred(FLAT["t"]), "val/part_0.tar.gz": mirrors.tarred(FLAT["v"])},
    "a tar per class": tars("train", TRAIN, "./") | tars("val", VAL, "./"),
    "a tar per class with a class folder": tars("train", TRAIN, "{}/") | tars("val", VAL, "{}/"),
    "class folders": folders("train", TRAIN) | folders("val", VAL),
    "slug folders": folders("train", TRAIN, True) | folders("validate", VAL, True),
    "one folder": FLAT["t"] | FLAT["v"],
}


# --- what a user has ---


@pytest.mark.parametrize("layout", LAYOUTS)
def test_with_lists_every_layout_gives_the_same_clips(world, tmp_path, layout):
    source = lay(tmp_path / "mine", LAYOUTS[layout])
    lists = lay(tmp_path / "lists", LISTS)
    manifest = world.build(source=str(source), splits=str(lists))
    assert manifest.outcomes() == {"done": 9}
    for file, row in rows(manifest).items():
        label = {"-": ABSEILING, "9": DRUMMING, "a": MASSAGING}[file[0]]
        subset = "val" if "2_X" in file else "train"
        assert (row["label"], row["subset"], row["split"], row["status"]) == (label, subset, subset, "ok")
        assert (row["key"], row["group"]) == (f"{SLUGS[label]}/{file[:-4]}", file[:11])
    assert world.requests() == []


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout not in ("flat tars", "one folder")])
def test_without_lists_label_and_subset_are_those_of_the_folders(world, tmp_path, layout):
    with_lists = world.build(
        tmp_path / "a",
        source=str(lay(tmp_path / "mine", LAYOUTS[layout])),
        splits=str(lay(tmp_path / "lists", LISTS)),
    )
    without = world.build(tmp_path / "b", source=str(tmp_path / "mine"))
    assert [row["key"] for row in without.table.to_pylist()] == [row["key"] for row in with_lists.table.to_pylist()]
    assert without.table.to_pylist() == with_lists.table.to_pylist()
    only = world.build(tmp_path / "c", source=str(tmp_path / "mine"), subsets=["val"])
    assert [row["subset"] for row in only.table.to_pylist()] == ["val"] * 3


def test_folders_above_the_source_name_neither_class_nor_subset(world, tmp_path):
    source = lay(tmp_path / "abseiling" / "train" / "mine", {f"air drumming/{name(0)}": video(0), name(1): video(1)})
    clips = kinetics400.dataset.list_clips(Sources(source, None, ("train", "val")), None).clips
    assert [(clip.key, clip.label, clip.subset) for clip in clips] == [
        (f"air_drumming/{name(0)[:-4]}", DRUMMING, None),
        (f"unlabelled/{name(1)[:-4]}", None, None),
    ]


@pytest.mark.parametrize("layout", ["beside the parts", "in its own folder", "by folder, unpacked"])
def test_a_replacement_that_the_user_has_counts(world, tmp_path, layout):
    broken = sorted(FLAT["t"])[-1]
    part = mirrors.tarred(FLAT["t"] | {broken: FLAT["t"][broken][:500]})
    files = {"train/part_0.tar.gz": part}
    replacement = {f"replacement_for_corrupted_k400/{broken}": FLAT["t"][broken]}
    if layout == "beside the parts":
        files["train/replacement_for_corrupted_k400.tgz"] = mirrors.tarred(replacement)
    elif layout == "in its own folder":
        files["replacement/replacement_for_corrupted_k400.tgz"] = mirrors.tarred(replacement)
    else:
        files = {f"train/{n}": d for n, d in FLAT["t"].items()} | {f"train/{broken}": FLAT["t"][broken][:500]}
        files |= {f"replacement/{n}": d for n, d in replacement.items()}
    lists = lay(tmp_path / "lists", LISTS)
    manifest = world.build(source=str(lay(tmp_path / "mine", files)), splits=str(lists), subsets=["train"])
    assert manifest.outcomes() == {"done": 6}
    assert statuses(manifest)[broken] == "replaced"


def test_a_listed_clip_that_the_user_lacks_is_missing_and_an_unlisted_one_is_no_clip(world, tmp_path):
    gone = min(FLAT["t"])
    files = {n: d for n, d in FLAT["t"].items() if n != gone} | {"unlisted_id_000001_000002.mp4": video(1)}
    source, lists = lay(tmp_path / "mine", files), lay(tmp_path / "lists", LISTS)
    manifest = world.build(source=str(source), splits=str(lists), subsets=["train"])
    assert statuses(manifest) == {n: "missing" if n == gone else "ok" for n in FLAT["t"]}


def test_lists_of_other_names_are_found_and_the_mirrors_path_lists_beside_them_are_not_taken_for_them(world, tmp_path):
    lists = {f"kinetics-400_{path}": data for path, data in LISTS.items()}
    lists |= {f"k400_{subset}_path.txt": b"https://example.org/part_0.tar.gz\n" for subset in ("train", "val")}
    source = lay(tmp_path / "mine", LAYOUTS["one folder"])
    manifest = world.build(source=str(source), splits=str(lay(tmp_path / "lists", lists)))
    assert Counter(row["subset"] for row in manifest.table.to_pylist()) == {"train": 6, "val": 3}


def test_lists_in_an_archive_and_an_archive_at_an_address(world, tmp_path):
    world.web.files["/mine/annotations.tar.gz"] = mirrors.tarred({f"k400/{n}": d for n, d in LISTS.items()})
    source = lay(tmp_path / "mine", LAYOUTS["a tar per class"])
    manifest = world.build(source=str(source), splits=world.web.url("/mine/annotations.tar.gz"))
    assert manifest.outcomes() == {"done": 9}


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"splits": "."}, SpecError, "dataset.splits: the lists are downloaded with the parts"),
        ({"subsets": ["test"]}, SpecError, "dataset.subsets: kinetics400 has no test"),
        ({"classes": ["abseilin"]}, SpecError, "did you mean abseiling"),
        ({"source": "nowhere"}, SourceError, "nowhere: no such folder or archive"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_asked_for(world, settings, error, message):
    with pytest.raises(error, match=re.escape(message)):
        world.build(**settings)
    assert world.requests() == []


def test_a_licence_that_is_not_accepted_is_shown_and_nothing_is_asked_for(world):
    with pytest.raises(SpecError, match="CC0 of the drawn"):
        worlds.build.build(world.spec())
    assert world.requests() == []


@pytest.mark.parametrize("listed", ["train.csv", "val.csv"])
def test_a_subset_without_list_is_an_error_that_names_the_folder(world, tmp_path, listed):
    lists = lay(tmp_path / "lists", {listed: LISTS[listed]})
    absent = "val" if listed == "train.csv" else "train"
    with pytest.raises(SourceError, match=rf"lists: holds no list of the {absent} clips \({absent}\.csv or"):
        world.build(source=str(lay(tmp_path / "mine", LAYOUTS["one folder"])), splits=str(lists))


# --- lists ---


def test_a_clip_that_two_subsets_list_belongs_to_the_first_and_that_is_said(world, tmp_path, caplog):
    twice = worlds.annotations([(DRUMMING, name(0)), (DRUMMING, name(1))], "val")
    lists = lay(tmp_path / "lists", {"train.csv": worlds.annotations([(DRUMMING, name(0))], "train"), "val.csv": twice})
    for subsets in (("train", "val"), ("val", "train")):
        clips = kinetics400.dataset.list_clips(Sources(None, lists, subsets), None).clips
        assert {clip.name.rpartition("/")[2]: clip.subset for clip in clips} == {name(0): subsets[0], name(1): "val"}
        assert f"1 clips are listed in more than one subset; the first of {', '.join(subsets)} counts" in caplog.text


def test_raw_labels_are_kept_and_folders_are_named_by_slugs(world, tmp_path):
    label = "mountain climber (exercise)"
    lists = lay(
        tmp_path / "lists", {"train.csv": worlds.annotations([(label, name(0)), (MASSAGING, name(1))], "train")}
    )
    world.serve({}, "kinetics400", labels=[label, MASSAGING]) if False else None
    world.edit_registry(lambda known: known.update(classes={label: None, MASSAGING: None}))
    clips = kinetics400.dataset.list_clips(Sources(None, lists, ("train",)), None).clips
    assert [(clip.key, clip.label, clip.name) for clip in clips] == [
        (f"massaging_persons_head/{name(1)[:-4]}", MASSAGING, f"massaging_persons_head/{name(1)}"),
        (f"mountain_climber_exercise/{name(0)[:-4]}", label, f"mountain_climber_exercise/{name(0)}"),
    ]


def test_a_label_that_the_dataset_does_not_have_is_an_error(world, tmp_path):
    lists = lay(tmp_path / "lists", {"train.csv": worlds.annotations([("juggling", name(0))], "train")})
    with pytest.raises(SourceError, match="'juggling' is not a label of kinetics400"):
        kinetics400.dataset.list_clips(Sources(None, lists, ("train",)), None)


# --- a sample ---


@pytest.fixture
def many(web, tmp_path, monkeypatch) -> World:
    """Three train parts and two of val, whose clips are all of the first class.

    Of the first class there are four clips in train, one of them in no part; of the second three, of the third one.
    """
    made = World(web, tmp_path, monkeypatch)
    a, b = [name(n) for n in range(4)], [name(n, "b_") for n in range(3)]
    c = [name(0, "c_")]
    held = [[a[2], b[1], a[0]], [c[0], a[1], b[0]], [b[2]]]
    val = [[name(8)], [name(9)]]
    made.serve_parts(
        {s: [{n: video(len(n)) for n in of} for of in parts] for s, parts in (("train", held), ("val", val))},
        {
            "train": [(label, n) for label, own in zip(LABELS, (a, b, c), strict=True) for n in own],
            "val": [(ABSEILING, name(8)), (ABSEILING, name(9))],
        },
    )
    return made


def test_a_sample_has_as_many_clips_of_each_class_and_subset_as_asked_for_or_as_there_are(many):
    for most, expected, parts in (
        (1, [1, 1, 1, 1], ["train/part_0", "train/part_1", "val/part_0"]),
        (2, [2, 2, 1, 2], ["train/part_0", "train/part_1", "val/part_0", "val/part_1"]),
        (9, [3, 3, 1, 2], ["train/part_0", "train/part_1", "train/part_2", "val/part_0", "val/part_1"]),
    ):
        shutil.rmtree(many.data, ignore_errors=True)
        many.requests()
        manifest = many.build(many.folder / f"out{most}", clips_per_class=most)
        counts = Counter((row["label"], row["subset"]) for row in manifest.table.to_pylist())
        groups = [(ABSEILING, "train"), (DRUMMING, "train"), (MASSAGING, "train"), (ABSEILING, "val")]
        assert [counts[group] for group in groups] == expected
        assert manifest.outcomes() == {"done": sum(expected)}
        assert many.parts_asked() == parts
        assert many.archives() == []


def test_a_sample_of_some_classes_fetches_no_part_for_the_others(many):
    manifest = many.build(clips_per_class=1, classes=[ABSEILING, DRUMMING], subsets=["train"])
    assert [row["label"] for row in manifest.table.to_pylist()] == [ABSEILING, DRUMMING]
    assert many.parts_asked() == ["train/part_0"]
    assert many.build(clips_per_class=1, subsets=["train"]).outcomes() == {"done": 3}


def test_a_sample_is_the_same_on_a_rerun_and_after_everything_was_deleted(many):
    first = many.build(clips_per_class=2)
    before = tree(many.out)
    many.requests()
    many.build(clips_per_class=2)
    assert many.requests() == []
    assert tree(many.out) == before
    shutil.rmtree(many.out)
    again = many.build(clips_per_class=2)
    assert many.requests() == []
    shutil.rmtree(many.data)
    shutil.rmtree(many.out)
    assert many.build(clips_per_class=2).table.to_pylist() == again.table.to_pylist() == first.table.to_pylist()
    assert tree(many.out) == before


def test_a_larger_sample_holds_the_smaller_one_and_makes_only_the_rest(many):
    small = set(rows(many.build(clips_per_class=1)))
    large = many.build(clips_per_class=2)
    assert small < set(rows(large))
    assert large.outcomes() == {"done": 7}
    assert set(many.videos()) == set(rows(large))


def test_a_whole_build_after_a_sample_makes_every_clip_and_leaves_no_more_videos_than_the_sample_had(many):
    many.build(clips_per_class=1)
    kept = many.videos()
    manifest = many.build()
    assert manifest.outcomes() == {"done": 9, "quarantined": 1}
    assert many.videos() == kept


def test_a_sample_with_a_part_that_cannot_be_had_says_so_and_a_rerun_completes(many, caplog):
    good = many.web.files.pop("/400/train/part_1.tar.gz")
    with caplog.at_level("INFO", "araflow"):
        manifest = many.build(clips_per_class=1)
    assert len(manifest) < 4, "other parts serve as far as they can"
    lines = [record.getMessage() for record in caplog.records]
    assert any("part_1.tar.gz: download failed" in line for line in lines)
    assert any("hold fewer clips of" in line for line in lines)
    many.web.files["/400/train/part_1.tar.gz"] = good
    assert many.build(clips_per_class=1).outcomes() == {"done": 4}


def test_a_sample_of_kinetics_600_of_one_class_fetches_one_tar_per_subset(world):
    world.serve(mirrors.by_class(worlds.drawn(), world.web.url, "600"), "kinetics600")
    manifest = world.build(clips_per_class=1, classes=[DRUMMING])
    assert Counter(row["subset"] for row in manifest.table.to_pylist()) == {"train": 1, "val": 1}
    assert world.parts_asked() == ["/600/train/air%20drumming", "/600/val/air%20drumming"]


def test_a_sample_of_what_a_user_has_is_thinned_out_evenly(world, tmp_path):
    files = {f"train/air drumming/{name(n)}": video(n) for n in range(6)}
    manifest = world.build(source=str(lay(tmp_path / "mine", files)), clips_per_class=2)
    assert sorted(rows(manifest)) == [name(0), name(3)]


def test_a_sample_of_what_a_user_has_takes_clips_that_are_there(world, tmp_path):
    source = lay(tmp_path / "mine", {n: d for n, d in FLAT["t"].items() if "1_X" in n})
    lists = lay(tmp_path / "lists", LISTS)
    manifest = world.build(source=str(source), splits=str(lists), subsets=["train"], clips_per_class=1)
    assert manifest.outcomes() == {"done": 3}


def test_select_is_thin_out_of_the_listed_clips(world, tmp_path):
    spec = world.spec(clips_per_class=1, source=str(lay(tmp_path / "mine", LAYOUTS["class folders"])))
    files = kinetics400.dataset.prepare(spec.dataset, tmp_path / "work", report=str)
    clips = kinetics400.dataset.list_clips(files, None).clips
    assert list(stages.select(resolve(spec), files).clips) == stages.thin_out(clips, 1)
