import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laid import lay

from araflow import datasets
from araflow.acquire.types import Sources
from araflow.core.clip import Clip
from araflow.core.errors import ArchiveError, SourceError, SpecError
from araflow.core.spec import DatasetSpec
from araflow.datasets import folder
from araflow.media.source_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES


def listed(root: Path, wanted: list[str] | None = None) -> list[Clip]:
    return list(folder.list_clips(Sources(root, None), wanted).clips)


def keys(root: Path, wanted: list[str] | None = None) -> list[str]:
    return [clip.key for clip in listed(root, wanted)]


def test_a_class_folder_gives_label_key_and_name(tmp_path):
    lay(tmp_path, "walk/a.avi", "run/b.mp4", "run/deep/er/c.MKV")
    clips = listed(tmp_path)
    assert [(c.key, c.label, c.name, c.source) for c in clips] == [
        ("run/b", "run", "run/b.mp4", tmp_path / "run/b.mp4"),
        ("run/deep/er/c", "run", "run/deep/er/c.MKV", tmp_path / "run/deep/er/c.MKV"),
        ("walk/a", "walk", "walk/a.avi", tmp_path / "walk/a.avi"),
    ]
    assert {(c.dataset, c.group, c.folds) for c in clips} == {("folder", None, (None, None, None))}


def test_clips_at_the_top_have_no_label(tmp_path):
    lay(tmp_path, "b.avi", "a.mp4", "walk/c.avi")
    assert [(c.key, c.label) for c in listed(tmp_path)] == [("a", None), ("b", None), ("walk/c", "walk")]


@pytest.mark.parametrize("name", ["clip.avi", "clip.AVI", "ünï cödé [1]#&.mp4", "-dash.webm", "no.suffix.at.all.mov"])
def test_a_single_video(tmp_path, name):
    path = lay(tmp_path, name) / name
    spec = DatasetSpec.model_validate({"name": "folder", "source": str(path)})
    files = folder.dataset.prepare(spec, tmp_path / "work", report=print)
    (clip,) = folder.list_clips(files, None).clips
    assert (clip.key, clip.label, clip.name, clip.source) == (path.stem, None, name, path)


@pytest.mark.parametrize("name", ["...avi", "..avi"])
def test_no_key_leads_out_of_the_output(tmp_path, name):
    path = lay(tmp_path, name) / name
    assert keys(path) == [name]
    assert keys(write_list(tmp_path / "mine.csv", f"path,label\n{name},walk\n")) == [name]


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES | {s.upper() for s in VIDEO_SUFFIXES}))
def test_every_kind_of_video_is_seen(tmp_path, suffix):
    assert keys(lay(tmp_path, f"walk/a{suffix}")) == ["walk/a"]


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_a_folder_of_frames_is_one_clip(tmp_path, suffix):
    lay(tmp_path, *(f"walk/one/{n:04d}{suffix}" for n in range(3)), *(f"walk/two.x/{n}{suffix}" for n in range(2)))
    clips = listed(tmp_path)
    assert [(c.key, c.label, c.name, c.source) for c in clips] == [
        ("walk/one", "walk", "walk/one", tmp_path / "walk/one"),
        ("walk/two.x", "walk", "walk/two.x", tmp_path / "walk/two.x"),
    ]


def test_a_root_that_holds_frames_is_one_clip_called_as_the_folder(tmp_path, monkeypatch):
    lay(tmp_path / "my clip", "0000.png", "0001.png")
    (clip,) = listed(tmp_path / "my clip")
    assert (clip.key, clip.label, clip.source) == ("my clip", None, tmp_path / "my clip")
    monkeypatch.chdir(tmp_path / "my clip")
    assert keys(Path()) == ["my clip"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["walk/a.avi", "walk/a.mp4", "walk/b.avi"], ["walk/a.avi", "walk/a.mp4", "walk/b"]),
        (["walk/a.avi", "run/a.avi"], ["run/a", "walk/a"]),
        (["walk/a.avi", "walk/a/0.png"], ["walk/a", "walk/a.avi"]),
        (["walk/a.avi", "walk/a/b.avi"], ["walk/a.avi", "walk/a/b"]),
        (["walk/a.avi", "walk/cover.png"], ["walk/a"]),
        (["walk/cover.png", "walk/one/0.png"], ["walk/one"]),
        (["walk/a.avi", "out/.araflow/lock", "out/clips/walk/a/rgb/0000.png", "out/sheet.jpg"], ["walk/a"]),
        (["a.avi", "a.mp4", "a.avi.mp4"], ["a.avi", "a.avi.mp4", "a.mp4"]),  # the stem of the last is the first's name
        (["b.x/0.png", "b.x.avi"], ["b.x", "b.x.avi"]),
        (["walk/.a.avi", "walk/a.avi"], ["walk/a"]),
    ],
)
def test_keys_never_collide(tmp_path, names, expected):
    assert keys(lay(tmp_path, *names)) == expected


NAMES = st.lists(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["", "w/", "r/", "w/r/", "a.avi/", "a/"]),
        st.sampled_from(["a", "b", "a.avi", "a.mp4", ".a", "a.b"]),
        st.sampled_from([".avi", ".mp4", ".AVI", ".png", ".txt", ""]),
    ),
    max_size=12,
)


@given(names=NAMES)
def test_every_video_is_listed_once_under_its_own_key(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("videos")
    made = set()
    for name in names:
        try:
            lay(root, name)
        except OSError:  # a file where a folder should be, or the other way round
            continue
        made.add(name)
    hidden = {name for name in made if any(part.startswith(".") for part in name.split("/"))}
    videos = {name for name in made - hidden if Path(name).suffix.lower() in VIDEO_SUFFIXES}
    images = {(root / n).parent for n in made - hidden if Path(n).suffix == ".png"}
    inside = {above for path in {root / name for name in videos} | images for above in path.parents}
    folders = {above for name in made for above in (root / name).parents} - {root, *root.parents}
    images |= {path for path in folders if path.suffix.lower() in VIDEO_SUFFIXES}  # in a video's place: a row
    inside |= {above for path in images for above in path.parents}
    clips = listed(root)
    assert {clip.source for clip in clips} == {root / name for name in videos} | (images - inside)
    assert len({clip.key for clip in clips}) == len(clips)
    assert not [(a.key, b.key) for a in clips for b in clips if b.key.startswith(a.key + "/")]  # nor in its folder
    assert [clip.key for clip in clips] == sorted(clip.key for clip in clips)


def test_hidden_files_and_folders_and_other_files_are_passed_over(tmp_path):
    lay(tmp_path, "walk/a.avi", "walk/._a.avi", "walk/.b.avi", ".git/c.avi", "walk/.frames/0.png")
    lay(tmp_path, "walk/notes.txt", "walk/avi", "walk/x.avi.part", "walk/Thumbs.db", "walk/.cover.jpg")
    assert keys(tmp_path) == ["walk/a"]


def test_a_file_name_that_is_not_utf8_is_shown_escaped_and_still_opens(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9") / os.fsdecode(b"na\xefve.avi")
    path.parent.mkdir()
    path.write_bytes(b"frames")
    (clip,) = listed(tmp_path)
    assert (clip.label, clip.key, clip.name) == ("caf\\xe9", "caf\\xe9/na\\xefve", "caf\\xe9/na\\xefve.avi")
    clip.key.encode("utf-8")
    assert clip.source is not None
    assert clip.source.read_bytes() == b"frames"


def test_links_to_files_and_folders_are_followed_but_not_in_circles(tmp_path):
    lay(tmp_path / "far", "walk/a.avi", "deep/walk/b.avi")
    root = lay(tmp_path / "near", "run/c.avi")
    (root / "walk").symlink_to(tmp_path / "far/walk")
    (root / "run/d.avi").symlink_to(tmp_path / "far/deep/walk/b.avi")
    (root / "run/again").symlink_to(root)
    (tmp_path / "far/walk/back").symlink_to(root)
    assert keys(root) == ["run/c", "run/d", "walk/a"]


def test_a_dangling_link_is_still_a_row(tmp_path):
    (tmp_path / "walk").mkdir()
    (tmp_path / "walk/a.avi").symlink_to(tmp_path / "gone.avi")
    assert keys(tmp_path) == ["walk/a"]


def test_only_wanted_classes_are_listed_and_one_that_is_not_there_is_an_error(tmp_path):
    lay(tmp_path, "walk/a.avi", "run/b.avi", "push/c.avi", "d.avi")
    assert keys(tmp_path, ["run", "walk"]) == ["run/b", "walk/a"]
    with pytest.raises(SourceError, match=r"holds no clips of class 'wlak'; its classes: push, run, walk"):
        listed(tmp_path, ["run", "wlak"])


def test_a_source_that_is_not_there_or_cannot_be_read_is_an_error_and_an_empty_one_lists_nothing(tmp_path, monkeypatch):
    assert listed(tmp_path) == []
    for files in (Sources(None, None), Sources(tmp_path / "nowhere", None)):
        with pytest.raises(SourceError, match="no such file or folder"):
            folder.list_clips(files, None)
    lay(tmp_path, "run/a.avi", "walk/b.avi")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "walk":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # tests may run as root, whom nothing is denied
    with pytest.raises(SourceError, match="walk: Permission denied"):
        listed(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({}, "dataset.source: a folder dataset needs one"), ({"source": ".", "splits": "."}, "dataset.splits: .*null")],
)
def test_wrong_settings_say_so(tmp_path, settings, message):
    spec = DatasetSpec.model_validate({"name": "folder", **settings})
    with pytest.raises(SpecError, match=message):
        folder.dataset.check(spec, accept_licence=True)


def test_a_file_that_is_neither_video_nor_archive_is_an_error(tmp_path):
    lay(tmp_path, "notes.txt")
    spec = DatasetSpec.model_validate({"name": "folder", "source": str(tmp_path / "notes.txt")})
    with pytest.raises(ArchiveError, match=r"notes\.txt: not a zip, tar or RAR archive"):
        folder.dataset.prepare(spec, tmp_path / "work", report=print)


def test_the_folders_decide_which_classes_there_are():
    assert folder.dataset.classes() is None
    assert datasets.check_classes(folder.dataset, "folder", None) is None
    assert datasets.check_classes(folder.dataset, "folder", ["any", "thing"]) == ("any", "thing")


def test_the_users_home_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(lay(tmp_path, "videos/walk/a.avi", "b.avi")))
    for source, expected in (("~/videos", ["walk/a"]), ("~/b.avi", ["b"])):
        spec = DatasetSpec.model_validate({"name": "folder", "source": source})
        files = folder.dataset.prepare(spec, tmp_path / "work", report=print)
        assert [clip.key for clip in folder.list_clips(files, None).clips] == expected


# --- a CSV list ---


def write_list(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def test_a_list_gives_every_row_with_its_label_split_and_group(tmp_path):
    lay(tmp_path, "set/walk/a.avi", "set/b.mp4", "elsewhere/c.mov", "set/frames/01.png")
    path = write_list(
        tmp_path / "set" / "mine.csv",
        "path,label,split,group\n"
        "walk/a.avi,walk,train,film 1\n"
        "./b.mp4,run,val,\n"
        "../elsewhere/c.mov,run,test,film 2\n"
        f"{tmp_path}/elsewhere/d.mov,walk,,film 2\n"
        "frames,,,\n",
    )
    assert [(c.key, c.label, c.subset, c.group, c.name, c.source) for c in listed(path)] == [
        ("b", "run", "val", None, "./b.mp4", tmp_path / "set/b.mp4"),
        ("frames", None, None, None, "frames", tmp_path / "set/frames"),
        ("run/c", "run", "test", "film 2", "../elsewhere/c.mov", tmp_path / "set/../elsewhere/c.mov"),
        ("walk/a", "walk", "train", "film 1", "walk/a.avi", tmp_path / "set/walk/a.avi"),
        ("walk/d", "walk", None, "film 2", f"{tmp_path}/elsewhere/d.mov", None),  # listed, but not there
    ]
    assert {(c.dataset, c.folds) for c in listed(path)} == {("folder", (None, None, None))}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_list_may_come_from_a_spreadsheet(tmp_path, newline, encoding):
    lines = ["Nr, Label ,PATH", "", '1,"ünï, ""cödé""","a, b.avi"', ",,", "2,walk,c.avi", ""]
    path = write_list(tmp_path / "mine.CSV", newline.join(lines), encoding)
    assert [(c.key, c.label, c.subset, c.group) for c in listed(path)] == [
        ("a, b", 'ünï, "cödé"', None, None),
        ("c", "walk", None, None),
    ]


def test_a_list_is_handed_through_and_read_where_it_lies(tmp_path):
    lay(tmp_path, "a.avi")
    path = write_list(tmp_path / "mine.csv", "path,label\na.avi,walk\n")
    spec = DatasetSpec.model_validate({"name": "folder", "source": str(path)})
    folder.dataset.check(spec, accept_licence=False)
    files = folder.dataset.prepare(spec, tmp_path / "work", report=print)
    assert (files.videos, files.splits) == (path, None)
    assert [clip.source for clip in folder.list_clips(files, None).clips] == [tmp_path / "a.avi"]
    assert not (tmp_path / "work").exists()


def test_only_wanted_classes_of_a_list_are_taken(tmp_path):
    path = write_list(tmp_path / "mine.csv", "path,label\na.avi,walk\nb.avi,run\nc.avi,\n")
    assert keys(path, ["run"]) == ["b"]
    with pytest.raises(SourceError, match=r"mine\.csv holds no clips of class 'wlak'; its classes: run, walk"):
        listed(path, ["run", "wlak"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.avi,walk,", "3 fields, but the header has 4"),
        (",walk,,", "path is ''; expected a video or a folder of frames"),
        (".,walk,,", "path is '.'"),
        ("x/..,walk,,", "path is 'x/..'"),
        ("a\0.avi,walk,,", "path is 'a\\x00.avi'"),
        ("a.avi,walk,trained,", "split is 'trained'; expected train, val, test, or nothing"),
        ("a.avi,../../walk,,", "label is '../../walk'"),
        ("a.avi,..,,", "label is '..'"),
        ("first.avi,walk,,", "'first.avi' has the same path as line 2"),
        ("./x/../first.avi,walk,,", "'./x/../first.avi' has the same path as line 2"),
        ("first.mp4,walk,,", "'first.mp4' has the same key 'first' as line 2"),
        ("first/a.avi,walk,,", "'first/a' would lie within the clip of line 2"),
    ],
)
def test_a_row_that_is_wrong_is_an_error_with_its_line(tmp_path, rows, message):
    path = write_list(tmp_path / "mine.csv", f"path,label,split,group\nfirst.avi,walk,,\n{rows}\n")
    with pytest.raises(SourceError) as caught:
        listed(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert message in str(caught.value)


def test_two_videos_outside_of_one_name_and_label_are_an_error_with_both_lines(tmp_path):
    path = write_list(
        tmp_path / "mine.csv", "path,label\n/x/a.avi,walk\n/x/a.avi.mp4,walk\n/y/a.mp4,run\n/y/a.mov,walk\n"
    )
    with pytest.raises(SourceError, match=r"mine\.csv:5: '/y/a\.mov' has the same key 'walk/a' as line 2"):
        listed(path)


def test_a_path_that_is_named_through_a_link_is_the_users_own_business(tmp_path):
    lay(tmp_path, "a.avi")
    (tmp_path / "b.avi").symlink_to(tmp_path / "a.avi")
    path = write_list(tmp_path / "mine.csv", "path,label\na.avi,walk\nb.avi,walk\n")
    assert keys(path) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "lists no clips; expected a header"),
        (b"path,label\n", "lists no clips"),
        (
            b"a.avi,walk\n",
            r":1: a list of videos begins with a header .*; 'path' is not there, or twice: 'a\.avi,walk'",
        ),
        (b"path\na.avi\n", r":1: a list of videos begins with a header .*; 'label' is not there, or twice"),
        (b"path,path,label\n", r"'path' is not there, or twice"),
        (b'path,label\n"a"b,walk\n', "not readable as CSV in UTF-8"),
        (b"path,label\n\xff.avi,walk\n", "not readable as CSV in UTF-8"),
    ],
)
def test_a_list_that_is_none_is_an_error_that_says_what_is_expected(tmp_path, content, message):
    (tmp_path / "mine.csv").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        listed(tmp_path / "mine.csv")


@given(st.lists(st.text("ab/. ", min_size=1, max_size=8), max_size=6), st.sampled_from(["", "walk", "a"]))
def test_every_key_of_a_list_is_a_path_of_its_own_below_the_output(tmp_path_factory, paths, label):
    path = write_list(
        tmp_path_factory.mktemp("list") / "mine.csv", "path,label\n" + "".join(f"{p},{label}\n" for p in paths)
    )
    try:
        found = keys(path)
    except SourceError:
        return
    assert len(set(found)) == len(found)
    for key in found:
        assert key == os.path.normpath(key)
        assert not key.startswith("/")
        assert ".." not in key.split("/")
        assert not any(other.startswith(f"{key}/") for other in found)


# --- lists as they come ---


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-mark"])
@pytest.mark.parametrize(
    "text",
    [
        "filename,class,subset\nä.mp4,walk,Validation\n",
        "Video;Action;Set\nä.mp4;walk;val\n",
        "sep=;\npath;label;split\nä.mp4;walk;VAL\n",
        "file path\tLabel-Name\tpartition\nä.mp4\twalk\tdev\n",
    ],
)
def test_a_list_is_read_as_spreadsheets_save_it(tmp_path, text, encoding):
    lay(tmp_path, "ä.mp4")
    content = b"\xff\xfe" + text.encode("utf-16-le") if encoding == "utf-16-le-mark" else text.encode(encoding)
    (tmp_path / "mine.tsv").write_bytes(content)
    (clip,) = listed(tmp_path / "mine.tsv")
    assert (clip.key, clip.label, clip.subset, clip.source) == ("ä", "walk", "val", tmp_path / "ä.mp4")


@pytest.mark.parametrize(
    ("written", "there"),
    [
        ("caf\u00e9.mp4", "cafe\u0301.mp4"),
        ("cafe\u0301.mp4", "caf\u00e9.mp4"),
        ("Walk/A.MP4", "walk/a.mp4"),
        ("walk\\a.mp4", "walk/a.mp4"),
    ],
)
def test_a_listed_file_is_found_however_it_is_spelled(tmp_path, written, there):
    lay(tmp_path, there)
    found = folder.list_clips(Sources(write_list(tmp_path / "mine.csv", f"path,label\n{written},walk\n"), None), None)
    assert [clip.source for clip in found.clips] == [tmp_path / there]
    assert len(found.remarks) == ("\\" not in written)


def test_two_rows_that_mean_one_file_are_an_error(tmp_path):
    lay(tmp_path, "a.mp4")
    with pytest.raises(SourceError, match=r"'A\.mp4' has the same path as line 2"):
        listed(write_list(tmp_path / "mine.csv", "path,label\na.mp4,walk\nA.mp4,run\n"))


def test_windows_own_paths_are_missing_under_a_key_of_their_label(tmp_path):
    path = write_list(tmp_path / "mine.csv", "path,label\nC:\\videos\\a.mp4,walk\n")
    assert [(clip.key, clip.source) for clip in listed(path)] == [("walk/a", None)]


def test_videos_beside_the_listed_ones_that_are_in_no_row_are_counted(tmp_path):
    lay(tmp_path, "walk/a.mp4", "walk/b.mp4", "walk/c.MP4", "walk/notes.txt", "walk/.d.mp4")
    found = folder.list_clips(Sources(write_list(tmp_path / "l.csv", "path,label\nwalk/a.mp4,walk\n"), None), None)
    assert [(one.why, one.what, one.count, one.example) for one in found.passed_over] == [
        ("not-listed", ".mp4", 2, "walk/b.mp4")
    ]


def test_columns_of_a_list_that_are_not_read_are_named(tmp_path):
    lay(tmp_path, "a.mp4")
    text = "Fold,Video Path,label,video,,frames\n2,a.mp4,walk,x,0,9\n"
    found = folder.list_clips(Sources(write_list(tmp_path / "mine.csv", text), None), None)
    assert [clip.source for clip in found.clips] == [None], "the first of the known names counts"
    (remark,) = found.remarks
    assert "'Fold', 'Video Path', 'frames'" in remark
    assert "path, label, split, group" in remark
    known = write_list(tmp_path / "known.csv", "path,label,split,group\na.mp4,walk,test,tape\n")
    assert folder.list_clips(Sources(known, None), None).remarks == ()


def test_a_path_with_a_leading_slash_is_one_below_the_list_if_it_is_nowhere_else(tmp_path):
    lay(tmp_path, "walk/a.mp4", "elsewhere/b.mp4", f"{tmp_path}/elsewhere/b.mp4".lstrip("/"))
    rows = f"/walk/a.mp4,walk\n{tmp_path}/elsewhere/b.mp4,walk\n/walk/gone.mp4,walk\n"
    path = write_list(tmp_path / "mine.csv", f"path,label\n{rows}")
    found = folder.list_clips(Sources(path, None), None)
    assert [(clip.key, clip.source) for clip in found.clips] == [
        ("walk/a", tmp_path / "walk/a.mp4"),
        ("walk/b", tmp_path / "elsewhere/b.mp4"),
        ("walk/gone", None),
    ]
    assert [remark for remark in found.remarks if "slash" in remark] == [
        "1 path of the list, such as '/walk/a.mp4', begins with a slash; taken as below the list's folder"
    ]
