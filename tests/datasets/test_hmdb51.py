import csv
import re
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from araflow import datasets
from araflow.acquire import registry
from araflow.acquire.types import Sources
from araflow.core.clip import Attributes
from araflow.core.errors import SourceError, SpecError
from araflow.core.listing import PassedOver
from araflow.core.spec import DatasetSpec
from araflow.datasets import _hmdb51, hmdb51

CRASH = "Crash_walk_f_cm_np1_ri_med_0.avi"
PUNCH = "AdvancedBoxingTechniquesandExercises_punch_u_nm_np1_ba_med_23.avi"


@pytest.fixture(scope="module")
def clips(official_splits):
    return hmdb51.list_clips(Sources(None, official_splits), None).clips


def write_splits(folder: Path, label: str, rows: dict[str, str], newline: str = " \n") -> None:
    """One file per fold; ``rows`` maps a name to its three tags, such as ``"120"``."""
    folder.mkdir(parents=True, exist_ok=True)
    for fold in (0, 1, 2):
        text = "".join(f"{name} {tags[fold]}{newline}" for name, tags in rows.items())
        (folder / f"{label}_test_split{fold + 1}.txt").write_bytes(text.encode())


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


# --- the official lists: known answers ---


def test_all_names_parse_and_the_totals_are_those_of_the_facts(clips):
    assert len(clips) == len({clip.key for clip in clips}) == 6766
    totals = {
        name: Counter(getattr(clip.attributes, name) for clip in clips)
        for name in ("body", "camera", "people", "view", "quality")
    }
    assert totals == {
        "body": {"head": 802, "upper": 2097, "full": 3802, "lower": 65},
        "camera": {"moving": 4087, "static": 2679},
        "people": {1: 5722, 2: 914, 3: 65, 4: 36, 5: 13, 6: 8, 10: 7, 0: 1},
        "view": {"front": 2799, "back": 1232, "left": 1463, "right": 1272},
        "quality": {"bad": 1436, "medium": 4257, "good": 1073},
    }


@pytest.mark.parametrize(
    ("label", "total", "sources", "body", "camera", "view", "quality", "people"),
    [
        ("walk", 548, 126, "4/182/360/2", "295/253", "284/112/73/79", "52/492/4", "1:491 2:44 3:5 4:4 5:2 6:1 10:1"),
        ("ride_bike", 103, 22, "0/0/98/5", "102/1", "23/27/30/23", "5/98/0", "1:87 2:13 4:3"),
        ("run", 232, 77, "1/25/202/4", "160/72", "99/65/37/31", "42/189/1", "1:206 2:15 3:7 4:2 6:1 10:1"),
        ("fall_floor", 136, 46, "3/30/102/1", "91/45", "69/40/16/11", "44/91/1", "1:129 2:6 3:1"),
        ("push", 116, 31, "0/11/105/0", "112/4", "21/34/28/33", "99/17/0", "1:107 2:6 4:1 5:2"),
    ],
)
def test_hmdb5_is_as_tabled(clips, label, total, sources, body, camera, view, quality, people):
    own = [clip for clip in clips if clip.label == label]
    assert (len(own), len({clip.group for clip in own})) == (total, sources)

    def tabled(name: str, values: tuple[str, ...]) -> str:
        counts = Counter(getattr(clip.attributes, name) for clip in own)
        assert set(counts) <= set(values)
        return "/".join(str(counts[value]) for value in values)

    assert tabled("body", ("head", "upper", "full", "lower")) == body
    assert tabled("camera", ("moving", "static")) == camera
    assert tabled("view", ("front", "back", "left", "right")) == view
    assert tabled("quality", ("bad", "medium", "good")) == quality
    counts = Counter(clip.attributes.people for clip in own)
    assert " ".join(f"{number}:{counts[number]}" for number in sorted(counts)) == people


def test_there_are_2291_sources_and_no_source_is_on_both_sides_of_a_fold(clips):
    sides = defaultdict(set)
    for clip in clips:
        for fold, tag in enumerate(clip.folds):
            sides[clip.label, clip.group, fold].add(tag)
    assert len({(label, group) for label, group, _ in sides}) == 2291
    assert not [where for where, tags in sides.items() if {1, 2} <= tags]


def test_the_registrys_counts_are_those_of_the_split_files_and_of_the_facts(clips, real_data):
    counts = Counter(clip.label for clip in clips)
    assert registry.load("hmdb51").classes == counts
    facts = real_data.parent / "facts" / "hmdb51_counts.csv"
    if facts.is_file():  # the project's own notes, not part of the real data
        with facts.open(newline="") as file:
            assert counts == {row["class"]: int(row["clips"]) for row in csv.DictReader(file) if row["class"] in counts}


def test_the_classes_are_sorted_without_gap():
    assert hmdb51.dataset.classes() == tuple(sorted(hmdb51.dataset.classes()))
    assert len(hmdb51.dataset.classes()) == 51
    assert sum(registry.load("hmdb51").classes.values()) == 6766


def test_the_class_is_found_in_every_name(clips):
    labels = hmdb51.dataset.classes()
    wrong = [clip.name for clip in clips if _hmdb51.find_label(Path(clip.name).stem, labels) != clip.label]
    assert wrong == []


def test_clips_are_sorted_by_key_and_keys_are_class_and_file_name(clips):
    assert [clip.key for clip in clips] == sorted(clip.key for clip in clips)
    for clip in clips:
        assert clip.name == f"{clip.key}.avi"
        assert clip.key.startswith(f"{clip.label}/")
        assert Path(clip.name).name.startswith(f"{clip.group}_{clip.label}_")
        assert clip.source is None  # no videos were given
        assert clip.dataset == "hmdb51"


def test_names_with_special_characters_are_all_there(clips):
    names = [Path(clip.name).name for clip in clips]
    assert sum(any(mark in name for mark in "()!#[]&+;~@") for name in names) == 536
    assert sum(name.startswith("-") for name in names) == 13
    chosen = ("walk", "ride_bike", "run", "fall_floor", "push")
    special = Counter(clip.label for clip in clips if clip.label in chosen and re.search(r"[()!#\[\]&+;~@]", clip.key))
    assert special == {"ride_bike": 4, "push": 13}


def test_a_known_clip_has_its_folds_and_attributes(clips):
    (crash,) = [clip for clip in clips if clip.key == f"walk/{CRASH[:-4]}"]
    assert crash.group == "Crash"
    assert crash.attributes == Attributes("full", "moving", 1, "right", "medium")
    assert crash.folds == (0, 0, 0)


def test_the_folds_are_the_tags_of_the_files(clips, official_splits):
    found = {(Path(clip.name).name, fold): clip.folds[fold - 1] for clip in clips for fold in (1, 2, 3)}
    for path in official_splits.glob("*.txt"):
        fold = int(path.stem[-1])
        lines = re.findall(rb"^(\S+\.avi) ([012]) $", path.read_bytes(), re.MULTILINE)
        assert {found.pop((name.decode(), fold)) == int(tag) for name, tag in lines} == {True}
    assert not found


# --- names ---


@pytest.mark.parametrize(
    ("name", "label", "title", "attributes"),
    [
        (CRASH, "walk", "Crash", Attributes("full", "moving", 1, "right", "medium")),
        ("x_run_h_nm_np10_le_goo_128.avi", "run", "x", Attributes("head", "static", 10, "left", "good")),
        (
            "Faith_Rewarded_swing_baseball_f_nm_np0_fr_bad_67.avi",
            "swing_baseball",
            "Faith_Rewarded",
            Attributes("full", "static", 0, "front", "bad"),
        ),
        (
            "how_to_do_a_cartwheel_cartwheel_f_cm_np1_ba_med_0.avi",
            "cartwheel",
            "how_to_do_a_cartwheel",
            Attributes("full", "moving", 1, "back", "medium"),
        ),
        ("-_FREE_HUGS_-_Abrazos_hug_u_cm_np2_le_goo_7.avi", "hug", "-_FREE_HUGS_-_Abrazos", None),
        ("#437_How_To_Ride_[A_Bike_ride_bike_l_cm_np1_ri_med_1.avi", "ride_bike", "#437_How_To_Ride_[A_Bike", None),
        ("A&B+(c);~@!__x_push_f_cm_np5_ba_bad_3.avi", "push", "A&B+(c);~@!__x", None),
    ],
)
def test_a_name_is_read_from_its_end(name, label, title, attributes):
    found = _hmdb51.parse_name(name, label)
    assert found[0] == title
    assert attributes in (None, found[1])


@pytest.mark.parametrize(
    "name",
    [
        "Crash_run_f_cm_np1_ri_med_0.avi",  # another class
        "_walk_f_cm_np1_ri_med_0.avi",  # no title
        "Crash_walk_x_cm_np1_ri_med_0.avi",
        "Crash_walk_f_cm_np_ri_med_0.avi",
        "Crash_walk_f_cm_np1_ri_med_0.mp4",
        "Crash_walk_f_cm_np1_ri_med_0.avi.avi",
        "Crash_walk_f_cm_np1_ri_med_0.avi\n",
        "CrashXwalk_f_cm_np1_ri_med_0.avi",
        "",
        # names that would lead out of their folder
        f"../../{CRASH}",
        f"/etc/{CRASH}",
        f"a\\b_{CRASH}",
        f"a\0b_{CRASH}",
    ],
)
def test_what_is_no_name_of_the_class_is_an_error_that_shows_it(name):
    with pytest.raises(SourceError) as caught:
        _hmdb51.parse_name(name, "walk")
    assert repr(name) in str(caught.value)
    assert "_walk_<h|u|f|l>_" in str(caught.value)
    assert _hmdb51.find_label(name, ["walk", "jump"]) is None


def test_the_longest_class_that_fits_is_the_class():
    name = "x_draw_sword_f_cm_np1_ri_med_0"
    assert _hmdb51.find_label(name, ["sword", "draw_sword", "walk"]) == "draw_sword"
    assert _hmdb51.find_label(name, ["sword", "walk"]) == "sword"


def test_a_class_with_marks_that_mean_something_to_regular_expressions_is_taken_literally():
    assert _hmdb51.parse_name("t_a.b(c_f_cm_np1_ri_med_0.avi", "a.b(c")[0] == "t"
    with pytest.raises(SourceError):
        _hmdb51.parse_name("t_axb_f_cm_np1_ri_med_0.avi", "a.b")


TITLES = st.text(
    st.characters(codec="ascii", min_codepoint=33, max_codepoint=126, exclude_characters="/\\"), min_size=1
)


@given(
    title=TITLES,
    label=st.sampled_from(hmdb51.dataset.classes()),
    body=st.sampled_from(sorted(_hmdb51.BODY)),
    camera=st.sampled_from(sorted(_hmdb51.CAMERA)),
    people=st.integers(0, 99),
    view=st.sampled_from(sorted(_hmdb51.VIEW)),
    quality=st.sampled_from(sorted(_hmdb51.QUALITY)),
    index=st.integers(0, 999),
)
def test_every_name_of_the_grammar_reads_back(title, label, body, camera, people, view, quality, index):
    name = f"{title}_{label}_{body}_{camera}_np{people}_{view}_{quality}_{index}.avi"
    expected = Attributes(
        _hmdb51.BODY[body], _hmdb51.CAMERA[camera], people, _hmdb51.VIEW[view], _hmdb51.QUALITY[quality]
    )
    assert _hmdb51.parse_name(name, label) == (title, expected)


# --- split files ---


@pytest.mark.parametrize("newline", [" \n", "\n", " \r\n", "\r\n"])
def test_a_split_file_may_have_either_line_end_and_blank_lines(tmp_path, newline):
    write_splits(tmp_path, "walk", {CRASH: "012", f"b_{CRASH}": "211"}, newline)
    path = tmp_path / "walk_test_split2.txt"
    path.write_bytes(b"\n  \n" + path.read_bytes().removesuffix(newline.encode()) + b"\n\n")
    assert _hmdb51.read_splits(tmp_path, "walk") == {CRASH: (0, 1, 2), f"b_{CRASH}": (2, 1, 1)}


@pytest.mark.parametrize(
    "line",
    [b"b.avi 3", b"b.avi -1", b"b.avi", b"b.avi 1 1", b"b c.avi 1", CRASH.encode() + b" 1", b"1 b.avi", b"b.avi 01"],
)
def test_a_malformed_line_is_an_error_with_file_and_line(tmp_path, line):
    write_splits(tmp_path, "walk", {CRASH: "111"})
    path = tmp_path / "walk_test_split3.txt"
    path.write_bytes(path.read_bytes() + b"\n" + line + b" \n")
    with pytest.raises(SourceError) as caught:
        _hmdb51.read_splits(tmp_path, "walk")
    assert f"{path}:3: expected '<name>.avi <0|1|2>'" in str(caught.value)
    assert line.decode() in str(caught.value)


@pytest.mark.parametrize("content", [b"<html>\n", b"\xff\xfe1\x00", b"caf\xc3\xa9.avi 1 \n", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_split_file_is_an_error_that_names_it(tmp_path, content):
    write_splits(tmp_path, "walk", {CRASH: "111"})
    path = tmp_path / "walk_test_split1.txt"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=re.escape(str(path))):
        _hmdb51.read_splits(tmp_path, "walk")


def test_a_missing_split_file_is_an_error_that_names_it(tmp_path):
    write_splits(tmp_path, "walk", {CRASH: "111"})
    (tmp_path / "walk_test_split2.txt").unlink()
    with pytest.raises(SourceError, match=r"walk_test_split2\.txt: No such file.*missing or unreadable"):
        _hmdb51.read_splits(tmp_path, "walk")


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_folds_that_list_different_clips_are_an_error(tmp_path, fold):
    write_splits(tmp_path, "walk", {CRASH: "111"})
    path = tmp_path / f"walk_test_split{fold}.txt"
    path.write_bytes(path.read_bytes() + f"z_{CRASH} 1 \n".encode())
    with pytest.raises(SourceError, match=f"'walk' disagree: 'z_{CRASH}'"):
        _hmdb51.read_splits(tmp_path, "walk")


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path):
    write_splits(tmp_path, "walk", {f"../../{CRASH}": "111"})
    with pytest.raises(SourceError, match="is not an HMDB51 name"):
        hmdb51.list_clips(Sources(None, tmp_path), ["walk"])


# --- listing ---


def test_listed_clips_keep_their_row_where_the_file_is_missing(tmp_path, official_splits):
    there = touch(tmp_path / "videos" / "walk" / CRASH)
    clips = hmdb51.list_clips(Sources(tmp_path / "videos", official_splits), ["walk", "punch"]).clips
    assert len(clips) == 548 + 126
    assert [clip.source for clip in clips if clip.source] == [there]  # no punch folder at all: 126 rows all the same


def test_a_folder_in_the_place_of_a_clip_is_not_the_clip(tmp_path):
    (tmp_path / "walk" / CRASH).mkdir(parents=True)
    write_splits(tmp_path / "splits", "walk", {CRASH: "111"})
    assert [clip.source for clip in hmdb51.list_clips(Sources(tmp_path, tmp_path / "splits"), ["walk"]).clips] == [None]


@pytest.mark.parametrize("inner", ["", "hmdb51_org"])
def test_without_split_files_the_folders_are_listed(tmp_path, inner):
    names = [f"walk/{CRASH}", f"punch/{PUNCH}", f"walk/-[x_(!#&+;~@_{CRASH}"]
    paths = {name: touch(tmp_path / inner / name) for name in names}
    touch(tmp_path / inner / "walk" / f"._{CRASH}")
    touch(tmp_path / inner / "walk" / "Thumbs.db")
    touch(tmp_path / inner / "run" / "x_run_f_cm_np1_ri_med_0.avi")  # not asked for
    clips = hmdb51.list_clips(Sources(tmp_path, None), ["walk", "punch"]).clips
    assert {clip.name: clip.source for clip in clips} == paths
    assert [clip.key for clip in clips] == sorted(clip.key for clip in clips)
    assert {clip.folds for clip in clips} == {(None, None, None)}
    assert {clip.group for clip in clips} == {"Crash", "-[x_(!#&+;~@_Crash", PUNCH.partition("_")[0]}


def test_a_class_without_folder_is_an_error_where_folders_are_all_there_is(tmp_path):
    touch(tmp_path / "walk" / CRASH)
    with pytest.raises(SourceError, match=r"no videos of 2 of 3 classes, such as 'run'.*dataset\.classes.*dataset\.s"):
        hmdb51.list_clips(Sources(tmp_path, None), ["walk", "run", "push"])


def test_a_video_that_no_split_file_lists_is_left_out_and_counted(tmp_path):
    write_splits(tmp_path / "splits", "walk", {CRASH: "111"})
    touch(tmp_path / "walk" / CRASH)
    touch(tmp_path / "walk" / f"other_{CRASH}")
    listing = hmdb51.list_clips(Sources(tmp_path / "walk", tmp_path / "splits"), ["walk"])
    assert [clip.name for clip in listing.clips] == [f"walk/{CRASH}"]
    assert listing.passed_over == (PassedOver("not-listed", ".avi", 1, f"other_{CRASH}"),)


def test_split_files_are_found_one_folder_down_and_others_beside_them_do_not_disturb(tmp_path):
    write_splits(tmp_path / "testTrainMulti_7030_splits", "walk", {CRASH: "121"})
    touch(tmp_path / "__MACOSX" / "._walk_test_split1.txt")
    touch(tmp_path / "testTrainMulti_7030_splits" / "._walk_test_split1.txt")
    touch(tmp_path / "readme.txt")
    (clip,) = hmdb51.list_clips(Sources(None, tmp_path), ["walk"]).clips
    assert clip.folds == (1, 2, 1)


def test_sources_that_hold_nothing_are_errors_that_say_what_they_must_hold(tmp_path):
    (tmp_path / "empty").mkdir()
    write_splits(tmp_path / "splits", "walk", {CRASH: "111"})
    for files, message in [
        (Sources(None, None), "neither videos nor official lists"),
        (Sources(tmp_path / "nowhere", None), "nowhere: no such folder; dataset.source must hold class/clip.avi"),
        (Sources(tmp_path / "empty", None), "holds no HMDB51 clips of walk, run; dataset.source must hold"),
        (Sources(None, tmp_path / "nowhere"), "nowhere: no such folder; dataset.splits must hold"),
        (Sources(None, tmp_path / "empty"), "empty: holds no official split files"),
        (Sources(tmp_path / "empty", tmp_path / "splits"), "holds no HMDB51 clips"),
    ]:
        with pytest.raises(SourceError, match=re.escape(message)):
            hmdb51.list_clips(files, ["walk", "run"])


def test_real_clips_are_listed_with_the_official_folds(tmp_path, real_data, official_splits):
    for label, name in (("walk", CRASH), ("punch", PUNCH)):
        (tmp_path / label).mkdir()
        (tmp_path / label / name).symlink_to(real_data / "clips" / name)
    clips = hmdb51.list_clips(Sources(tmp_path, official_splits), ["walk", "punch"]).clips
    there = {clip.label: clip for clip in clips if clip.source is not None}
    assert there["walk"].folds == (0, 0, 0)
    assert there["punch"].attributes == Attributes("upper", "static", 1, "back", "medium")


# --- the plug-in ---


def test_a_dataset_is_loaded_by_name_and_a_wrong_name_says_which_there_are():
    assert datasets.load("hmdb51") is hmdb51.dataset
    with pytest.raises(SpecError, match=r"'hmdb15' is not a dataset; allowed: .*hmdb51.*did you mean hmdb51\?"):
        datasets.load("hmdb15")
    with pytest.raises(SpecError):
        datasets.load("_names")


def test_classes_are_checked_against_the_datasets():
    asked = ["walk", "run"]  # label order is the user's
    assert datasets.check_classes(hmdb51.dataset, "hmdb51", asked) == tuple(asked)
    assert datasets.check_classes(hmdb51.dataset, "hmdb51", None) == hmdb51.dataset.classes()
    with pytest.raises(SpecError, match=r"'wlak' is not a class of hmdb51; did you mean walk\? \(51 classes: "):
        datasets.check_classes(hmdb51.dataset, "hmdb51", ["run", "wlak"])


def test_folders_are_taken_as_they_are(tmp_path):
    spec = DatasetSpec.model_validate({"source": str(tmp_path), "splits": str(tmp_path)})
    files = hmdb51.dataset.prepare(spec, tmp_path / "work", report=print)
    assert files == Sources(tmp_path, tmp_path)
    assert not (tmp_path / "work").exists()


def test_split_files_of_the_archive_read_as_the_folder_does(tmp_path, official_splits, clips):
    made = shutil.make_archive(str(tmp_path / "splits"), "gztar", official_splits.parent, official_splits.name)
    spec = DatasetSpec.model_validate({"source": str(tmp_path), "splits": made})
    files = hmdb51.dataset.prepare(spec, tmp_path / "work", report=print)
    assert hmdb51.list_clips(Sources(None, files.splits), None).clips == clips
