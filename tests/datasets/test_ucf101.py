import re
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from araflow.acquire.types import Sources
from araflow.core.clip import Clip
from araflow.core.errors import SourceError
from araflow.core.listing import PassedOver
from araflow.datasets import _ucf101, ucf101

LABELS = ("Archery", "HandstandPushups")
ARCHERY = "v_Archery_g01_c01.avi"
STAND = "v_HandStandPushups_g02_c03.avi"


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def write_lists(folder: Path, train: list[str], test: list[str], newline: str = "\r\n") -> Path:
    """Three folds that are alike: ``train`` and ``test`` hold whole lines."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"classInd.txt": ["1 Archery", "2 HandstandPushups"]}
    for fold in (1, 2, 3):
        texts |= {f"trainlist0{fold}.txt": train, f"testlist0{fold}.txt": test}
    for name, lines in texts.items():
        (folder / name).write_bytes("".join(line + newline for line in lines).encode())
    return folder


@pytest.fixture(scope="module")
def official(real_data) -> Path:
    return real_data / "ucf101_splits"


@pytest.fixture(scope="module")
def listed(official) -> dict[str, tuple[str, _ucf101.Folds]]:
    return _ucf101.read_splits(official)


@pytest.fixture(scope="module")
def clips(official) -> list[Clip]:
    return ucf101.list_clips(Sources(None, official), None).clips


# --- names ---


def test_every_official_name_parses_and_agrees_with_its_class(listed):
    assert len(listed) == 13320
    known, spelt_otherwise = ucf101.dataset.classes(), []
    for name, (label, _) in listed.items():
        found, group, clip = _ucf101.parse_name(name)
        assert name == f"v_{found}_g{group:02d}_c{clip:02d}.avi"
        assert _ucf101.canonical(found, known) == label
        assert 1 <= group <= 25
        assert 1 <= clip <= 7
        if found != label:
            spelt_otherwise.append((found, label))
    assert Counter(spelt_otherwise) == {("HandStandPushups", "HandstandPushups"): 128}


@given(st.text("ABCxyz019", min_size=1), st.integers(0, 999), st.integers(0, 999))
def test_every_name_of_the_grammar_reads_back(label, group, clip):
    assert _ucf101.parse_name(f"v_{label}_g{group:02d}_c{clip:02d}.avi") == (label, group, clip)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "v_Archery_g01.avi",
        "Archery_g01_c01.avi",
        "v_Archery_g01_c01.mp4",
        "v__g01_c01.avi",
        "v_A_g1_c01.avi",
        "v_../x_g01_c01.avi",
        "x/v_Archery_g01_c01.avi",
        "._v_Archery_g01_c01.avi",
        "v_Archery_g01_c01.avi\n",
        "v_Archery_g٠١_c٠١.avi",
    ],
)
def test_what_is_no_name_is_an_error_that_shows_it(name):
    with pytest.raises(SourceError, match=re.escape(f"{name!r} is not a UCF101 name")):
        _ucf101.parse_name(name)


def test_a_class_is_found_whatever_its_case():
    assert _ucf101.canonical("HandStandPushups", LABELS) == "HandstandPushups"
    assert _ucf101.canonical("archery", LABELS) == "Archery"
    assert _ucf101.canonical("Arch", LABELS) is None


# --- the official lists ---


@pytest.mark.parametrize(("fold", "train", "test"), [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)])
def test_a_fold_trains_and_tests_on_its_known_number_of_clips(listed, fold, train, test):
    assert Counter(folds[fold - 1] for _, folds in listed.values()) == {1: train, 2: test}


def test_the_test_groups_of_the_folds_are_1_to_7_then_to_14_then_to_21(clips):
    tested = [{int(clip.group[-2:]) for clip in clips if clip.folds[fold] == 2} for fold in range(3)]
    assert tested == [set(range(1, 8)), set(range(8, 15)), set(range(15, 22))]


def test_every_class_has_25_groups_of_4_to_7_clips_and_100_to_167_clips(clips):
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        groups[clip.label][clip.group] += 1
    assert len(groups) == 101
    assert {len(counts) for counts in groups.values()} == {25}
    assert {count for counts in groups.values() for count in counts.values()} == {4, 5, 6, 7}
    totals = [counts.total() for counts in groups.values()]
    assert (min(totals), max(totals)) == (100, 167)


def test_keys_are_unique_and_spelt_as_the_class_list_spells_them(clips):
    assert len({clip.key.casefold() for clip in clips}) == len(clips) == 13320
    assert [clip.key for clip in clips] == sorted(clip.key for clip in clips)
    assert {clip.key.partition("/")[0] for clip in clips} == set(ucf101.dataset.classes())
    stand = [clip for clip in clips if clip.label == "HandstandPushups"]
    assert stand[0].key == "HandstandPushups/v_HandStandPushups_g01_c01"
    assert stand[0].group == "HandstandPushups_g01"
    assert stand[0].name == "HandstandPushups/v_HandStandPushups_g01_c01.avi"


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r\n\r\n", b" \r\n"])
def test_line_ends_and_blank_lines_make_no_difference(tmp_path, official, listed, newline):
    for path in official.glob("*.txt"):
        (tmp_path / path.name).write_bytes(path.read_bytes().replace(b"\r\n", newline) + b"\r\n \r\n")
    assert _ucf101.read_splits(tmp_path) == listed


def test_lists_with_and_without_labels_read_alike(tmp_path):
    plain, labelled = [f"Archery/{ARCHERY}"], [f"Archery/{ARCHERY} 1"]
    stand = [f"HandstandPushups/{STAND} 2"]
    first = _ucf101.read_splits(write_lists(tmp_path / "a", stand, plain))
    assert first == _ucf101.read_splits(write_lists(tmp_path / "b", [stand[0][:-2]], labelled, "\n"))
    assert first == {STAND: ("HandstandPushups", (1, 1, 1)), ARCHERY: ("Archery", (2, 2, 2))}


def test_a_clip_that_a_fold_does_not_list_has_no_tag_there(tmp_path):
    write_lists(tmp_path, [f"Archery/{ARCHERY} 1"], [])
    (tmp_path / "trainlist02.txt").write_bytes(b"")
    assert _ucf101.read_splits(tmp_path)[ARCHERY] == ("Archery", (1, None, 1))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"Archery/{ARCHERY} 2", "label '2', but classInd.txt gives Archery the number 1"),
        (f"Archery/{ARCHERY} one", "label 'one', but"),
        (f"HandstandPushups/{ARCHERY} 2", "'HandstandPushups' is not a class of classInd.txt, or not that of"),
        ("Biking/v_Biking_g01_c01.avi 3", "'Biking' is not a class of classInd.txt"),
        (f"{ARCHERY} 1", "expected '<Class>/<file>'"),
        (f"Archery/{ARCHERY} 1 1", "expected '<Class>/<file>'"),
        ("Archery/clip.avi 1", "'clip.avi' is not a UCF101 name"),
        (f"../Archery/{ARCHERY} 1", "'../Archery' is not a class"),
        (f"Archery/{STAND.upper().replace('_G02', '_g02')} 1", "is not a class of classInd.txt, or not that of"),
    ],
)
def test_a_line_that_is_wrong_is_an_error_with_file_and_line(tmp_path, line, message):
    write_lists(tmp_path, [f"HandstandPushups/{STAND} 2", line], [])
    with pytest.raises(SourceError, match=rf"trainlist01\.txt:2: .*{re.escape(message)}"):
        _ucf101.read_splits(tmp_path)


@pytest.mark.parametrize("again", [f"Archery/{ARCHERY}", f"Archery/{ARCHERY.lower()}"])
def test_a_clip_in_both_lists_of_a_fold_is_an_error(tmp_path, again):
    write_lists(tmp_path, [f"Archery/{ARCHERY} 1"], [again])
    with pytest.raises(SourceError, match=r"testlist01\.txt:1: .* is listed a second time in fold 1"):
        _ucf101.read_splits(tmp_path)


@pytest.mark.parametrize("line", ["2", "x Biking", "1 Biking", "3 archery", "3 Bi king", "<html>"])
def test_a_class_list_that_is_wrong_is_an_error_with_file_and_line(tmp_path, line):
    write_lists(tmp_path, [], [])
    (tmp_path / "classInd.txt").write_text(f"1 Archery\n{line}\n")
    with pytest.raises(SourceError, match=r"classInd\.txt:2: expected '<number> <Class>', each once; found"):
        _ucf101.read_splits(tmp_path)


@pytest.mark.parametrize("name", ["classInd.txt", "trainlist02.txt", "testlist03.txt"])
def test_a_list_that_is_missing_is_an_error_that_names_it(tmp_path, name):
    (write_lists(tmp_path, [], []) / name).unlink()
    with pytest.raises(SourceError, match=rf"{name}: No such file.* list is missing"):
        _ucf101.read_splits(tmp_path)


def test_what_is_no_text_is_an_error_that_names_the_file(tmp_path):
    (write_lists(tmp_path, [], []) / "testlist01.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(SourceError, match=r"testlist01\.txt: not a UCF101 split list"):
        _ucf101.read_splits(tmp_path)


def test_lists_are_found_one_folder_down(tmp_path, official, listed):
    touch(tmp_path / "__MACOSX" / "._trainlist01.txt")
    shutil.copytree(official, tmp_path / "ucfTrainTestlist")
    entries = _ucf101.read_lists(tmp_path, ucf101.dataset.classes())
    assert {f"{one.stem}.avi": (one.label, one.folds) for one in entries.values()} == listed


# --- listing ---


@pytest.mark.parametrize("layout", ["UCF-101/{0}/{1}", "{0}/{1}", "UCF101/{1}", "{1}"])
@pytest.mark.parametrize("spelt", ["HandStandPushups", "HandstandPushups"])
def test_videos_are_found_in_every_layout_and_spelling(tmp_path, layout, spelt):
    stand = STAND.replace("HandStandPushups", spelt)
    paths = {
        "Archery": touch(tmp_path / "v" / layout.format("Archery", ARCHERY)),
        "HandstandPushups": touch(tmp_path / "v" / layout.format("HandstandPushups", stand)),
    }
    touch(paths["Archery"].with_name(f"._{ARCHERY}"))
    touch(tmp_path / "v" / ".hidden" / "v_Archery_g09_c09.avi")
    touch(tmp_path / "v" / "readme.txt")
    lists = write_lists(tmp_path / "s", [f"Archery/{ARCHERY} 1"], [f"HandstandPushups/{STAND}"])
    clips = ucf101.list_clips(Sources(tmp_path / "v", lists), LABELS).clips
    assert {clip.label: clip.source for clip in clips} == paths
    assert [clip.key for clip in clips] == [f"Archery/{ARCHERY[:-4]}", f"HandstandPushups/{STAND[:-4]}"]
    assert [clip.folds for clip in clips] == [(1, 1, 1), (2, 2, 2)]
    alone = ucf101.list_clips(Sources(tmp_path / "v", None), LABELS).clips
    assert {clip.label: clip.source for clip in alone} == paths
    assert {clip.folds for clip in alone} == {(None, None, None)}
    assert [clip.group for clip in alone] == ["Archery_g01", "HandstandPushups_g02"]


def test_listed_clips_keep_their_row_where_the_file_is_missing(tmp_path, official):
    there = touch(tmp_path / "Archery" / ARCHERY)
    (tmp_path / "Archery" / "v_Archery_g01_c02.avi").mkdir()
    clips = ucf101.list_clips(Sources(tmp_path, official), ["Archery", "Biking"]).clips
    assert len(clips) == 145 + 134
    assert [clip.source for clip in clips if clip.source] == [there]


def test_what_no_list_names_is_left_out_and_counted(tmp_path):
    lists = write_lists(tmp_path / "s", [f"Archery/{ARCHERY} 1"], [f"HandstandPushups/{STAND}"])
    for name in (ARCHERY, STAND, "v_Archery_g24_c01.avi", "my_archery.avi"):
        touch(tmp_path / "v" / name)
    listing = ucf101.list_clips(Sources(tmp_path / "v", lists), ["Archery"])
    assert [clip.name for clip in listing.clips] == [f"Archery/{ARCHERY}"]
    assert listing.passed_over == (
        PassedOver("no-name", ".avi", 1, "my_archery.avi"),
        PassedOver("not-listed", ".avi", 1, "v_Archery_g24_c01.avi"),
        PassedOver("unwanted-class", ".avi", 1, STAND),
    )


def test_of_a_file_that_is_there_twice_the_first_is_taken_and_the_other_counted(tmp_path):
    first, second = touch(tmp_path / "a" / ARCHERY), touch(tmp_path / "b" / ARCHERY.upper())
    listing = ucf101.list_clips(Sources(tmp_path, None), ["Archery"])
    assert [clip.source for clip in listing.clips] == [first]
    assert listing.passed_over == (PassedOver("twice", ".avi", 1, f"b/{second.name}"),)
    assert listing.remarks == ()
    second.write_bytes(b"other bytes")
    (remark,) = ucf101.list_clips(Sources(tmp_path, None), ["Archery"]).remarks
    assert f"1 clip is there again with other bytes; the first of each is taken, such as 'a/{ARCHERY}'" in remark


def test_sources_that_hold_nothing_are_errors_that_say_what_they_must_hold(tmp_path):
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "v" / ARCHERY)
    for files, message in [
        (Sources(None, None), "neither videos nor official lists"),
        (Sources(tmp_path / "nowhere", None), "nowhere: no such folder; dataset.source must hold"),
        (Sources(tmp_path / "empty", None), "empty: holds no UCF101 clips of Archery"),
        (Sources(None, tmp_path / "nowhere"), "nowhere: no such folder; dataset.splits must hold"),
        (Sources(None, tmp_path / "empty"), "empty: holds no UCF101 split lists"),
        (Sources(tmp_path / "v", None), "v: no videos of 1 of 2 classes, such as 'HandstandPushups'"),
    ]:
        with pytest.raises(SourceError, match=re.escape(message)):
            ucf101.list_clips(files, LABELS)


def test_a_real_clip_is_listed_with_its_folds(tmp_path, real_data, official):
    (tmp_path / "v_BaseballPitch_g01_c01.avi").symlink_to(real_data / "clips" / "v_BaseballPitch_g01_c01.avi")
    clips = ucf101.list_clips(Sources(tmp_path, official), ["BaseballPitch"]).clips
    (clip,) = (clip for clip in clips if clip.source is not None)
    assert (clip.key, clip.group, clip.folds) == (
        "BaseballPitch/v_BaseballPitch_g01_c01",
        "BaseballPitch_g01",
        (2, 1, 1),
    )
